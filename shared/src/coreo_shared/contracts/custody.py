"""How long results are kept and for whom, what became of those that are gone, and the record of who touched them."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import UNSET, Meta, UnsetType

from coreo_shared.contracts.base import Message
from coreo_shared.contracts.terms import AccessAction, GoneWhy, ObjectKind

Time = Annotated[datetime, Meta(tz=True)]

MAX_DAYS = 1_826  # five years
DEFAULT_DISPLAY_DAYS = 90


class CustodySettings(Message, frozen=True, kw_only=True):
    """A team's. Without a word from the team these are the defaults.

    `display_days`: so long after its end a run's results can be read; `backup_days`: so long its backup is kept.
    `backups`: whether there are any. `keep_counts`: a run's summary counts stay when its results are gone.
    """

    display_days: int = DEFAULT_DISPLAY_DAYS
    backup_days: int = MAX_DAYS
    backups: bool = True
    keep_counts: bool = True
    updated_at: Time | None = None  # None: nobody has said anything


class CustodyPatch(Message, frozen=True, kw_only=True):
    """A change: what is not there stays as it is."""

    display_days: int | UnsetType = UNSET
    backup_days: int | UnsetType = UNSET
    backups: bool | UnsetType = UNSET
    keep_counts: bool | UnsetType = UNSET


class PlanCustody(Message, frozen=True, kw_only=True):
    """A plan's. `display_days` is its own, or None for the team's; `backup`: whether its runs may be backed up.

    `team`: what the team says, for whoever wants to know what holds.
    """

    plan_id: UUID
    display_days: int | None = None
    backup: bool = True
    updated_at: Time | None = None
    team: CustodySettings


class PlanCustodyPatch(Message, frozen=True, kw_only=True):
    """A change: what is not there stays as it is; `display_days` of null is the team's again."""

    display_days: int | UnsetType | None = UNSET
    backup: bool | UnsetType = UNSET


class BackupState(Message, frozen=True, kw_only=True):
    """A team's backups. `wanted`: whether installation and team have any made.

    `due`: runs that have ended and are still to be backed up. `checked_at`: when there was nothing left to do.
    `failed_at`: of a try that did not work and was not made up for.
    """

    wanted: bool
    runs: int
    findings: int
    bytes: int
    due: int
    log_entries: int
    ledger_at: Time | None
    checked_at: Time | None
    failed_at: Time | None


class ResultsGone(Message, frozen=True, kw_only=True):
    """What became of a run's results. `by` is the name of the token that asked."""

    at: Time
    why: GoneWhy
    by: str | None = None


class Deleted(Message, frozen=True, kw_only=True):
    """How many runs had results until now; said again, there are none."""

    runs: int


class AccessEntry(Message, frozen=True, kw_only=True):
    """An entry of a team's record. `hash` is that of all the other fields: see coreo_shared.crypto.access_chain.

    `at` is RFC 3339 in UTC with microseconds, a text because it is hashed as it is. `previous` is the hash of the
    entry before, 64 zeros for the first.
    """

    team_id: UUID
    seq: int
    at: str
    actor_id: UUID | None  # of the token; None where none asked
    actor: str
    action: AccessAction
    object_kind: ObjectKind
    object_id: UUID
    detail: dict[str, str | int | bool | None]
    previous: str
    hash: str


class AccessPage(Message, frozen=True, kw_only=True):
    """Entries, newest first. `next_before`: list what is older than this one next; None on the last page."""

    items: list[AccessEntry]
    next_before: int | None
