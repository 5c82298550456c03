"""Bodies of the routes on the custody of results."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import ConfigDict, Field

from coreo_api.pages import PageQuery
from coreo_api.schemas import Body, NotNull, View
from coreo_shared.contracts.custody import MAX_DAYS
from coreo_shared.contracts.terms import AccessAction, ObjectKind

Days = Annotated[int, Field(ge=1, le=MAX_DAYS, description=f"1 to {MAX_DAYS}, which is five years.")]


class CustodyView(View):
    """What the team wants of how its results are kept."""

    display_days: Annotated[int, Field(description="So long after its end a run's results can be read.")]
    backup_days: Annotated[int, Field(description="So long a run's backup is kept.")]
    backups: Annotated[
        bool, Field(description="Whether results are backed up. Runs that begin while it is false never are.")
    ]
    keep_counts: Annotated[
        bool, Field(description="Whether a run's summary counts stay, for trends, when its results are gone.")
    ]
    updated_at: Annotated[datetime | None, Field(description="Null while all is as it was at first.")]


class ChangeCustody(Body):
    """Settings to change; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"display_days": 30, "keep_counts": True}]})

    display_days: Annotated[Days | None, NotNull] = None
    backup_days: Annotated[Days | None, NotNull] = None
    backups: Annotated[bool | None, NotNull] = None
    keep_counts: Annotated[bool | None, NotNull] = None


class PlanCustodyView(View):
    """What a plan wants of how its results are kept."""

    plan_id: UUID
    display_days: Annotated[int | None, Field(description="The plan's own; null: the team's.")]
    backup: Annotated[bool, Field(description="Whether its runs may be backed up; false goes before the team's.")]
    updated_at: datetime | None
    team: CustodyView


class ChangePlanCustody(Body):
    """A plan's settings to change; what is left out stays."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"display_days": 7, "backup": False}]})

    display_days: Annotated[Days | None, Field(description="Null: the team's again.")] = None
    backup: Annotated[bool | None, NotNull] = None


class BackupsView(View):
    """How the team's backups are."""

    wanted: Annotated[bool, Field(description="Whether any are made, by the team's settings and the installation's.")]
    runs: Annotated[int, Field(description="Runs that are in the backups.")]
    findings: int
    bytes: Annotated[int, Field(description="Encrypted, as they are stored.")]
    due: Annotated[int, Field(description="Runs that have ended and are still to be backed up.")]
    log_entries: Annotated[int, Field(description="Of the signed log of the team's backups.")]
    ledger_at: Annotated[datetime | None, Field(description="Of the newest copy of the keys' ledger.")]
    checked_at: Annotated[datetime | None, Field(description="When there was nothing left to do last.")]
    failed_at: Annotated[datetime | None, Field(description="Of a try that did not work; null once one has worked.")]


class DeletedView(View):
    """What was deleted."""

    runs: Annotated[int, Field(description="How many runs had results until now.")]


class AccessQuery(PageQuery):
    """Which entries of the access record to list."""

    action: AccessAction | None = None
    object_id: Annotated[UUID | None, Field(description="Of a run, plan, cloud account or team.")] = None
    token_id: Annotated[UUID | None, Field(description="Of the token that asked; also of one that was revoked.")] = None


class AccessEntryView(View):
    """Who did what to results, and when. `hash` chains the entries: `coreo custody access verify` checks it."""

    team_id: UUID
    seq: Annotated[int, Field(description="1, 2, 3 and so on, with no gaps.")]
    at: datetime
    actor_id: Annotated[UUID | None, Field(description="The token's id; null where no token asked.")]
    actor: Annotated[str, Field(description='The token\'s name; "retention" where a time was over.')]
    action: AccessAction
    object_kind: ObjectKind
    object_id: UUID
    detail: Annotated[dict[str, str | int | bool | None], Field(description="Never anything of a finding.")]
    previous: Annotated[str, Field(description="The hash of the entry before; zeros for the first.")]
    hash: Annotated[str, Field(description="SHA-256 over all other fields.")]
