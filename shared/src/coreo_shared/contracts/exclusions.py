"""Exclusion from backups, asked for after the fact: what is asked, how far it is, and what is signed in the end."""

from enum import StrEnum
from uuid import UUID

from coreo_shared.contracts.base import Message
from coreo_shared.contracts.custody import Time
from coreo_shared.contracts.terms import ObjectKind

RECEIPT_TYPE = "coreo-custody-receipt+jwt"
RECEIPT_VERSION = 1
MAX_REASON = 500
LISTED_RUNS = 1_000  # a receipt for more names them by their hash alone

SCOPES = (ObjectKind.RUN, ObjectKind.PLAN, ObjectKind.CLOUD_ACCOUNT)


class Display(StrEnum):
    """What becomes of the copies of the results that can be read."""

    KEEP = "keep"  # they get new keys, and can be read as long as the team wants
    DELETE = "delete"


class ExclusionState(StrEnum):
    """How far an exclusion is."""

    PENDING = "PENDING"
    DONE = "DONE"


class ExclusionStep(StrEnum):
    """What has to be done, in this order."""

    INTENT = "intent"  # the log of the team's backups says, signed, what was asked: also a restore goes on with it
    TOMBSTONE = "tombstone"  # it says of each of these runs that it must not be in any backup
    DISPLAY = "display"  # readable copies are under new keys, or deleted
    BACKUPS = "backups"  # backup keys, and all versions of the objects, are deleted
    NEW_KEY = "new_key"  # the team has a new version of its key, and nothing can be stored under an older one
    OLD_KEYS = "old_keys"  # all is wrapped anew, old snapshots of the key ledger are deleted, old versions destroyed
    RECEIPT = "receipt"  # signed, and in the log


class NewExclusion(Message, frozen=True, kw_only=True):
    """What shall be in no backup any more: a run, or all runs of a plan or in a cloud account.

    Runs of such a plan or account that begin later are not backed up either. `reason` is written into the log in clear.
    """

    scope: ObjectKind
    scope_id: UUID
    display: Display = Display.KEEP
    reason: str | None = None


class StepDone(Message, frozen=True, kw_only=True):
    """A step that is through."""

    step: ExclusionStep
    at: Time


class Exclusion(Message, frozen=True, kw_only=True):
    """An exclusion as it stands. `runs` is fixed with the request. `problem`: why the last try did not get further."""

    id: UUID
    scope: ObjectKind
    scope_id: UUID
    display: Display
    reason: str | None
    requested_at: Time
    requested_by: str
    state: ExclusionState
    runs: int
    done: list[StepDone]
    remaining: list[ExclusionStep]
    problem: str | None = None


class ExclusionPage(Message, frozen=True, kw_only=True):
    """Exclusions, newest first."""

    items: list[Exclusion]
    next_before: UUID | None


class SignedReceipt(Message, frozen=True, kw_only=True):
    """A `Receipt` as a compact JWS."""

    receipt: str


class CustodyKeys(Message, frozen=True, kw_only=True):
    """A JWK set: public keys of who signs logs and receipts, the present one first."""

    keys: list[dict[str, str]]


class Tombstone(Message, frozen=True, kw_only=True):
    """An entry of the log about the runs: its number, and the SHA-256 of it as it is stored."""

    seq: int
    sha256: str


class Receipt(Message, frozen=True, kw_only=True):
    """What is signed when all steps are through.

    `runs_sha256`: over the runs' ids, sorted, one a line; `run_ids`: the same, unless there are more than LISTED_RUNS.
    `backups_deleted`: how many runs were in the backups. `display_rekeyed` and `display_deleted`: how many readable
    copies got new keys, or were deleted. `intent`: the entry that says what was asked; null where the log began before
    there were such. Where the database was restored since, runs that were in no backup are not among `runs`: they went
    with it. Versions of the team's key up to `key_destroyed` are gone; what is kept is
    under `key_now`. Both are null for a team that never stored anything.
    """

    version: int
    exclusion_id: UUID
    team_id: UUID
    scope: ObjectKind
    scope_id: UUID
    display: Display
    reason: str | None
    requested_at: str
    requested_by: str
    runs: int
    runs_sha256: str
    run_ids: list[UUID]
    intent: Tombstone | None = None
    tombstones: list[Tombstone]
    backups_deleted: int
    display_rekeyed: int
    display_deleted: int
    key_destroyed: int | None
    key_now: int | None
    steps: list[StepDone]
    issued_at: str
    by: str
