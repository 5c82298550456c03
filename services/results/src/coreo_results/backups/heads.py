"""Queries on how far each team's log is, and the lock under which it grows."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_shared.contracts.custody import BackupState
from coreo_shared.db import Database


@dataclass(frozen=True)
class Head:
    """Where a team's log is. Entries are as they are stored."""

    seq: int
    entry: str | None
    pending: str | None
    snapshot_at: datetime | None


_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:key, 0))")
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")
_READ = text("SELECT seq, entry, pending, snapshot_at FROM backup_heads WHERE team_id = :team")
_MAKE = text("INSERT INTO backup_heads (team_id) VALUES (:team) ON CONFLICT DO NOTHING")
_PEND = text(
    "UPDATE backup_heads SET pending = :entry WHERE team_id = :team AND pending IS NULL AND seq = :before RETURNING 1"
)
_ADVANCE = text(
    "UPDATE backup_heads SET seq = seq + 1, entry = pending, pending = NULL"
    " WHERE team_id = :team AND pending = :entry RETURNING 1"
)
# Numbers are in the order of the entries that snapshots go with: who lost the lock gets none for an older one.
_NUMBER = text(
    "UPDATE backup_heads SET snapshot = snapshot + 1"
    " WHERE team_id = :team AND seq + (pending IS NOT NULL)::int = :log_seq RETURNING snapshot"
)
_SNAPPED = text("UPDATE backup_heads SET snapshot_at = now() WHERE team_id = :team")
_PUT = text(
    "INSERT INTO backup_heads (team_id, seq, entry, pending, snapshot)"
    " VALUES (:team, :seq, :entry, :pending, :snapshot)"
)
_KEPT_FOR = text(
    "UPDATE backup_heads SET days = :days WHERE team_id = :team AND days IS DISTINCT FROM :days RETURNING 1"
)
_DONE = text("UPDATE backup_heads SET backed_up_at = now(), problem = NULL, problem_at = NULL WHERE team_id = :team")
_FAILED = text("UPDATE backup_heads SET problem = :problem, problem_at = now() WHERE team_id = :team")


_STATE = text("""
    SELECT NOT EXISTS (SELECT FROM custody_settings s WHERE s.team_id = t.team_id AND NOT s.backups) AS wanted,
        b.runs, b.findings, b.bytes, d.due, coalesce(h.seq, 0) AS log_entries, h.snapshot_at AS ledger_at,
        h.backed_up_at AS checked_at, h.problem_at AS failed_at
    FROM (SELECT CAST(:team AS uuid) AS team_id) AS t
    LEFT JOIN backup_heads h USING (team_id)
    CROSS JOIN LATERAL (
        SELECT count(*) AS runs, coalesce(sum(findings), 0)::bigint AS findings,
            coalesce(sum(bytes), 0)::bigint AS bytes
        FROM backups WHERE team_id = t.team_id AND state = 'STORED'
    ) AS b
    CROSS JOIN LATERAL (
        SELECT count(*) AS due FROM runs r WHERE r.team_id = t.team_id AND r.ended_at IS NOT NULL
            AND r.backup_settled_at IS NULL AND r.purged_at IS NULL AND r.pool <> 'onboard'
    ) AS d
""")


class HeadMovedError(Exception):
    """Somebody else wrote to the team's log though we hold its lock: the connection that held it was lost."""


@asynccontextmanager
async def team_lock(database: Database, team_id: UUID, *, wait: bool) -> AsyncIterator[bool]:
    """Whether this process alone may write the team's log and snapshots while the block runs; without `wait` at once.

    The transaction holds nothing but the lock, and so hinders nobody.
    """
    async with database.transaction(team_id) as connection:
        key = {"key": f"backups {team_id}"}
        if wait:
            await connection.execute(_LOCK, key)
            yield True
        else:
            yield bool((await connection.execute(_TRY_LOCK, key)).scalar_one())


class HeadRepository:
    """The head of the connection's team."""

    def __init__(self, connection: AsyncConnection, team_id: UUID) -> None:
        self._connection = connection
        self._team = {"team": team_id}

    async def read(self) -> Head | None:
        """None for a team that never had a backup."""
        row = (await self._connection.execute(_READ, self._team)).one_or_none()
        return None if row is None else Head(row.seq, row.entry, row.pending, row.snapshot_at)

    async def state(self) -> BackupState:
        """How the team's backups are; `wanted` by its settings alone."""
        row = (await self._connection.execute(_STATE, self._team)).one()
        return msgspec.convert(dict(row._mapping), BackupState)  # noqa: SLF001  SQLAlchemy's public name for it

    async def make(self) -> None:
        """Makes the head where there is none."""
        await self._connection.execute(_MAKE, self._team)

    async def pend(self, before: int, entry: str) -> None:
        """Notes the entry that shall follow. Raises HeadMovedError."""
        await self._must(_PEND, {"before": before, "entry": entry})

    async def advance(self, entry: str) -> None:
        """The pending entry is stored. Raises HeadMovedError."""
        await self._must(_ADVANCE, {"entry": entry})

    async def next_snapshot(self, log_seq: int) -> int:
        """A number that nobody else gets, for a snapshot that goes with the log's newest entry. Raises HeadMovedError
        where that is another.
        """
        number = (await self._connection.execute(_NUMBER, {**self._team, "log_seq": log_seq})).scalar_one_or_none()
        if number is None:
            raise HeadMovedError
        return int(number)

    async def snapped(self) -> None:
        """A snapshot was stored just now."""
        await self._connection.execute(_SNAPPED, self._team)

    async def put(self, head: Head, snapshot: int) -> None:
        """The head of a team that has none, and the number of its newest snapshot."""
        values = {"seq": head.seq, "entry": head.entry, "pending": head.pending, "snapshot": snapshot}
        await self._connection.execute(_PUT, {**self._team, **values})

    async def set_days(self, days: int) -> bool:
        """Notes how long backups are kept; whether that is something new."""
        return (await self._connection.execute(_KEPT_FOR, {**self._team, "days": days})).first() is not None

    async def done(self) -> None:
        """All that was due is in the backups."""
        await self._connection.execute(_DONE, self._team)

    async def failed(self, problem: str) -> None:
        """It did not work; for people to see."""
        await self._connection.execute(_FAILED, {**self._team, "problem": problem})

    async def _must(self, statement: TextClause, values: dict[str, object]) -> None:
        if (await self._connection.execute(statement, {**self._team, **values})).first() is None:
            raise HeadMovedError
