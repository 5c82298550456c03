"""The log of a team's backups: what it says, entry by entry, and what follows from all of them. Pure."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from coreo_shared.contracts.backups import (
    LOG_ENTRY_TYPE,
    LOG_VERSION,
    BackedUpRun,
    ExclusionAsked,
    LogEntry,
    Logged,
    ReceiptIssued,
    RetentionChanged,
    RunsBackedUp,
    RunsDeleted,
    RunsExcluded,
    RunsExpired,
)
from coreo_shared.crypto.jose import Signer
from coreo_shared.crypto.statements import StatementError, Statements

# The two kinds of objects in the backup store: a bucket's lifecycle may let go of old ones of the second alone.
LOGS, RUNS = "log/", "runs/"


class LogError(Exception):
    """The log is not whole, or not this team's. The message says where and why."""


@dataclass(frozen=True)
class Deletion:
    """Why and when the results of a run were deleted, and on whose request."""

    why: str
    at: str
    by: str | None


@dataclass
class LoggedExclusion:
    """An exclusion as the log knows it.

    `asked`: what was asked, with the entry's number; logs of before have none. `entries`: (number, runs) of its
    tombstones; `untold`: runs that still have none. `stored`: those that were in the backups. `receipt`: once it is
    through.
    """

    first: ExclusionAsked | RunsExcluded
    at: str
    asked: tuple[int, ExclusionAsked] | None = None
    entries: list[tuple[int, list[UUID]]] = field(default_factory=list)
    untold: set[UUID] = field(default_factory=set)
    stored: set[UUID] = field(default_factory=set)
    receipt: str | None = None


@dataclass
class LogState:
    """What follows from the entries so far."""

    team_id: UUID
    seq: int = 0
    head: str | None = None  # the hash of the newest entry
    at: str | None = None  # of the newest entry
    runs: dict[UUID, BackedUpRun] = field(default_factory=dict)  # those that must be there
    entries: dict[UUID, int] = field(default_factory=dict)  # which entry says so of each
    excluded: set[UUID] = field(default_factory=set)
    doomed: set[UUID] = field(default_factory=set)  # to be excluded; keys and objects may be there until a tombstone is
    exclusions: dict[UUID, LoggedExclusion] = field(default_factory=dict)
    expired: set[UUID] = field(default_factory=set)
    deleted: dict[UUID, Deletion] = field(default_factory=dict)

    def follow(self, stored: bytes, statements: Statements) -> LogEntry:
        """Takes in the next entry, as it is stored. Raises LogError."""
        where = f"entry {self.seq + 1} of the log of team {self.team_id}"
        try:
            entry = statements.read(stored, LogEntry, typ=LOG_ENTRY_TYPE)
        except StatementError as error:
            raise LogError(f"{where}: {error}") from None
        if entry.version != LOG_VERSION:
            raise LogError(f"{where}: it is of version {entry.version}, which this version of Coreo cannot read")
        if entry.team_id != self.team_id:
            raise LogError(f"{where}: it belongs to team {entry.team_id}")
        if entry.seq != self.seq + 1:
            raise LogError(f"{where}: entry {entry.seq} is in its place")
        if entry.previous != self.head:
            raise LogError(f"{where}: it does not follow the entry before, of which there is another")
        self._apply(entry.what, entry, where)
        self.seq, self.head, self.at = entry.seq, entry_hash(stored), entry.at
        return entry

    def _apply(self, what: Logged, entry: LogEntry, where: str) -> None:
        match what:
            case RunsBackedUp():
                self._add(what, entry.seq, where)
            case RunsExpired():
                self._take(what.run_ids, where)
                self.expired.update(what.run_ids)
            case ExclusionAsked():
                self._doom(what, entry)
            case RunsExcluded():
                self._bury(what, entry)
            case RunsDeleted():
                self.deleted.update(dict.fromkeys(what.run_ids, Deletion(what.why, what.at, what.by)))
            case ReceiptIssued():
                if what.exclusion_id not in self.exclusions:
                    raise LogError(f"{where}: a receipt for an exclusion that never began")
                if untold := self.exclusions[what.exclusion_id].untold:
                    raise LogError(f"{where}: a receipt for an exclusion of which {len(untold)} runs have no tombstone")
                self.exclusions[what.exclusion_id].receipt = what.receipt
            case RetentionChanged():
                pass

    def _add(self, what: RunsBackedUp, seq: int, where: str) -> None:
        if (what.findings, what.bytes) != (_sum(what.runs, "findings"), _sum(what.runs, "bytes")):
            raise LogError(f"{where}: its totals are not the sums of its runs")
        for run in what.runs:
            if run.run_id in self.excluded or run.run_id in self.doomed:
                raise LogError(f"{where}: run {run.run_id} was excluded from all backups before")
            if run.run_id in self.runs or run.run_id in self.expired:
                raise LogError(f"{where}: run {run.run_id} was backed up before")
            if sum(run.counts.by_status.values()) != run.findings:
                raise LogError(f"{where}: the counts of run {run.run_id} are not those of its findings")
            self.runs[run.run_id] = run
            self.entries[run.run_id] = seq

    def _doom(self, what: ExclusionAsked, entry: LogEntry) -> None:
        exclusion = self.exclusions.setdefault(what.exclusion_id, LoggedExclusion(what, entry.at))
        if exclusion.asked is None:  # who forgot that it was said, says it again
            exclusion.asked = entry.seq, what
        runs = set(what.run_ids)
        if len(runs) < what.runs:
            name = "plan_id" if what.scope == "plan" else "cloud_account_id"
            runs.update(
                run_id
                for run_id, run in self.runs.items()
                if getattr(run, name) == what.scope_id and self.entries[run_id] <= what.until
            )
        exclusion.untold |= runs.difference(*(told for _, told in exclusion.entries))
        self.doomed |= exclusion.untold - self.excluded

    def _bury(self, what: RunsExcluded, entry: LogEntry) -> None:
        exclusion = self.exclusions.setdefault(what.exclusion_id, LoggedExclusion(what, entry.at))
        exclusion.entries.append((entry.seq, what.run_ids))
        exclusion.untold.difference_update(what.run_ids)
        exclusion.stored.update(self.runs.keys() & set(what.run_ids))
        self.doomed.difference_update(what.run_ids)
        self.excluded.update(what.run_ids)
        for run_id in what.run_ids:
            self.runs.pop(run_id, None)  # it need not have been in any backup

    def _take(self, run_ids: Iterable[UUID], where: str) -> None:
        for run_id in run_ids:
            if self.runs.pop(run_id, None) is None:
                raise LogError(f"{where}: run {run_id} expires that was in no backup")


def sign_entry(signer: Signer, state: tuple[UUID, int, str | None], what: Logged, *, by: str) -> str:
    """The entry that follows on (team, seq, hash of the newest entry), as it is to be stored."""
    team_id, seq, previous = state
    entry = LogEntry(
        version=LOG_VERSION, team_id=team_id, seq=seq + 1, at=written(datetime.now(UTC)), by=by,
        previous=previous, what=what,
    )  # fmt: skip
    return signer.sign(entry, typ=LOG_ENTRY_TYPE)


def entry_hash(stored: bytes | str) -> str:
    """By which the next entry names this one."""
    return hashlib.sha256(stored.encode() if isinstance(stored, str) else stored).hexdigest()


def entry_object(team_id: UUID, seq: int) -> str:
    """Where an entry lies in the backup store."""
    return f"{LOGS}{team_id}/{seq:010}.jws"


def run_folder(team_id: UUID) -> str:
    """Where the objects of the team's runs lie."""
    return f"{RUNS}{team_id}/"


def written(time: datetime) -> str:
    """RFC 3339, UTC."""
    return time.astimezone(UTC).isoformat()


def _sum(runs: list[BackedUpRun], name: str) -> int:
    return sum(getattr(run, name) for run in runs)
