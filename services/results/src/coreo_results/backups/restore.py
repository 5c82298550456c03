"""Puts runs from the backups into an empty database, newest first."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import text

from coreo_results.backups.display import DisplayRules
from coreo_results.backups.loader import Loader, RunEntry
from coreo_results.backups.opening import LedgerKeys, records
from coreo_results.backups.past import PlanPast
from coreo_results.backups.reading import TeamBackups
from coreo_results.backups.records import (
    ChunkRecord,
    DocumentRecord,
    EndRecord,
    Past,
    Record,
    ResolvedRecord,
    RunRecord,
    UnitRow,
)
from coreo_results.backups.together import together
from coreo_results.chunks.columns import SCHEMA, decompress
from coreo_results.chunks.sealing import ChunkPlace, KnownTags, SealedChunk, seal_packed
from coreo_results.documents.sealing import DocumentPlace, seal_packed_document
from coreo_results.keys.repository import WrappedRunKey
from coreo_results.keys.seal import DamagedError
from coreo_results.keys.service import TAGS, Keys, RunKey
from coreo_results.keys.wrapping import BACKUP_KEYS, TeamKey, WrappedKey
from coreo_results.retention.repository import NOT_EVERYTHING
from coreo_results.stores import ObjectStore
from coreo_shared.contracts.backups import BackedUpRun
from coreo_shared.contracts.results import Counts
from coreo_shared.contracts.terms import FindingStatus, RunState, Severity
from coreo_shared.db import Database

_CHUNKS = 8  # sealed and stored together
_FINDINGS = 50_000  # in one transaction, or a single run


@dataclass
class Restored:
    """What a restore did for a team."""

    runs: int = 0
    findings: int = 0
    bytes: int = 0
    without_content: int = 0  # entries in the ledger alone: their results were deleted, or are too old to be shown


@dataclass(frozen=True)
class _Group:
    """Runs of one plan in one cloud account (or a single one that has no plan), newest first."""

    plan_id: UUID | None
    cloud_account_id: UUID
    runs: list[BackedUpRun]


@dataclass
class TeamRestore:
    """Restores the runs of one team, whose keys are in the database already."""

    database: Database
    keys: Keys
    store: ObjectStore
    backups: TeamBackups
    ledger_keys: LedgerKeys
    rules: DisplayRules | None  # by which results are too old to be shown; None: none are
    done: Restored = field(default_factory=Restored)

    async def run(self, *, at_once: int) -> Restored:
        """All runs, of so many plans at once. Raises DamagedError, which names the run; that run is not there then."""
        team_key = await self.keys.newest_team_key(self.backups.team_id)
        await together(_groups(self.backups), lambda group: self._group(group, team_key), limit=at_once)
        return self.done

    async def _group(self, group: _Group, team_key: TeamKey) -> None:
        secret = await self.keys.team_secret(self.backups.team_id, TAGS)
        known, past = KnownTags(secret), None
        if group.plan_id is not None:
            past = PlanPast(self.backups.team_id, group.cloud_account_id, group.plan_id)
        waiting = deque(group.runs)
        while waiting:
            async with self.database.transaction(self.backups.team_id) as connection:
                # A database whose restore broke off is not used, so nobody waits for its disk: the last commit does.
                await connection.execute(text("SET LOCAL synchronous_commit = off"))
                loader, findings = Loader(connection, self.backups.team_id), 0
                while waiting and findings < _FINDINGS:
                    run = waiting.popleft()
                    findings += run.findings + 1
                    await self._restore(loader, run, team_key, known, past)

    async def _restore(
        self, loader: Loader, run: BackedUpRun, team_key: TeamKey, known: KnownTags, past: PlanPast | None
    ) -> None:
        team_id = self.backups.team_id
        key, wrapped = self.keys.fresh_run_key(team_id, run.run_id, team_key, known.key)
        try:
            backup_key = await self.ledger_keys.of(run.run_id)
            keys = _NewKeys(key, wrapped, BACKUP_KEYS.wrap(team_key, team_id, run.run_id, backup_key))
            work = _RunWork(self, loader, run, keys, known, past)
            await work.follow(records(self.store, team_id, run, backup_key))
        except DamagedError as error:
            raise DamagedError(f"run {run.run_id} of team {team_id}: {error}") from error
        self.done.runs += 1
        self.done.bytes += run.bytes
        self.done.findings += run.findings if work.is_shown else 0
        self.done.without_content += not work.is_shown


@dataclass(frozen=True)
class _NewKeys:
    """A run's keys in the database that is filled: of its display copy, and of its backup."""

    data: RunKey
    wrapped: WrappedRunKey
    backup: WrappedKey


@dataclass
class _RunWork:
    """One run on its way into the database."""

    team: TeamRestore
    loader: Loader
    run: BackedUpRun
    keys: _NewKeys
    known: KnownTags
    past: PlanPast | None
    row: dict[str, Any] = field(default_factory=dict)
    is_shown: bool = False
    units: list[UnitRow] = field(default_factory=list)
    counts: Counter[tuple[FindingStatus, Severity]] = field(default_factory=Counter)

    async def follow(self, source: AsyncIterator[Record]) -> None:
        """Stores all records. Raises DamagedError."""
        batch: list[ChunkRecord] = []
        async for record in source:
            if isinstance(record, ChunkRecord):
                batch.append(record)
                if len(batch) < _CHUNKS:
                    continue
            await self._chunks(batch)
            batch = []
            match record:
                case RunRecord():
                    await self._begin(record)
                case ResolvedRecord() if self.is_shown:
                    await self.loader.rows("resolved_findings", decompress(record.packed))
                case DocumentRecord() if self.is_shown:
                    await self._document(record)
                case EndRecord():
                    self._check_counts()
                    if self.is_shown:
                        await self.loader.units(self.run.run_id, self.units)
                case _:
                    pass
        if self._is_compared and self.past is not None:
            self.past.leave(self.row)

    async def _document(self, record: DocumentRecord) -> None:
        row = msgspec.json.decode(record.row)
        place = DocumentPlace(self.team.backups.team_id, self.run.run_id, row["name"], row["part"], row["first"])
        sealed = seal_packed_document(place, record.content, self.keys.data, items=row["items"])
        await self.loader.document(row, sealed)

    async def _begin(self, record: RunRecord) -> None:
        self.row = msgspec.json.decode(record.row)
        if (self.row.get("team_id"), self.row.get("run_id")) != (str(self.team.backups.team_id), str(self.run.run_id)):
            raise DamagedError("a backup holds the entry of another run")
        if record.columns_schema != SCHEMA:
            raise DamagedError("a backup holds chunks that this version of Coreo cannot read")
        self.units = record.units
        changes = {"lease_until": None, "backup_settled_at": datetime.now(UTC).isoformat()} | self._purge()
        self.is_shown = (self.row | changes).get("purged_at") is None
        entry = RunEntry(
            row=self.row | changes,
            key=self.keys.wrapped if self.is_shown else None,
            backup=self._backup(),
            backup_key=self.keys.backup,
        )
        await self.loader.run(self.run.run_id, entry)

    def _backup(self) -> dict[str, Any]:
        return {
            "object": self.run.object,
            "expires_at": self.run.expires_at,
            "sha256": bytes.fromhex(self.run.sha256),
            "bytes": self.run.bytes,
            "findings": self.run.findings,
            "seq": self.team.backups.log.entries[self.run.run_id],
        }

    def _purge(self) -> dict[str, Any]:
        """What the run's entry says when its results are not to be shown."""
        purge: dict[str, Any]
        deleted = self.team.backups.log.deleted.get(self.run.run_id)
        if deleted is not None:
            purge = {"purged_at": deleted.at, "purged_why": deleted.why, "purged_by": deleted.by}
        elif self.team.rules is not None and self.team.rules.is_over(self.run):
            purge = {"purged_at": datetime.now(UTC).isoformat(), "purged_why": "expired"}
        else:
            return {}
        if self.team.rules is not None and not self.team.rules.keep_counts:
            purge |= {"counts": {}, "changes": None, "counts_kept": False}
            if self.row["state"] == RunState.PARTIAL:
                purge["reason"] = NOT_EVERYTHING
        return purge | {"cleared_at": datetime.now(UTC).isoformat(), "first_runs": None, "first_seen": None}

    async def _chunks(self, batch: list[ChunkRecord]) -> None:
        if not batch:
            return
        team_id, run_id = self.team.backups.team_id, self.run.run_id
        made = await asyncio.to_thread(_sealed, team_id, run_id, batch, self.keys.data, self.known)
        for chunk, _ in made:
            for group in chunk.groups:
                self.counts[group.status, group.severity] += group.count
        if self.is_shown:
            await self.loader.chunks(run_id, made)
        if self.past is not None and self._is_compared:
            for chunk, past in made:
                await self.past.learn(self.loader.connection, self.row, chunk, past)

    @property
    def _is_compared(self) -> bool:
        """Whether the comparison of runs that end later goes on from this one."""
        return self.row.get("life_at") is not None and self.run.run_id not in self.team.backups.log.deleted

    def _check_counts(self) -> None:
        expected = msgspec.convert(self.row["counts"], Counts)
        by_status: Counter[FindingStatus] = Counter()
        failed: Counter[Severity] = Counter()
        for (status, severity), count in self.counts.items():
            by_status[status] += count
            if status is FindingStatus.FAIL:
                failed[severity] += count
        if (expected.by_status, expected.failed_by_severity) != (by_status, failed) or expected != self.run.counts:
            raise DamagedError("the findings of a backup are not as many as its counts say")


def _sealed(
    team_id: UUID, run_id: UUID, batch: list[ChunkRecord], key: RunKey, known: KnownTags
) -> list[tuple[SealedChunk, Past | None]]:
    made = []
    for record in batch:
        place = ChunkPlace(team_id, run_id, record.unit, record.index, record.final)
        chunk = seal_packed(place, record.packed, key, known, listed=record.listed)
        past = None if record.past is None else msgspec.msgpack.decode(decompress(record.past), type=Past)
        if chunk.findings != record.findings or (past is not None and past.findings != chunk.findings):
            raise DamagedError("a chunk of a backup does not hold as many findings as it says")
        made.append((chunk, past))
    return made


def _groups(backups: TeamBackups) -> list[_Group]:
    grouped: dict[tuple[UUID | None, UUID, UUID | None], list[BackedUpRun]] = {}
    for run in backups.runs:
        alone = run.run_id if run.plan_id is None else None
        grouped.setdefault((run.plan_id, run.cloud_account_id, alone), []).append(run)
    return [
        _Group(
            plan_id, account, sorted(runs, key=lambda run: (run.compared_at or run.ended_at, run.run_id), reverse=True)
        )
        for (plan_id, account, _), runs in grouped.items()
    ]
