"""A run's content as records, read from the database in one transaction; memory holds a few chunks at a time."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
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
_RUN = text(f"SELECT to_jsonb(r)::text AS row FROM runs r WHERE {_OF_RUN}")  # noqa: S608  constants
_UNITS = text(f"SELECT unit, chunks, done_at FROM units WHERE {_OF_RUN} ORDER BY unit")  # noqa: S608  constants
# What an attempt that was given up left of a unit is not shown to anybody, and is not backed up.
_BATCH = text("""
    SELECT c.unit, c.chunk_index, c.final, c.listed, c.findings, c.sealed, c.tags, cc.codes
    FROM chunks c JOIN units u USING (team_id, run_id, unit)
    LEFT JOIN chunk_changes cc USING (team_id, run_id, unit, chunk_index)
    WHERE c.team_id = :team AND c.run_id = :run AND (c.unit, c.chunk_index) > (:unit, CAST(:index AS int))
    ORDER BY c.unit, c.chunk_index LIMIT :limit
""")
_PAST = text("""
    SELECT l.tag, l.first_run, (extract(epoch FROM l.first_seen) * 1000000)::bigint AS first_seen,
        CASE WHEN l.last_run = :run AND l.status NOT IN ('PASS', 'FAIL') THEN l.failed_run END AS failed_run,
        l.failed_unit, l.failed_chunk, l.failed_position
    FROM finding_life l
    WHERE l.team_id = :team AND l.tag = ANY (CAST(:tags AS uuid[])) AND (l.cloud_account_id, l.plan_id)
        = (SELECT r.cloud_account_id, r.plan_id FROM runs r WHERE r.team_id = :team AND r.run_id = :run)
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
        run = {"team": self.team_id, "run": self.run_id}
        row = (await self.connection.execute(_RUN, run)).scalar_one()
        units = [
            UnitRow(found.unit, found.chunks, _micros(found.done_at))
            for found in await self.connection.execute(_UNITS, run)
        ]
        yield RunRecord(row=row, units=units)
        chunks = findings = resolved = 0
        async for chunk in self._chunks(key):
            chunks, findings = chunks + 1, findings + chunk.findings
            yield chunk
        if chunks != sum(unit.chunks for unit in units):
            raise DamagedError("chunks of a run are missing")
        async for batch in self._resolved():
            resolved += len(batch.rows)
            yield batch
        yield EndRecord(units=len(units), chunks=chunks, findings=findings, resolved=resolved)

    async def _chunks(self, key: RunKey | None) -> AsyncIterator[ChunkRecord]:
        after = ("", -1)
        while True:
            values = {"team": self.team_id, "run": self.run_id, "unit": after[0], "index": after[1], "limit": _CHUNKS}
            rows = (await self.connection.execute(_BATCH, values)).all()
            if not rows:
                return
            if key is None:
                raise DamagedError("the key of a run that has findings is missing")
            past = await self._past([tag for row in rows if row.codes is not None for tag in row.tags])
            for row in rows:
                yield self._chunk(row, key, past)
            after = (rows[-1].unit, rows[-1].chunk_index)

    def _chunk(self, row: Row[Any], key: RunKey, past: dict[UUID, Row[Any]]) -> ChunkRecord:
        place = ChunkPlace(self.team_id, self.run_id, row.unit, row.chunk_index, row.final)
        return ChunkRecord(
            unit=row.unit,
            index=row.chunk_index,
            final=row.final,
            listed=row.listed,
            findings=row.findings,
            packed=unseal(key.data, row.sealed, place.context()),
            past=None if row.codes is None else compress(msgspec.msgpack.encode(_past(row, past))),
        )

    async def _past(self, tags: list[UUID]) -> dict[UUID, Row[Any]]:
        if not tags:
            return {}
        values = {"team": self.team_id, "run": self.run_id, "tags": tags}
        return {row.tag: row for row in await self.connection.execute(_PAST, values)}

    async def _resolved(self) -> AsyncIterator[ResolvedRecord]:
        severity, rule, tag = -1, "", UUID(int=0)
        while True:
            place = {"severity": severity, "rule": rule, "tag": tag, "limit": _RESOLVED}
            values = {"team": self.team_id, "run": self.run_id, **place}
            rows = (await self.connection.execute(_RESOLVED_ROWS, values)).all()
            if not rows:
                return
            yield ResolvedRecord(rows=[row.row for row in rows])
            severity, rule, tag = rows[-1].severity_order, rows[-1].rule_id, rows[-1].tag


def _past(row: Row[Any], known: dict[UUID, Row[Any]]) -> Past:
    firsts: dict[tuple[UUID, int], int] = {}
    first_of: list[int] = []
    failed: dict[int, tuple[UUID, str, int, int]] = {}
    for position, tag in enumerate(row.tags):
        life = known.get(tag)
        if life is None:
            first_of.append(-1)
            continue
        first_of.append(firsts.setdefault((life.first_run, life.first_seen), len(firsts)))
        if life.failed_run is not None:
            failed[position] = (life.failed_run, life.failed_unit, life.failed_chunk, life.failed_position)
    return Past(list(row.codes), list(firsts), first_of, failed)


def _micros(time: Any) -> int:
    """Microseconds since 1970."""
    return round(time.timestamp() * 1_000_000)
