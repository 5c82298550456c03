"""Queries that put a run from a backup into an empty database."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.backups.records import UnitRow
from coreo_results.chunks.repository import severity_order
from coreo_results.chunks.sealing import SealedChunk

_COLUMNS = text("""
    SELECT attname FROM pg_attribute
    WHERE attrelid = CAST(:table AS regclass) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
""")
_UNITS = text("""
    INSERT INTO units (team_id, run_id, unit, chunks, done_at)
    SELECT :team, :run, u.unit, u.chunks, to_timestamp(0) + u.micros * interval '1 microsecond'
    FROM unnest(CAST(:units AS text[]), CAST(:chunks AS int[]), CAST(:micros AS bigint[])) AS u (unit, chunks, micros)
""")
_CHUNK = text("""
    INSERT INTO chunks (team_id, run_id, unit, chunk_index, final, findings, resource_hashes, tags, listed, sealed)
    VALUES (:team, :run, :unit, :index, :final, :findings, :hashes, :tags, :listed, :sealed)
""")
_GROUPS = text("""
    INSERT INTO finding_groups
        (team_id, run_id, unit, chunk_index, first, findings, rule_id, status, severity_order, region)
    SELECT :team, :run, g.*
    FROM unnest(CAST(:units AS text[]), CAST(:indexes AS int[]), CAST(:firsts AS int[]), CAST(:counts AS int[]),
        CAST(:rules AS text[]), CAST(:statuses AS text[]), CAST(:severities AS smallint[]), CAST(:regions AS text[]))
        AS g
""")
_CODES = text("""
    INSERT INTO chunk_changes (team_id, run_id, unit, chunk_index, codes) VALUES (:team, :run, :unit, :index, :codes)
""")
# What a reader of the feed would have been told last.
_EVENT = text("""
    INSERT INTO run_events (team_id, run_id, version, at, state, reason, attempt, units_done, units_total, counts)
    SELECT team_id, run_id, version, updated_at, state, reason, attempt, units_done, units_total, counts
    FROM runs WHERE team_id = :team AND run_id = :run
""")
_BACKUP = text("""
    INSERT INTO backups (team_id, run_id, state, object, plan_id, cloud_account_id, ended_at, stored_at, expires_at,
        sha256, bytes, findings, log_seq)
    SELECT r.team_id, r.run_id, 'STORED', :object, r.plan_id, r.cloud_account_id, r.ended_at, now(),
        CAST(CAST(:expires_at AS text) AS timestamptz), :sha256, :bytes, :findings, :seq
    FROM runs r WHERE r.team_id = :team AND r.run_id = :run
""")
_KEY = text("""
    INSERT INTO backup_keys (team_id, run_id, team_key_version, wrapped) VALUES (:team, :run, :version, :wrapped)
""")


@dataclass(frozen=True)
class RunLoader:
    """Fills in one run of the connection's team."""

    connection: AsyncConnection
    team_id: UUID
    run_id: UUID
    _columns: dict[str, frozenset[str]] = field(default_factory=dict)

    async def rows(self, table: str, rows: list[str], changes: dict[str, Any] | None = None) -> None:
        """Rows as `to_jsonb` wrote them, perhaps in an older or newer version of the table, with these values changed.

        Columns that the table does not have are left out; those that the rows do not have get their default.
        """
        if not rows:
            return
        decoded = [msgspec.json.decode(row) | (changes or {}) for row in rows]
        known = await self._columns_of(table)
        names = ", ".join(f'"{name}"' for name in decoded[0] if name in known)
        statement = text(
            f"INSERT INTO {table} ({names}) SELECT {names}"  # noqa: S608  names of the table's own columns
            f" FROM jsonb_populate_recordset(NULL::{table}, CAST(CAST(:rows AS text) AS jsonb))"
        )
        await self.connection.execute(statement, {"rows": msgspec.json.encode(decoded).decode()})

    async def units(self, units: list[UnitRow]) -> None:
        """Units that are done."""
        values = {
            "units": [unit.unit for unit in units],
            "chunks": [unit.chunks for unit in units],
            "micros": [unit.done_at for unit in units],
        }
        await self.connection.execute(_UNITS, {**self._run(), **values})

    async def chunks(self, chunks: list[tuple[SealedChunk, list[int] | None]]) -> None:
        """Chunks with their groups, and the codes of their changes if there are any."""
        await self.connection.execute(
            _CHUNK,
            [
                {
                    **self._run(),
                    "unit": chunk.place.unit,
                    "index": chunk.place.index,
                    "final": chunk.place.final,
                    "findings": chunk.findings,
                    "hashes": chunk.resource_hashes,
                    "tags": chunk.tags,
                    "listed": chunk.listed,
                    "sealed": chunk.sealed,
                }
                for chunk, _ in chunks
            ],
        )
        groups = [(chunk.place, group) for chunk, _ in chunks for group in chunk.groups]
        values = {
            "units": [place.unit for place, _ in groups],
            "indexes": [place.index for place, _ in groups],
            "firsts": [group.first for _, group in groups],
            "counts": [group.count for _, group in groups],
            "rules": [group.rule_id for _, group in groups],
            "statuses": [group.status.value for _, group in groups],
            "severities": [severity_order(group.severity) for _, group in groups],
            "regions": [group.region for _, group in groups],
        }
        await self.connection.execute(_GROUPS, {**self._run(), **values})
        codes = [
            {**self._run(), "unit": chunk.place.unit, "index": chunk.place.index, "codes": of_chunk}
            for chunk, of_chunk in chunks
            if of_chunk is not None
        ]
        if codes:
            await self.connection.execute(_CODES, codes)

    async def event(self) -> None:
        """What the feed says of the run."""
        await self.connection.execute(_EVENT, self._run())

    async def backup(self, backup: dict[str, Any], key: dict[str, Any]) -> None:
        """That the run is in the backups, and under which key."""
        await self.connection.execute(_BACKUP, {**self._run(), **backup})
        await self.connection.execute(_KEY, {**self._run(), **key})

    async def _columns_of(self, table: str) -> frozenset[str]:
        if table not in self._columns:
            found = await self.connection.execute(_COLUMNS, {"table": table})
            self._columns[table] = frozenset(found.scalars())
        return self._columns[table]

    def _run(self) -> dict[str, Any]:
        return {"team": self.team_id, "run": self.run_id}
