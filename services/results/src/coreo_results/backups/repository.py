"""Queries on backups and their keys: what is due, what is stored, what is to be dropped."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.backups.log import written
from coreo_results.keys.repository import refusing_retired_keys
from coreo_results.keys.wrapping import WrappedKey
from coreo_shared.contracts.backups import RunsDeleted
from coreo_shared.contracts.results import Counts


@dataclass(frozen=True)
class DueRun:
    """A run that has ended and that nothing is settled about. `left`: the object of a try that came to nothing."""

    run_id: UUID
    is_wanted: bool
    is_compared: bool  # with the plan's runs before it, or it never will be
    left: str | None


@dataclass(frozen=True)
class Written:
    """An object as it was written."""

    run_id: UUID
    object: str
    sha256: bytes
    bytes: int
    findings: int


@dataclass(frozen=True)
class StoredRun:
    """A run with what the log says of it."""

    run_id: UUID
    plan_id: UUID | None
    cloud_account_id: UUID
    ended_at: datetime
    compared_at: datetime | None
    counts: Counts
    expires_at: datetime


# Oldest first; those of which a try failed come after all others.
_DUE = text("""
    SELECT r.run_id, b.object AS left_object,
        r.backup AND NOT EXISTS (SELECT FROM custody_settings s WHERE s.team_id = r.team_id AND NOT s.backups)
            AND NOT EXISTS (SELECT FROM plan_custody_settings p
                WHERE p.team_id = r.team_id AND p.plan_id = r.plan_id AND NOT p.backup)
            AND NOT EXISTS (SELECT FROM account_custody_settings a
                WHERE a.team_id = r.team_id AND a.cloud_account_id = r.cloud_account_id AND NOT a.backup)
            AS is_wanted,
        r.life_at IS NOT NULL OR r.plan_id IS NULL
            OR r.pool <> 'audit' AND r.action IS DISTINCT FROM 'drift' AS is_compared
    FROM runs r LEFT JOIN backups b USING (team_id, run_id)
    WHERE r.team_id = :team AND r.ended_at IS NOT NULL AND r.backup_settled_at IS NULL AND r.purged_at IS NULL
        AND r.pool <> 'onboard' AND r.run_id <> ALL (CAST(:but AS uuid[]))
    ORDER BY b.started_at NULLS FIRST, r.ended_at, r.run_id LIMIT :limit
""")
# Runs are locked by id, as everywhere (retention.repository).
_SETTLE = text("""
    WITH locked AS MATERIALIZED (
        SELECT run_id FROM runs WHERE team_id = :team AND run_id = ANY (CAST(:runs AS uuid[]))
        ORDER BY run_id FOR NO KEY UPDATE
    )
    UPDATE runs r SET backup_settled_at = now() FROM locked l WHERE r.team_id = :team AND r.run_id = l.run_id
""")
_BEGIN = text("""
    INSERT INTO backups AS b (team_id, run_id, state, object, plan_id, cloud_account_id, ended_at)
    SELECT r.team_id, r.run_id, 'WRITING', w.object, r.plan_id, r.cloud_account_id, r.ended_at
    FROM unnest(CAST(:runs AS uuid[]), CAST(:objects AS text[])) AS w (run_id, object)
    JOIN runs r ON r.team_id = :team AND r.run_id = w.run_id
    ON CONFLICT (team_id, run_id) DO UPDATE SET object = excluded.object, started_at = now() WHERE b.state = 'WRITING'
    RETURNING run_id
""")
_DROP_KEYS = text("DELETE FROM backup_keys WHERE team_id = :team AND run_id = ANY (CAST(:runs AS uuid[]))")
_ADD_KEYS = text("""
    INSERT INTO backup_keys (team_id, run_id, team_key_version, wrapped)
    SELECT :team, k.run_id, k.version, k.wrapped
    FROM unnest(CAST(:runs AS uuid[]), CAST(:versions AS int[]), CAST(:wrapped AS bytea[]))
        AS k (run_id, version, wrapped)
""")
_KEY = text("SELECT team_key_version, wrapped FROM backup_keys WHERE team_id = :team AND run_id = :run")
# The key proves that nobody took the run away meanwhile. Behind the entry that says that it shall be excluded no entry
# may say that it is backed up: who wrote it and lost the lock meanwhile finds that out here.
_STORE = text("""
    UPDATE backups b SET state = 'STORED', stored_at = now(), sha256 = w.sha256, bytes = w.bytes,
        findings = w.findings, log_seq = :seq, expires_at = b.ended_at + make_interval(days => :days)
    FROM unnest(CAST(:runs AS uuid[]), CAST(:objects AS text[]), CAST(:hashes AS bytea[]), CAST(:sizes AS bigint[]),
        CAST(:findings AS bigint[])) AS w (run_id, object, sha256, bytes, findings), runs r
    WHERE b.team_id = :team AND b.run_id = w.run_id AND b.object = w.object AND b.state = 'WRITING'
        AND r.team_id = b.team_id AND r.run_id = b.run_id AND r.purged_at IS NULL
        AND NOT EXISTS (SELECT FROM exclusion_runs x JOIN exclusions e USING (team_id, exclusion_id)
            WHERE x.team_id = b.team_id AND x.run_id = b.run_id AND e.intent_seq IS NOT NULL)
        AND w.findings = (SELECT coalesce(sum(c.findings::bigint), 0)
            FROM jsonb_each_text(r.counts -> 'by_status') AS c (status, findings))
        AND EXISTS (SELECT FROM backup_keys k WHERE k.team_id = b.team_id AND k.run_id = b.run_id)
    RETURNING b.run_id, b.plan_id, b.cloud_account_id, b.ended_at, r.life_at, r.counts::text AS counts, b.expires_at
""")
_EXPIRED = text("""
    SELECT run_id FROM backups WHERE team_id = :team AND state = 'STORED' AND expires_at <= now()
    ORDER BY expires_at, run_id LIMIT :limit
""")
_DROP = text("""
    UPDATE backups SET state = 'DROPPING', why = :why, dropped_seq = :seq
    WHERE team_id = :team AND run_id = ANY (CAST(:runs AS uuid[])) AND state = 'STORED'
""")
# Deletions on request that the log does not tell of yet, those of one request.
_DELETED = text("""
    SELECT r.purged_at, coalesce(r.purged_why, 'account') AS why, r.purged_by,
        array_agg(r.run_id ORDER BY r.run_id) AS runs
    FROM runs r JOIN backups b USING (team_id, run_id)
    WHERE r.team_id = :team AND r.purged_at IS NOT NULL AND r.purged_why IS DISTINCT FROM 'expired'
        AND b.state = 'STORED' AND b.deletion_seq IS NULL
    GROUP BY r.purged_at, 2, r.purged_by ORDER BY r.purged_at LIMIT 1
""")
_TOLD = text("""
    UPDATE backups SET deletion_seq = :seq WHERE team_id = :team AND run_id = ANY (CAST(:runs AS uuid[]))
""")
_KEEP_FOR = text("""
    UPDATE backups SET expires_at = ended_at + make_interval(days => :days) WHERE team_id = :team AND state = 'STORED'
""")
_UNWANTED = text("""
    SELECT b.run_id, b.object FROM backups b JOIN runs r USING (team_id, run_id)
    WHERE b.team_id = :team AND b.state = 'WRITING' AND (r.purged_at IS NOT NULL OR r.backup_settled_at IS NOT NULL)
    ORDER BY b.run_id LIMIT :limit
""")
_UNKNOWN = text("""
    SELECT w.object FROM unnest(CAST(:objects AS text[])) AS w (object)
    WHERE NOT EXISTS (SELECT FROM backups b WHERE b.team_id = :team AND b.object = w.object AND b.state <> 'GONE')
""")
_FORGET = text("""
    DELETE FROM backups WHERE team_id = :team AND run_id = ANY (CAST(:runs AS uuid[])) AND state = 'WRITING'
""")
_DROPPING = text("""
    SELECT run_id, object FROM backups WHERE team_id = :team AND state = 'DROPPING'
        AND dropped_seq <= (SELECT seq FROM backup_heads WHERE team_id = :team)
    ORDER BY run_id LIMIT :limit
""")
_GONE = text("UPDATE backups SET state = 'GONE' WHERE team_id = :team AND run_id = ANY (CAST(:runs AS uuid[]))")


class BackupRepository:
    """Backups of the connection's team."""

    def __init__(self, connection: AsyncConnection, team_id: UUID) -> None:
        self._connection = connection
        self._team = {"team": team_id}

    async def due(self, limit: int, but: set[UUID]) -> list[DueRun]:
        """Runs to settle, but these."""
        rows = await self._connection.execute(_DUE, {**self._team, "limit": limit, "but": list(but)})
        return [DueRun(row.run_id, row.is_wanted, row.is_compared, row.left_object) for row in rows]

    async def settle(self, run_ids: list[UUID]) -> None:
        """Nothing more is to be decided about these."""
        await self._connection.execute(_SETTLE, {**self._team, "runs": run_ids})

    async def begin(self, objects: dict[UUID, str], keys: dict[UUID, WrappedKey]) -> set[UUID]:
        """Notes the objects that will be written, by run, and their keys; those of earlier tries are gone then.

        Gives the runs that are to be written: those that are not stored. Raises KeyRetiredError.
        """
        values = {"runs": list(objects), "objects": list(objects.values())}
        begun = list((await self._connection.execute(_BEGIN, {**self._team, **values})).scalars())
        await self.drop_keys(begun)
        key_values = {
            "runs": begun,
            "versions": [keys[run_id].team_key_version for run_id in begun],
            "wrapped": [keys[run_id].wrapped for run_id in begun],
        }
        with refusing_retired_keys():
            await self._connection.execute(_ADD_KEYS, {**self._team, **key_values})
        return set(begun)

    async def store(self, written: list[Written], seq: int, days: int) -> list[StoredRun]:
        """Notes what was written, as said by this entry of the log; those of them that still are to be stored."""
        values = {
            "runs": [each.run_id for each in written],
            "objects": [each.object for each in written],
            "hashes": [each.sha256 for each in written],
            "sizes": [each.bytes for each in written],
            "findings": [each.findings for each in written],
        }
        rows = await self._connection.execute(_STORE, {**self._team, **values, "seq": seq, "days": days})
        return [
            StoredRun(
                row.run_id, row.plan_id, row.cloud_account_id, row.ended_at, row.life_at,
                msgspec.json.decode(row.counts, type=Counts), row.expires_at,
            )
            for row in rows
        ]  # fmt: skip

    async def expired(self, limit: int) -> list[UUID]:
        """Runs whose backup has been kept long enough."""
        rows = await self._connection.execute(_EXPIRED, {**self._team, "limit": limit})
        return list(rows.scalars())

    async def drop(self, run_ids: list[UUID], why: str, seq: int) -> None:
        """Destroys the keys of these; their objects are to be deleted once the log says so."""
        await self.drop_keys(run_ids)
        await self._connection.execute(_DROP, {**self._team, "runs": run_ids, "why": why, "seq": seq})

    async def drop_keys(self, run_ids: list[UUID]) -> None:
        """Destroys the keys of these."""
        await self._connection.execute(_DROP_KEYS, {**self._team, "runs": run_ids})

    async def deleted(self, seq: int) -> RunsDeleted | None:
        """Runs whose results were deleted on one request that this entry of the log will be the first to tell of."""
        row = (await self._connection.execute(_DELETED, self._team)).first()
        if row is None:
            return None
        await self._connection.execute(_TOLD, {**self._team, "seq": seq, "runs": row.runs})
        return RunsDeleted(run_ids=row.runs, why=row.why, by=row.purged_by, at=written(row.purged_at))

    async def keep_for(self, days: int) -> None:
        """All backups are kept for so many days after their run's end."""
        await self._connection.execute(_KEEP_FOR, {**self._team, "days": days})

    async def unwanted(self, limit: int) -> list[tuple[UUID, str]]:
        """(run, object) of those that were to be written, and then their results were purged or excluded."""
        rows = await self._connection.execute(_UNWANTED, {**self._team, "limit": limit})
        return [(row.run_id, row.object) for row in rows]

    async def unknown(self, objects: list[str]) -> list[str]:
        """Those of these objects that are no backup's."""
        return list((await self._connection.execute(_UNKNOWN, {**self._team, "objects": objects})).scalars())

    async def forget(self, run_ids: list[UUID]) -> None:
        """Destroys the keys of these, which were being written, and forgets them."""
        await self.drop_keys(run_ids)
        await self._connection.execute(_FORGET, {**self._team, "runs": run_ids})

    async def dropping(self, limit: int) -> list[tuple[UUID, str]]:
        """(run, object) of those to delete, as the log in the store says."""
        rows = await self._connection.execute(_DROPPING, {**self._team, "limit": limit})
        return [(row.run_id, row.object) for row in rows]

    async def gone(self, run_ids: list[UUID]) -> None:
        """The objects of these are deleted."""
        await self._connection.execute(_GONE, {**self._team, "runs": run_ids})

    async def key(self, run_id: UUID) -> WrappedKey | None:
        """The key of the run's backup as it is stored."""
        row = (await self._connection.execute(_KEY, {**self._team, "run": run_id})).one_or_none()
        return None if row is None else WrappedKey(row.team_key_version, row.wrapped)
