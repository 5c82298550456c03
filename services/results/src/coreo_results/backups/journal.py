"""Writes a team's log: an entry is decided in one transaction with what it says, and then stored, whatever happens.

The order is: entry noted in the database as pending, snapshot of the key ledger that carries it, entry stored, head
moved. Broken off anywhere, `settle` goes on with the very same entry.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.backups.heads import Head, HeadRepository
from coreo_results.backups.log import entry_hash, entry_object, sign_entry
from coreo_results.backups.snapshots import Custodian, Snapshots
from coreo_results.stores import NotStoredError, ObjectStore, StoreConflictError
from coreo_shared.contracts.backups import Logged
from coreo_shared.db import Database
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)

# Given a transaction and the number that the entry will have: what it says, or None if there is nothing to say.
Decide = Callable[[AsyncConnection, int], Awaitable[Logged | None]]


class LogAheadError(Exception):
    """The log in the store has an entry that this database does not know: the database is an older copy of itself."""

    def __init__(self, team_id: UUID, seq: int) -> None:
        super().__init__(
            f"The log of team {team_id} has another entry {seq} than this database: it was put back to an older state, "
            "or two databases use one backup store. Nothing was written. See docs/operations.md, Backups."
        )


class Journal:
    """The logs of all teams. All calls need the team's lock (`heads.team_lock`)."""

    def __init__(self, database: Database, store: ObjectStore, snapshots: Snapshots, custodian: Custodian) -> None:
        self._database = database
        self._store = store
        self._snapshots = snapshots
        self._custodian = custodian

    async def append(self, team_id: UUID, decide: Decide) -> bool:
        """Adds an entry, and stores it; False if there was nothing to say. Raises LogAheadError."""
        head, entry = await self._decide(team_id, decide)
        if entry is None and head.pending is not None:
            await self._store_pending(team_id, head)
            head, entry = await self._decide(team_id, decide)
        if entry is None:
            return False
        await self._store_pending(team_id, replace(head, pending=entry))
        return True

    async def settle(self, team_id: UUID) -> Head | None:
        """Stores an entry that is pending; the head as it is then, None if there never was one.

        Raises LogAheadError, and what the stores raise.
        """
        async with self._database.transaction(team_id) as connection:
            head = await HeadRepository(connection, team_id).read()
        return head if head is None or head.pending is None else await self._store_pending(team_id, head)

    async def _decide(self, team_id: UUID, decide: Decide) -> tuple[Head, str | None]:
        """The head and the entry that is pending now; no entry where another one is, or there is nothing to say."""
        async with self._database.transaction(team_id) as connection:
            heads = HeadRepository(connection, team_id)
            head = await heads.read() or Head(0, None, None, None)
            if head.pending is not None:
                return head, None
            what = await decide(connection, head.seq + 1)
            if what is None:
                return head, None
            previous = None if head.entry is None else entry_hash(head.entry)
            entry = sign_entry(self._custodian.signer, (team_id, head.seq, previous), what, by=self._custodian.by)
            await heads.make()
            await heads.pend(head.seq, entry)
        return head, entry

    async def _store_pending(self, team_id: UUID, head: Head) -> Head:
        assert head.pending is not None  # noqa: S101  both callers have looked
        seq = head.seq + 1
        await self._snapshots.write(team_id, seq, head.pending)
        try:
            await self._store.put(entry_object(team_id, seq), head.pending.encode())
        except StoreConflictError:
            raise LogAheadError(team_id, seq) from None
        async with self._database.transaction(team_id) as connection:
            heads = HeadRepository(connection, team_id)
            await heads.advance(head.pending)
            await heads.snapped()
        await self._snapshots.tidy(team_id)
        _log.info("backup_log_grew", team_id=str(team_id), seq=seq)
        return Head(seq, head.pending, None, datetime.now(UTC))

    async def check_end(self, team_id: UUID, seq: int) -> None:
        """That the log in the store ends with this entry. Raises LogAheadError.

        Before anything is deleted because this database does not know it.
        """
        try:
            await self._store.get(entry_object(team_id, seq + 1))
        except NotStoredError:
            return
        raise LogAheadError(team_id, seq + 1)
