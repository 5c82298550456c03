"""Bodies of the routes on runs."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import ConfigDict, Field

from coreo_api.pages import PageQuery
from coreo_api.schemas import Body, View
from coreo_shared.contracts.terms import FindingStatus, GoneWhy, RunState, Severity


class StartRun(Body):
    """Which part of the plan to run; all of it without a body."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"cloud_account_ids": None, "backup": True}]})

    cloud_account_ids: Annotated[
        tuple[UUID, ...] | None,
        Field(min_length=1, max_length=500, description="Some of the plan's cloud accounts; null or left out: all."),
    ] = None
    backup: Annotated[
        bool, Field(description="False: the runs' results are never backed up, whatever team and plan say later.")
    ] = True


class CountsView(View):
    """How many findings of each status and, for FAIL, of each severity; what is missing is 0."""

    by_status: dict[FindingStatus, int]
    failed_by_severity: dict[Severity, int]


class ResultsGoneView(View):
    """What became of a run's results."""

    at: datetime
    why: Annotated[
        GoneWhy,
        Field(
            description="expired: their time was over; requested: somebody had them deleted; account: so was said when "
            "the cloud account was disconnected."
        ),
    ]
    by: Annotated[str | None, Field(description="The name of the token that asked.")]


class RunView(View):
    """One run: a plan in a cloud account."""

    id: UUID
    group_id: Annotated[UUID, Field(description="Shared by the runs that were started together.")]
    plan_id: UUID
    plan_revision: int
    cloud_account_id: UUID
    trigger: Literal["manual", "schedule"]
    state: RunState
    reason: Annotated[str | None, Field(description="Why it is in this state, where that needs words.")]
    attempt: Annotated[int, Field(description="How many workers have taken it so far.")]
    units_done: Annotated[int, Field(description="A unit is one kind of resource in one region.")]
    units_total: Annotated[int | None, Field(description="Null until the worker knows.")]
    counts: Annotated[
        CountsView,
        Field(description="As found. With suppressions and severities as they are now: /v1/runs/{id}/counts"),
    ]
    created_at: datetime
    updated_at: datetime
    ended_at: datetime | None
    cancel_requested: bool
    dispatched_at: Annotated[datetime | None, Field(description="When it was put on the workers' queue.")]
    expires_at: Annotated[datetime, Field(description="If no worker has taken it by then, it ends as EXPIRED.")]
    backup: Annotated[bool, Field(description="False: it was started with the wish never to be backed up.")]
    results_gone: Annotated[
        ResultsGoneView | None, Field(description="Null while its findings can be read. Its counts may stay.")
    ]


class RunGroupView(View):
    """Runs that were started together."""

    group_id: UUID
    runs: list[RunView]


class RunQuery(PageQuery):
    """Which runs to list."""

    plan_id: UUID | None = None
    cloud_account_id: UUID | None = None
    group_id: UUID | None = None
    state: Annotated[tuple[RunState, ...], Field(max_length=20, description="May be given several times.")] = ()
