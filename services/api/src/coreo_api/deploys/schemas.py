"""Bodies and answers of the routes on deploy runs and their targets."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, ConfigDict, Field, StringConstraints

from coreo_api.pages import PageQuery
from coreo_api.schemas import Body, View, plain_text
from coreo_shared.contracts.deploys import DeployAction
from coreo_shared.contracts.terms import RunState

Reason = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=1_000),
    AfterValidator(plain_text),
    Field(description="In words; it is kept with your token's name."),
]


class TargetQuery(PageQuery):
    """Which targets to list."""

    stack_name: Annotated[Annotated[str, AfterValidator(plain_text)] | None, Field(max_length=128)] = None
    busy: Annotated[bool, Field(description="Only those that have runs which have not ended.")] = False


class TargetView(View):
    """A stack in a region of an AWS account, whether it is there yet or not."""

    id: UUID
    account_id: Annotated[str, Field(description="The AWS account.")]
    region: str
    stack_name: str
    created_at: datetime
    runs: Annotated[int, Field(description="How many of its runs have not ended.")]
    held_by: Annotated[UUID | None, Field(description="The run whose turn it is.")]


class QueuedRunView(View):
    """A run in a target's queue."""

    run_id: UUID
    plan_id: UUID
    cloud_account_id: UUID
    action: DeployAction
    state: RunState
    holds_target: bool
    movable: Annotated[bool, Field(description="Whether it can be given another place.")]
    waits_for: Annotated[str | None, Field(description="Why it does not go on, in words.")]
    created_at: datetime


class QueueView(View):
    """The runs of a target that have not ended, in their order."""

    target: TargetView
    runs: list[QueuedRunView]


class Reorder(Body):
    """The new order of the runs that can be moved."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"run_ids": ["0199c3f2-8a1b-7000-8000-000000000000"]}]})

    run_ids: Annotated[
        tuple[UUID, ...], Field(min_length=1, max_length=1_000, description="All that are `movable`, each once.")
    ]


class Reject(Body):
    """Why a change is not wanted."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "The database must not be replaced."}]})

    reason: Reason


class Settle(Body):
    """How a run ended whose outcome was unknown, as a person has seen."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"outcome": "SUCCEEDED", "reason": "The stack is UPDATE_COMPLETE."}]}
    )

    outcome: Literal["SUCCEEDED", "ROLLED_BACK", "FAILED"]
    reason: Reason


class DecidedView(View):
    """The run as it stands after what was decided."""

    run_id: UUID
    state: RunState
    reason: str | None


class StackEventQuery(Body):
    """Which stack events."""

    after: Annotated[int, Field(ge=0, le=10_000_000, description="How many to leave out.")] = 0
    limit: Annotated[int, Field(ge=1, le=1_000)] = 100


class CheckView(View):
    """A thing to look at in AWS."""

    question: str
    command: Annotated[str, Field(description="For a shell with credentials of the AWS account.")]


class VerdictView(View):
    """What follows from what was seen."""

    seen: str
    do: Annotated[str, Field(description="A request to Coreo, or what else to do.")]


class OutcomeView(View):
    """A run whose outcome is unknown: what to check, and what to do then. Its stack stays locked until that is done."""

    run_id: UUID
    state: RunState
    reason: str | None
    action: DeployAction
    account_id: str
    region: str
    stack_name: str
    stack_arn: str | None
    change_set_arn: str | None
    token: Annotated[
        str, Field(description="ClientRequestToken of what the run began, in stack events and CloudTrail.")
    ]
    applied_at: str | None
    console_url: str
    advice: Annotated[list[str], Field(description="What the last worker left to be checked.")]
    checks: list[CheckView]
    verdicts: list[VerdictView]
