"""Backs up what is due, lets go of what was kept long enough, and keeps log and key ledger in step with both."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.backups.heads import HeadRepository, team_lock
from coreo_results.backups.journal import Journal
from coreo_results.backups.log import run_folder, written
from coreo_results.backups.repository import BackupRepository, DueRun, StoredRun, Written
from coreo_results.backups.snapshots import Custodian, Snapshots
from coreo_results.backups.together import together
from coreo_results.backups.writer import Writer, new_object
from coreo_results.custody.repository import CustodyRepository
from coreo_results.keys.errors import StaleRunKeyError
from coreo_results.keys.material import SecretKey
from coreo_results.keys.seal import DamagedError
from coreo_results.keys.service import Keys
from coreo_results.keys.wrapping import TeamKey
from coreo_results.life.service import Life
from coreo_results.stores import ObjectStore
from coreo_shared.contracts.backups import BackedUpRun, Logged, RetentionChanged, RunsBackedUp, RunsExpired
from coreo_shared.db import Database
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)
BATCH = 100  # runs in one entry of the log
_TOGETHER = 4  # objects written at once
_DROP_BATCH = 500
_SNAPSHOT_EVERY = timedelta(days=1)
UNFINISHED = timedelta(hours=1)  # nobody writes at one object for so long without noticing that it lost its place


@dataclass(frozen=True)
class BackupStores:
    """Where backups and snapshots of the key ledger lie: two places."""

    backups: ObjectStore
    ledger: ObjectStore


@dataclass
class Cycle:
    """What a cycle did. `is_done`: nothing is left for the next; False also when another process was at it."""

    stored: int = 0
    findings: int = 0
    bytes: int = 0
    expired: int = 0
    failed: dict[UUID, str] = field(default_factory=dict)
    is_done: bool = False


class Backups:
    """The backups of all teams."""

    def __init__(self, database: Database, keys: Keys, life: Life, stores: BackupStores, custodian: Custodian) -> None:
        self._database = database
        self._keys = keys
        self._life = life
        self._stores = stores
        self._writer = Writer(keys, stores.backups)
        self.snapshots = Snapshots(database, stores.ledger, custodian)
        self.journal = Journal(database, stores.backups, self.snapshots, custodian)

    async def cycle(self, team_id: UUID, *, wait: bool = False, stopping: asyncio.Event | None = None) -> Cycle:
        """Does all that is due for the team, in batches. Another process that is at it is left alone, or waited for.

        A run that cannot be backed up keeps no other from it. Raises LogAheadError, and what keys and stores raise.
        """
        cycle = Cycle()
        for step in (self._settle, self._back_up, self._refresh):
            more = True
            while more and not (stopping is not None and stopping.is_set()):
                async with team_lock(self._database, team_id, wait=wait) as is_ours:
                    if not is_ours:
                        return cycle
                    more = await step(team_id, cycle)
            if more:
                return cycle
        cycle.is_done = True
        return cycle

    async def _settle(self, team_id: UUID, cycle: Cycle) -> bool:
        """Finishes what an earlier cycle began, and what the team wants of its backups; whether there may be more."""
        head = await self.journal.settle(team_id)
        await self.journal.check_end(team_id, 0 if head is None else head.seq)
        await self.forget_unwanted(team_id)
        if head is None:
            return False
        more = await self._tell_changes(team_id, cycle)
        return await self.delete_dropped(team_id) or more

    async def forget_unwanted(self, team_id: UUID) -> bool:
        """Deletes what was being written of runs that went meanwhile; whether there may be more."""
        async with self._database.transaction(team_id) as connection:
            unwanted = await BackupRepository(connection, team_id).unwanted(_DROP_BATCH)
        if unwanted:
            for _, name in unwanted:
                await self._stores.backups.delete(name)
            async with self._database.transaction(team_id) as connection:
                await BackupRepository(connection, team_id).forget([run_id for run_id, _ in unwanted])
        return len(unwanted) == _DROP_BATCH

    async def delete_dropped(self, team_id: UUID) -> bool:
        """Deletes objects that the log took out of the backups; whether there may be more. Needs the team's lock."""
        async with self._database.transaction(team_id) as connection:
            dropping = await BackupRepository(connection, team_id).dropping(_DROP_BATCH)
        if dropping:
            for _, name in dropping:
                await self._stores.backups.delete(name)
            async with self._database.transaction(team_id) as connection:
                await BackupRepository(connection, team_id).gone([run_id for run_id, _ in dropping])
        return len(dropping) == _DROP_BATCH

    async def _tell_changes(self, team_id: UUID, cycle: Cycle) -> bool:
        """An entry for one thing that has changed, if something has."""

        async def decide(connection: AsyncConnection, seq: int) -> Logged | None:
            backups = BackupRepository(connection, team_id)
            days = (await CustodyRepository(connection, team_id).team()).backup_days
            if await HeadRepository(connection, team_id).set_days(days):
                await backups.keep_for(days)
                return RetentionChanged(days=days)
            if deleted := await backups.deleted(seq):  # so that no restore brings them back
                return deleted
            if expired := await backups.expired(_DROP_BATCH):
                await backups.drop(expired, "expired", seq)
                cycle.expired += len(expired)
                return RunsExpired(run_ids=expired)
            return None

        return await self.journal.append(team_id, decide)

    async def _back_up(self, team_id: UUID, cycle: Cycle) -> bool:
        """A batch; whether there may be more."""
        async with self._database.transaction(team_id) as connection:
            backups = BackupRepository(connection, team_id)
            due = await backups.due(BATCH, set(cycle.failed))
            await backups.settle([run.run_id for run in due if not run.is_wanted])
        wanted = [run for run in due if run.is_wanted]
        if wanted:
            done = await self._write(team_id, wanted, cycle)
            if done:
                await self._log_stored(team_id, done, cycle)
        return len(due) == BATCH

    async def _write(self, team_id: UUID, runs: list[DueRun], cycle: Cycle) -> list[Written]:
        """The objects of the runs, each under a key that was stored before."""
        for run in runs:
            if run.left is not None:
                await self._stores.backups.delete(run.left)
        begun = await self._keys.with_team_key(team_id, lambda team: self._begin(team_id, runs, team))
        for run in runs:
            if not run.is_compared:
                await self._life.ensure(team_id, run.run_id)
        done: list[Written] = []
        waiting = deque(begun)

        async def work(_: int) -> None:
            while waiting:
                async with self._database.transaction(team_id, snapshot=True) as connection:
                    await self._write_some(connection, team_id, waiting, done, cycle)

        await together(range(_TOGETHER), work, limit=_TOGETHER)
        return done

    async def _write_some(
        self,
        connection: AsyncConnection,
        team_id: UUID,
        waiting: deque[tuple[DueRun, str, SecretKey]],
        done: list[Written],
        cycle: Cycle,
    ) -> None:
        """As many as the connection's snapshot of the database is good for."""
        while waiting:
            run, name, key = waiting.popleft()
            try:
                written = await self._writer.write(connection, team_id, run.run_id, name, key)
            except StaleRunKeyError:  # the team's key was turned over since
                waiting.append((run, name, key))
                return
            except DamagedError as error:
                cycle.failed[run.run_id] = str(error)
                _log.error(
                    "run_not_backed_up", team_id=str(team_id), run_id=str(run.run_id), problem=str(error),
                    security_event="stored_data_damaged",
                )  # fmt: skip
            else:
                if written is not None:
                    done.append(written)

    async def _begin(self, team_id: UUID, runs: Sequence[DueRun], team: TeamKey) -> list[tuple[DueRun, str, SecretKey]]:
        objects = {run.run_id: new_object(team_id, run.run_id) for run in runs}
        keys = {run.run_id: self._keys.new_backup_key(team_id, run.run_id, team) for run in runs}
        async with self._database.transaction(team_id) as connection:
            wrapped = {run_id: made.wrapped for run_id, made in keys.items()}
            begun = await BackupRepository(connection, team_id).begin(objects, wrapped)
        return [(run, objects[run.run_id], keys[run.run_id].key) for run in runs if run.run_id in begun]

    async def _log_stored(self, team_id: UUID, done: list[Written], cycle: Cycle) -> None:
        by_run = {each.run_id: each for each in done}

        async def decide(connection: AsyncConnection, seq: int) -> Logged | None:
            backups = BackupRepository(connection, team_id)
            days = (await CustodyRepository(connection, team_id).team()).backup_days
            stored = await backups.store(done, seq, days)
            left = by_run.keys() - {run.run_id for run in stored}
            if left:  # went meanwhile, or shall be in no backup: the next cycle deletes what was written
                left -= {run_id for run_id, _ in await backups.unwanted(_DROP_BATCH)}
            for run_id in left:
                cycle.failed[run_id] = "its findings are not as many as its counts say"
            if not stored:
                return None
            await backups.settle([run.run_id for run in stored])
            runs = [_logged(run, by_run[run.run_id]) for run in stored]
            cycle.stored += len(runs)
            cycle.findings += sum(run.findings for run in runs)
            cycle.bytes += sum(run.bytes for run in runs)
            return RunsBackedUp(
                runs=runs, findings=sum(run.findings for run in runs), bytes=sum(run.bytes for run in runs)
            )

        await self.journal.append(team_id, decide)

    async def _refresh(self, team_id: UUID, _: Cycle) -> bool:
        """A snapshot a day, also where nothing changes: old ones are deleted."""
        async with self._database.transaction(team_id) as connection:
            heads = HeadRepository(connection, team_id)
            head = await heads.read()
            await heads.done()
        if head is not None and (head.snapshot_at is None or head.snapshot_at < datetime.now(UTC) - _SNAPSHOT_EVERY):
            await self.tidy_objects(team_id)
            await self.snapshots.write(team_id, head.seq, head.entry)
            async with self._database.transaction(team_id) as connection:
                await HeadRepository(connection, team_id).snapped()
            await self.snapshots.tidy(team_id)
        return False

    async def tidy_objects(self, team_id: UUID) -> None:
        """Deletes objects that writers who died left behind. Needs the team's lock.

        Each object's name is in the database before it is written, so one that is not there is nobody's.
        """
        before = datetime.now(UTC) - UNFINISHED
        found = [entry async for entry in self._stores.backups.list(run_folder(team_id)) if entry.modified < before]
        for start in range(0, len(found), _DROP_BATCH):
            names = [entry.key for entry in found[start : start + _DROP_BATCH]]
            async with self._database.transaction(team_id) as connection:
                nobodys = await BackupRepository(connection, team_id).unknown(names)
            for name in nobodys:
                _log.warning("backup_object_left_over", team_id=str(team_id), object=name)
                await self._stores.backups.delete(name)

    async def renew_ledger(self, team_id: UUID, retired: list[int]) -> None:
        """A snapshot without any key under these versions of the team's key, and no other any more.

        Turnovers call it before they destroy those versions. Raises DamagedError where the ledger still needs them.
        """
        async with team_lock(self._database, team_id, wait=True):
            head = await self.journal.settle(team_id)
            if head is None:
                return
            await self.snapshots.replace_all(team_id, head.seq, head.entry, without=retired)


def _logged(run: StoredRun, object_: Written) -> BackedUpRun:
    return BackedUpRun(
        run_id=run.run_id,
        plan_id=run.plan_id,
        cloud_account_id=run.cloud_account_id,
        ended_at=written(run.ended_at),
        compared_at=None if run.compared_at is None else written(run.compared_at),
        object=object_.object,
        sha256=object_.sha256.hex(),
        bytes=object_.bytes,
        findings=object_.findings,
        counts=run.counts,
        expires_at=written(run.expires_at),
    )
