"""Queries on suppressions, and on what is known of where they fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.decisions.sealing import SealedText


@dataclass(frozen=True)
class StoredSuppression:
    """A row. `version` grows when what it fits changes."""

    id: UUID
    version: int
    cloud_account_id: UUID | None
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime
    live: bool
    text: SealedText


@dataclass(frozen=True)
class RunInView:
    """What decides which suppressions bear on a run."""

    cloud_account_id: UUID
    has_ended: bool


_COLUMNS = """suppression_id, version, cloud_account_id, expires_at, created_at, updated_at, key_version, sealed,
    coalesce(expires_at > now(), true) AS live"""
_LOCK_TEAM = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")
_COUNT = text("SELECT count(*) FROM suppressions WHERE team_id = :team")
_ADD = text(f"""
    INSERT INTO suppressions (team_id, suppression_id, version, cloud_account_id, expires_at, key_version, sealed)
    VALUES (:team, :id, 1, :cloud_account, :expires_at, :key_version, :sealed) RETURNING {_COLUMNS}
""")  # noqa: S608  constants
_FIND = f"SELECT {_COLUMNS} FROM suppressions WHERE team_id = :team AND suppression_id = :id"  # noqa: S608  constants
_FOUND, _LOCKED = text(_FIND), text(f"{_FIND} FOR UPDATE")
_PAGE = text(f"""
    SELECT {_COLUMNS} FROM suppressions WHERE team_id = :team AND suppression_id < :before
    ORDER BY suppression_id DESC LIMIT :limit
""")  # noqa: S608  constants
_SAVE = text(f"""
    UPDATE suppressions SET version = :version, cloud_account_id = :cloud_account, expires_at = :expires_at,
        updated_at = now(), key_version = :key_version, sealed = :sealed
    WHERE team_id = :team AND suppression_id = :id RETURNING {_COLUMNS}
""")  # noqa: S608  constants
_REMOVE = text("DELETE FROM suppressions WHERE team_id = :team AND suppression_id = :id")
_FORGET = (
    text("DELETE FROM suppression_hits WHERE team_id = :team AND suppression_id = :id"),
    text("DELETE FROM suppression_marks WHERE team_id = :team AND suppression_id = :id"),
)
_RUN = text("""
    SELECT cloud_account_id, ended_at IS NOT NULL AS has_ended FROM runs WHERE team_id = :team AND run_id = :run
""")
_LIVE = text(f"""
    SELECT {_COLUMNS} FROM suppressions
    WHERE team_id = :team AND (cloud_account_id IS NULL OR cloud_account_id = :cloud_account)
        AND (expires_at IS NULL OR expires_at > now())
    ORDER BY suppression_id
""")  # noqa: S608  constants
_FAILED = text("""
    SELECT DISTINCT g.rule_id, g.region FROM finding_groups g
    WHERE g.team_id = :team AND g.run_id = :run AND g.status = 'FAIL'
""")
_MARKED = text("SELECT suppression_id, version FROM suppression_marks WHERE team_id = :team AND run_id = :run")
_CHUNKS = text("""
    SELECT DISTINCT g.unit, g.chunk_index FROM finding_groups g JOIN units u USING (team_id, run_id, unit)
    WHERE g.team_id = :team AND g.run_id = :run AND g.status = 'FAIL' AND g.rule_id = ANY (CAST(:rules AS text[]))
    ORDER BY g.unit, g.chunk_index
""")
_HIT = text("""
    INSERT INTO suppression_hits (team_id, run_id, suppression_id, version, unit, chunk_index, positions)
    VALUES (:team, :run, :id, :version, :unit, :chunk_index, CAST(:positions AS int[])) ON CONFLICT DO NOTHING
""")
_MARK = text("""
    INSERT INTO suppression_marks (team_id, run_id, suppression_id, version)
    SELECT :team, :run, m.id, m.version FROM unnest(CAST(:ids AS uuid[]), CAST(:versions AS int[])) AS m (id, version)
    ON CONFLICT DO NOTHING
""")


async def lock_hits(connection: AsyncConnection, team_id: UUID) -> None:
    """One at a time deletes hits of the team's, until the transaction ends: one does it by suppression, one by run."""
    await connection.execute(_LOCK_TEAM, {"key": f"suppression hits {team_id}"})


class SuppressionRepository:
    """Suppressions of the connection's team."""

    def __init__(self, connection: AsyncConnection, team_id: UUID) -> None:
        self._connection = connection
        self._team = {"team": team_id}

    async def lock_count(self) -> int:
        """How many there are; nobody adds one until the transaction ends."""
        await self._connection.execute(_LOCK_TEAM, {"key": f"suppressions {self._team['team']}"})
        return int((await self._connection.execute(_COUNT, self._team)).scalar_one())

    async def add(
        self, suppression_id: UUID, cloud_account_id: UUID | None, expires_at: datetime | None, sealed: SealedText
    ) -> StoredSuppression:
        """A new row."""
        values = {"id": suppression_id, "cloud_account": cloud_account_id, "expires_at": expires_at}
        row = await self._connection.execute(_ADD, {**self._team, **values, **_sealed(sealed)})
        return _stored(row.one())

    async def find(self, suppression_id: UUID, *, lock: bool = False) -> StoredSuppression | None:
        """The row, nobody else's to change until the transaction ends if asked."""
        row = (
            await self._connection.execute(_LOCKED if lock else _FOUND, {**self._team, "id": suppression_id})
        ).first()
        return None if row is None else _stored(row)

    async def page(self, before: UUID, limit: int) -> list[StoredSuppression]:
        """Rows older than `before`, newest first."""
        return await self._rows(_PAGE, {"before": before, "limit": limit})

    async def save(self, changed: StoredSuppression) -> StoredSuppression:
        """Stores a locked row's change; what was known of an older version is forgotten."""
        values = {"id": changed.id, "version": changed.version}
        values |= {"cloud_account": changed.cloud_account_id, "expires_at": changed.expires_at}
        row = (await self._connection.execute(_SAVE, {**self._team, **values, **_sealed(changed.text)})).one()
        return _stored(row)

    async def forget_hits(self, suppression_id: UUID) -> None:
        """Forgets where a suppression fits: it is about to be another."""
        await lock_hits(self._connection, self._team["team"])
        for statement in _FORGET:
            await self._connection.execute(statement, {**self._team, "id": suppression_id})

    async def remove(self, suppression_id: UUID) -> None:
        """Deletes the row and what is known of where it fits."""
        await self.forget_hits(suppression_id)
        await self._connection.execute(_REMOVE, {**self._team, "id": suppression_id})

    async def run(self, run_id: UUID) -> RunInView | None:
        """The run, if the ledger has heard of it."""
        row = (await self._connection.execute(_RUN, {**self._team, "run": run_id})).first()
        return None if row is None else RunInView(row.cloud_account_id, row.has_ended)

    async def live(self, cloud_account_id: UUID) -> list[StoredSuppression]:
        """Those that have not expired, for all cloud accounts or for this one, oldest first."""
        return await self._rows(_LIVE, {"cloud_account": cloud_account_id})

    async def failed_groups(self, run_id: UUID) -> list[tuple[str, str]]:
        """(rule id, region) of the run's failed findings."""
        rows = await self._connection.execute(_FAILED, {**self._team, "run": run_id})
        return [(row.rule_id, row.region) for row in rows]

    async def marked(self, run_id: UUID) -> set[tuple[UUID, int]]:
        """(id, version) of those for which all of the run was looked at."""
        rows = await self._connection.execute(_MARKED, {**self._team, "run": run_id})
        return {(row.suppression_id, row.version) for row in rows}

    async def chunks_with(self, run_id: UUID, rule_ids: Sequence[str]) -> list[tuple[str, int]]:
        """(unit, index) of stored chunks in which one of the rules failed."""
        rows = await self._connection.execute(_CHUNKS, {**self._team, "run": run_id, "rules": list(rule_ids)})
        return [(row.unit, row.chunk_index) for row in rows]

    async def add_hits(
        self, run_id: UUID, place: tuple[str, int], hits: Mapping[tuple[UUID, int], Sequence[int]]
    ) -> None:
        """Notes which findings of a chunk each (id, version) fits."""
        unit, chunk_index = place
        rows = [
            {**self._team, "run": run_id, "id": key, "version": version, "unit": unit, "chunk_index": chunk_index}
            | {"positions": list(positions)}
            for (key, version), positions in hits.items()
        ]
        if rows:
            await self._connection.execute(_HIT, rows)

    async def mark(self, run_id: UUID, looked_for: Sequence[tuple[UUID, int]]) -> None:
        """Notes that all of the run was looked at for these."""
        values = {"ids": [key for key, _ in looked_for], "versions": [version for _, version in looked_for]}
        await self._connection.execute(_MARK, {**self._team, "run": run_id, **values})

    async def _rows(self, statement: Any, values: Mapping[str, Any]) -> list[StoredSuppression]:
        return [_stored(row) for row in await self._connection.execute(statement, {**self._team, **values})]


def _sealed(text: SealedText) -> dict[str, Any]:
    return {"key_version": text.key_version, "sealed": text.sealed}


def _stored(row: Row[Any]) -> StoredSuppression:
    return StoredSuppression(
        id=row.suppression_id,
        version=row.version,
        cloud_account_id=row.cloud_account_id,
        expires_at=row.expires_at,
        created_at=row.created_at,
        updated_at=row.updated_at,
        live=row.live,
        text=SealedText(row.key_version, row.sealed),
    )
