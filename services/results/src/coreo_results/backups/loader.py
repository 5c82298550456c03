"""Queries that put a run from a backup into an empty database: few statements, as there may be very many runs."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.backups.records import Past, UnitRow
from coreo_results.chunks.repository import array, severity_order
from coreo_results.chunks.sealing import SealedChunk
from coreo_results.documents.repository import DocumentRepository
from coreo_results.documents.sealing import SealedDocument
from coreo_results.keys.wrapping import WrappedKey

_COLUMNS = text("""
    SELECT attname FROM pg_attribute
    WHERE attrelid = CAST(:table AS regclass) AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
""")
# The run with all that is beside its findings. The event is what a reader of the feed would have been told last.
_RUN = """
    WITH run AS (
        SELECT * FROM jsonb_populate_record(NULL::runs, CAST(CAST(:row AS text) AS jsonb))
    ), stored AS (
        INSERT INTO runs ({columns}) SELECT {columns} FROM run
    ), keyed AS (
        INSERT INTO run_keys (team_id, run_id, team_key_version, wrapped)
        SELECT :team, :run, :version, :wrapped WHERE CAST(:is_shown AS boolean)
    ), told AS (
        INSERT INTO run_events (team_id, run_id, version, at, state, reason, attempt, units_done, units_total, counts,
            terms, deploy, resume_at, approval_until, results_gone)
        SELECT team_id, run_id, version, updated_at, state, reason, attempt, units_done, units_total, counts,
            terms, deploy, resume_at, approval_until, CASE WHEN purged_at IS NOT NULL THEN
                jsonb_build_object('at', purged_at, 'why', coalesce(purged_why, 'account'), 'by', purged_by) END
        FROM run
    ), kept AS (
        INSERT INTO backups (team_id, run_id, state, object, plan_id, cloud_account_id, ended_at, stored_at, expires_at,
            sha256, bytes, findings, log_seq)
        SELECT team_id, run_id, 'STORED', :object, plan_id, cloud_account_id, ended_at, now(),
            CAST(CAST(:expires_at AS text) AS timestamptz), :sha256, :bytes, :findings, :seq FROM run
    )
    INSERT INTO backup_keys (team_id, run_id, team_key_version, wrapped)
    VALUES (:team, :run, :backup_version, :backup_wrapped)
"""
_UNITS = text("""
    INSERT INTO units (team_id, run_id, unit, chunks, done_at)
    SELECT :team, :run, u.unit, u.chunks, to_timestamp(0) + u.micros * interval '1 microsecond'
    FROM unnest(CAST(:units AS text[]), CAST(:chunks AS int[]), CAST(:micros AS bigint[])) AS u (unit, chunks, micros)
""")
_CHUNK = text("""
    WITH stored AS (
        INSERT INTO chunks (team_id, run_id, unit, chunk_index, final, findings, resource_hashes, tags, listed, sealed)
        VALUES (:team, :run, :unit, :index, :final, :findings, CAST(CAST(:hashes AS text) AS bigint[]),
            CAST(CAST(:tags AS text) AS uuid[]), :listed, :sealed)
    )
    INSERT INTO chunk_changes (team_id, run_id, unit, chunk_index, codes, first_of, failed)
    SELECT :team, :run, :unit, :index, c.codes, CAST(CAST(:first_of AS text) AS int[]),
        CAST(CAST(:failed AS text) AS jsonb)
    FROM (SELECT CAST(CAST(:codes AS text) AS smallint[]) AS codes) AS c WHERE c.codes IS NOT NULL
""")
_GROUPS = text("""
    INSERT INTO finding_groups
        (team_id, run_id, unit, chunk_index, first, findings, rule_id, status, severity_order, region)
    SELECT :team, :run, g.*
    FROM unnest(CAST(:units AS text[]), CAST(:indexes AS int[]), CAST(:firsts AS int[]),
        CAST(:counts AS int[]), CAST(:rules AS text[]), CAST(:statuses AS text[]), CAST(:severities AS smallint[]),
        CAST(:regions AS text[])) AS g
""")


@dataclass(frozen=True)
class RunEntry:
    """A run beside its findings. `row`: of `runs`, as JSON. `key`: of its display copy, None if it has none."""

    row: dict[str, Any]
    key: WrappedKey | None
    backup: dict[str, Any]
    backup_key: WrappedKey


@dataclass
class Loader:
    """Fills in runs of the connection's team."""

    connection: AsyncConnection
    team_id: UUID
    _columns: dict[str, frozenset[str]] = field(default_factory=dict)
    _statements: dict[tuple[str, ...], TextClause] = field(default_factory=dict)

    async def run(self, run_id: UUID, entry: RunEntry) -> None:
        """A run without its findings. Columns that the table does not have (any more) are left out; those that the row
        does not have get their default.
        """
        known = await self._columns_of("runs")
        names = tuple(name for name in entry.row if name in known)
        if names not in self._statements:
            self._statements[names] = text(_RUN.format(columns=", ".join(names)))
        key = entry.key or entry.backup_key
        await self.connection.execute(
            self._statements[names],
            {
                **self._run(run_id),
                "row": msgspec.json.encode(entry.row).decode(),
                "is_shown": entry.key is not None,
                "version": key.team_key_version,
                "wrapped": key.wrapped,
                "backup_version": entry.backup_key.team_key_version,
                "backup_wrapped": entry.backup_key.wrapped,
                **entry.backup,
            },
        )

    async def chunks(self, run_id: UUID, chunks: list[tuple[SealedChunk, Past | None]]) -> None:
        """Chunks with their groups, and what the run was told of them, if anything."""
        await self.connection.execute(
            _CHUNK,
            [
                {
                    **self._run(run_id),
                    "unit": chunk.place.unit,
                    "index": chunk.place.index,
                    "final": chunk.place.final,
                    "findings": chunk.findings,
                    "hashes": array(chunk.resource_hashes),
                    "tags": array(chunk.tags),
                    "listed": chunk.listed,
                    "sealed": chunk.sealed,
                    "codes": past and past.codes,
                    "first_of": past and past.first_of,
                    "failed": past and past.failed,
                }
                for chunk, past in chunks
            ],
        )
        groups = [(chunk.place, group) for chunk, _ in chunks for group in chunk.groups]
        await self.connection.execute(
            _GROUPS,
            {
                **self._run(run_id),
                "units": [place.unit for place, _ in groups],
                "indexes": [place.index for place, _ in groups],
                "firsts": [group.first for _, group in groups],
                "counts": [group.count for _, group in groups],
                "rules": [group.rule_id for _, group in groups],
                "statuses": [group.status.value for _, group in groups],
                "severities": [severity_order(group.severity) for _, group in groups],
                "regions": [group.region for _, group in groups],
            },
        )

    async def units(self, run_id: UUID, units: list[UnitRow]) -> None:
        """The units of a run whose chunks are there: the database sums them up."""
        columns = {
            "units": [unit.unit for unit in units],
            "chunks": [unit.chunks for unit in units],
            "micros": [unit.done_at for unit in units],
        }
        await self.connection.execute(_UNITS, {**self._run(run_id), **columns})

    async def document(self, row: dict[str, Any], document: SealedDocument) -> None:
        """A part of a run's documents."""
        await DocumentRepository(self.connection).restore(document, row["stored_at"])

    async def rows(self, table: str, rows: bytes) -> None:
        """Rows of another table: a JSON array of what `to_jsonb` wrote, with the same columns; these as with `run`."""
        first = next(iter(msgspec.json.decode(rows, type=list[msgspec.Raw])), None)
        if first is None:
            return
        known = await self._columns_of(table)
        names = ", ".join(name for name in msgspec.json.decode(first) if name in known)
        statement = text(
            f"INSERT INTO {table} ({names}) SELECT {names}"  # noqa: S608  names of the table's own columns
            f" FROM jsonb_populate_recordset(NULL::{table}, CAST(CAST(:rows AS text) AS jsonb))"
        )
        await self.connection.execute(statement, {"rows": rows.decode()})

    async def _columns_of(self, table: str) -> frozenset[str]:
        if table not in self._columns:
            found = await self.connection.execute(_COLUMNS, {"table": table})
            self._columns[table] = frozenset(found.scalars())
        return self._columns[table]

    def _run(self, run_id: UUID) -> dict[str, Any]:
        return {"team": self.team_id, "run": run_id}
