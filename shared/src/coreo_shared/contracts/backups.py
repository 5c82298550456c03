"""What the custody of backups is signed about: the log of a team's backups, and snapshots of its key ledger.

Both are compact JWS by the results service's custody key (`coreo_shared.crypto.statements`). The log's entries are a
chain: each names the SHA-256 of the one before. Hashes are in hexadecimal; times are RFC 3339, UTC.
"""

from uuid import UUID

import msgspec

from coreo_shared.contracts.base import Message
from coreo_shared.contracts.results import Counts

LOG_ENTRY_TYPE = "coreo-custody-log+jwt"
LEDGER_SNAPSHOT_TYPE = "coreo-custody-ledger+jwt"
LOG_VERSION = 1
LEDGER_VERSION = 1


class BackedUpRun(Message, frozen=True, kw_only=True):
    """A run in the backups: which object holds it, and what that has to be."""

    run_id: UUID
    plan_id: UUID | None
    cloud_account_id: UUID
    ended_at: str
    compared_at: str | None  # when it was compared with the plan's runs before it; the order of their comparisons
    object: str  # its key in the backup store
    sha256: str
    bytes: int
    findings: int
    counts: Counts
    expires_at: str  # as the team's retention was then


class RunsBackedUp(Message, frozen=True, kw_only=True, tag_field="kind", tag="backup"):
    """These runs are in the backups from now on."""

    runs: list[BackedUpRun]
    findings: int  # of all of them
    bytes: int


class RunsExpired(Message, frozen=True, kw_only=True, tag_field="kind", tag="expired"):
    """These are no more, as they were kept as long as the team wanted."""

    run_ids: list[UUID]
    why: str = "retention"


class ExclusionAsked(Message, frozen=True, kw_only=True, tag_field="kind", tag="asked"):
    """What an exclusion is about, before anything is done for it: no restore brings back any of these runs.

    They are `run_ids` and, where those are fewer than `runs`, all of the plan or account that entries up to `until` say
    are backed up. `runs_sha256`: as in the receipt.
    """

    exclusion_id: UUID
    scope: str  # "run", "plan" or "cloud_account"
    scope_id: UUID
    display: str  # "keep" or "delete"
    runs: int
    runs_sha256: str
    run_ids: list[UUID]
    until: int
    requested_at: str
    requested_by: str
    reason: str | None


class RunsExcluded(Message, frozen=True, kw_only=True, tag_field="kind", tag="excluded"):
    """The tombstone: these must not be in any backup, whether they are now or not, and no restore brings them back."""

    exclusion_id: UUID
    scope: str  # "run", "plan" or "cloud_account"
    scope_id: UUID
    run_ids: list[UUID]
    requested_by: str
    reason: str | None


class RunsDeleted(Message, frozen=True, kw_only=True, tag_field="kind", tag="deleted"):
    """The results of these were deleted on request: a restore brings back their entries in the ledger alone."""

    run_ids: list[UUID]
    why: str  # "requested" or "account"
    by: str | None  # the name of the token that asked
    at: str


class RetentionChanged(Message, frozen=True, kw_only=True, tag_field="kind", tag="retention"):
    """From now on the team's backups are kept for so many days after a run's end."""

    days: int


class ReceiptIssued(Message, frozen=True, kw_only=True, tag_field="kind", tag="receipt"):
    """All steps of an exclusion are through. `receipt`: contracts.exclusions.Receipt as a compact JWS."""

    exclusion_id: UUID
    receipt: str


Logged = RunsBackedUp | RunsExpired | ExclusionAsked | RunsExcluded | RunsDeleted | RetentionChanged | ReceiptIssued


class LogEntry(Message, frozen=True, kw_only=True):
    """An entry of a team's log. The first has `seq` 1 and no `previous`."""

    version: int
    team_id: UUID
    seq: int
    at: str
    by: str  # the host it was written on, or who asked for it
    previous: str | None  # SHA-256 of the entry before, as it is stored
    what: Logged


class LedgerPage(Message, frozen=True, kw_only=True):
    """A page of wrapped backup keys: those of runs whose entries in the log are of one range."""

    page: int
    object: str  # its key in the ledger store
    sha256: str
    keys: int
    stored_at: str


class LedgerSecret(Message, frozen=True, kw_only=True):
    """One of the team's secrets, wrapped."""

    name: str
    team_key_version: int
    wrapped: bytes  # base64 in JSON


class LedgerKeyVersion(Message, frozen=True, kw_only=True):
    """A version of the team's key that wraps something here. The key itself is in the vault."""

    version: int
    root_key: str
    created_at: str


class LedgerSnapshot(Message, frozen=True, kw_only=True):
    """The team's key ledger as it stands together with an entry of the log, which it carries.

    It is stored before that entry is, so that a log whose end was cut off shows.
    """

    version: int
    team_id: UUID
    number: int
    at: str
    by: str
    log_seq: int  # 0 while the log is empty
    log_entry: str | None  # as stored
    keys: int  # on all pages
    pages: list[LedgerPage]
    key_versions: list[LedgerKeyVersion]
    secrets: list[LedgerSecret]
    settings: dict[str, msgspec.Raw] = {}  # of the team, by table: rows as JSON
