"""A run's content as records, read from the database in one transaction; memory holds a few chunks at a time."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.backups.records import ChunkRecord, EndRecord, Past, Record, ResolvedRecord, RunRecord, UnitRow
from coreo_results.chunks.columns import compress
from coreo_results.chunks.sealing import ChunkPlace
from coreo_results.keys.seal import DamagedError, unseal
from coreo_results.keys.service import RunKey

_CHUNKS = 8  # read together
_RESOLVED = 2_000
_OF_RUN = "team_id = :team AND run_id = :run"
_RUN = text(f"""
    SELECT r.cloud_account_id, r.plan_id, to_jsonb(r)::text AS row FROM runs r WHERE {_OF_RUN}
""")  # noqa: S608  constants
_UNITS = text(f"SELECT unit, chunks, done_at FROM units WHERE {_OF_RUN} ORDER BY unit")  # noqa: S608  constants
# What an attempt that was given up left of a unit is not shown to anybody, and is not backed up.
_BATCH = text("""
    SELECT c.unit, c.chunk_index, c.final, c.listed, c.findings, c.sealed, cc.codes
    FROM chunks c JOIN units u USING (team_id, run_id, unit)
    LEFT JOIN chunk_changes cc USING (team_id, run_id, unit, chunk_index)
    WHERE c.team_id = :team AND c.run_id = :run AND (c.unit, c.chunk_index) > (:unit, CAST(:index AS int))
    ORDER BY c.unit, c.chunk_index LIMIT :limit
""")
# Each finding is looked up by its tag: LIMIT keeps that a lookup, whatever the planner thinks of the tables.
_PAST = text("""
    WITH placed AS (
        SELECT c.unit, c.chunk_index, t.place, l.*
        FROM chunks c
        CROSS JOIN LATERAL unnest(c.tags) WITH ORDINALITY AS t (tag, place)
        LEFT JOIN LATERAL (
            SELECT l.first_run, l.first_seen, l.failed_run, l.failed_unit, l.failed_chunk, l.failed_position,
                l.last_run = :run AND l.status NOT IN ('PASS', 'FAIL') AND l.failed_run IS NOT NULL AS has_failed
            FROM finding_life l
            WHERE l.team_id = :team AND l.cloud_account_id = :cloud_account AND l.plan_id = :plan AND l.tag = t.tag
            LIMIT 1
        ) AS l ON true
        WHERE c.team_id = :team AND c.run_id = :run AND (c.unit, c.chunk_index) > (:unit, CAST(:index AS int))
            AND (c.unit, c.chunk_index) <= (:last_unit, CAST(:last_index AS int))
    ), numbered AS (
        SELECT *, dense_rank() OVER (PARTITION BY unit, chunk_index ORDER BY first_run, first_seen) AS number,
            row_number() OVER (PARTITION BY unit, chunk_index, first_run, first_seen ORDER BY place) AS nth
        FROM placed
    )
    SELECT unit, chunk_index,
        array_agg(CASE WHEN first_run IS NULL THEN -1 ELSE number - 1 END::int ORDER BY place) AS first_of,
        array_agg(first_run ORDER BY number) FILTER (WHERE nth = 1 AND first_run IS NOT NULL) AS first_runs,
        array_agg((extract(epoch FROM first_seen) * 1000000)::bigint ORDER BY number)
            FILTER (WHERE nth = 1 AND first_run IS NOT NULL) AS first_seen,
        array_agg((place - 1)::int ORDER BY place) FILTER (WHERE has_failed) AS failed_at,
        array_agg(failed_run ORDER BY place) FILTER (WHERE has_failed) AS failed_runs,
        array_agg(failed_unit ORDER BY place) FILTER (WHERE has_failed) AS failed_units,
        array_agg(failed_chunk ORDER BY place) FILTER (WHERE has_failed) AS failed_chunks,
        array_agg(failed_position ORDER BY place) FILTER (WHERE has_failed) AS failed_positions
    FROM numbered GROUP BY unit, chunk_index
""")
_RESOLVED_ROWS = text(f"""
    SELECT severity_order, rule_id, tag, to_jsonb(r)::text AS row FROM resolved_findings r
    WHERE {_OF_RUN} AND (severity_order, rule_id, tag)
        > (CAST(:severity AS smallint), CAST(:rule AS text), CAST(:tag AS uuid))
    ORDER BY severity_order, rule_id, tag LIMIT :limit
""")  # noqa: S608  constants


@dataclass(frozen=True)
class RunSource:
    """A run of the connection's team. It must have ended."""

    connection: AsyncConnection
    team_id: UUID
    run_id: UUID

    async def records(self, key: RunKey | None) -> AsyncIterator[Record]:
        """All of it, in the order of the object. `key`: of its display copy; None if it never had one.

        Raises DamagedError where a chunk does not open or the chunks are not those that its units should have.
        """
        run = (await self.connection.execute(_RUN, self._run())).one()
        units = [
            UnitRow(found.unit, found.chunks, _micros(found.done_at))
            for found in await self.connection.execute(_UNITS, self._run())
        ]
        yield RunRecord(row=run.row, units=units)
        chunks = findings = resolved = 0
        plan = {"cloud_account": run.cloud_account_id, "plan": run.plan_id}
        async for chunk in self._chunks(key, plan, sum(unit.chunks for unit in units)):
            chunks, findings = chunks + 1, findings + chunk.findings
            yield chunk
        async for batch in self._resolved():
            resolved += len(batch.rows)
            yield batch
        yield EndRecord(units=len(units), chunks=chunks, findings=findings, resolved=resolved)

    async def _chunks(self, key: RunKey | None, plan: dict[str, Any], expected: int) -> AsyncIterator[ChunkRecord]:
        after, found = ("", -1), 0
        while found < expected:
            place = {"unit": after[0], "index": after[1], "limit": _CHUNKS}
            rows = (await self.connection.execute(_BATCH, {**self._run(), **place})).all()
            if not rows:
                raise DamagedError("chunks of a run are missing")
            if key is None:
                raise DamagedError("the key of a run that has findings is missing")
            last = (rows[-1].unit, rows[-1].chunk_index)
            past: dict[tuple[str, int], Row[Any]] = {}
            if any(row.codes is not None for row in rows):
                values = {**plan, **place, "last_unit": last[0], "last_index": last[1]}
                known = await self.connection.execute(_PAST, {**self._run(), **values})
                past = {(row.unit, row.chunk_index): row for row in known}
            for row in rows:
                yield self._chunk(row, key, past.get((row.unit, row.chunk_index)))
            after, found = last, found + len(rows)

    def _chunk(self, row: Row[Any], key: RunKey, past: Row[Any] | None) -> ChunkRecord:
        place = ChunkPlace(self.team_id, self.run_id, row.unit, row.chunk_index, row.final)
        known = None if row.codes is None or past is None else _past(row.codes, past)
        return ChunkRecord(
            unit=row.unit,
            index=row.chunk_index,
            final=row.final,
            listed=row.listed,
            findings=row.findings,
            packed=unseal(key.data, row.sealed, place.context()),
            past=None if known is None else compress(msgspec.msgpack.encode(known)),
        )

    async def _resolved(self) -> AsyncIterator[ResolvedRecord]:
        severity, rule, tag = -1, "", UUID(int=0)
        while True:
            place = {"severity": severity, "rule": rule, "tag": tag, "limit": _RESOLVED}
            rows = (await self.connection.execute(_RESOLVED_ROWS, {**self._run(), **place})).all()
            if rows:
                yield ResolvedRecord(rows=[row.row for row in rows])
            if len(rows) < _RESOLVED:
                return
            severity, rule, tag = rows[-1].severity_order, rows[-1].rule_id, rows[-1].tag

    def _run(self) -> dict[str, Any]:
        return {"team": self.team_id, "run": self.run_id}


def _past(codes: list[int], row: Row[Any]) -> Past:
    firsts = list(zip(row.first_runs or (), row.first_seen or (), strict=True))
    places = zip(row.failed_runs or (), row.failed_units or (), row.failed_chunks or (), row.failed_positions or ())  # noqa: B905  of one length
    return Past(codes, firsts, row.first_of, dict(zip(row.failed_at or (), places, strict=True)))


def _micros(time: datetime) -> int:
    """Microseconds since 1970."""
    return round(time.timestamp() * 1_000_000)
