"""A run's content as records, read from the database in one transaction; memory holds a few chunks at a time."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

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
from coreo_results.chunks.columns import compress
from coreo_results.chunks.sealing import ChunkPlace
from coreo_results.documents.sealing import DocumentPlace, packed_document
from coreo_results.keys.material import Sealed
from coreo_results.keys.repository import WrappedRunKey
from coreo_results.keys.seal import DamagedError, unseal
from coreo_results.keys.service import RunKey

_CHUNKS = 8  # read together
_RESOLVED = 2_000
_OF_RUN = "team_id = :team AND run_id = :run"
_HEAD = text("""
    SELECT to_jsonb(r)::text AS row, r.purged_at IS NULL AS is_shown,
        coalesce((r.changes ->> 'resolved')::int, 0) AS resolved,
        (SELECT count(*) FROM run_documents d WHERE d.team_id = r.team_id AND d.run_id = r.run_id)::int AS documents,
        k.team_key_version, k.wrapped, k.generation, u.units, u.chunks, u.done_at
    FROM runs r LEFT JOIN run_keys k USING (team_id, run_id)
    CROSS JOIN LATERAL (
        SELECT array_agg(unit ORDER BY unit) AS units, array_agg(chunks ORDER BY unit) AS chunks,
            array_agg((extract(epoch FROM done_at) * 1000000)::bigint ORDER BY unit) AS done_at
        FROM units u WHERE u.team_id = r.team_id AND u.run_id = r.run_id
    ) AS u
    WHERE r.team_id = :team AND r.run_id = :run
""")
# What an attempt that was given up left of a unit is not shown to anybody, and is not backed up.
_BATCH = text("""
    SELECT c.unit, c.chunk_index, c.final, c.listed, c.findings, c.sealed,
        cc.codes::text AS codes, cc.first_of::text AS first_of, cc.failed::text AS failed
    FROM chunks c JOIN units u USING (team_id, run_id, unit)
    LEFT JOIN chunk_changes cc USING (team_id, run_id, unit, chunk_index)
    WHERE c.team_id = :team AND c.run_id = :run AND (c.unit, c.chunk_index) > (:unit, CAST(:index AS int))
    ORDER BY c.unit, c.chunk_index LIMIT :limit
""")
_RESOLVED_ROWS = text(f"""
    SELECT severity_order, rule_id, tag, to_jsonb(r)::text AS row FROM resolved_findings r
    WHERE {_OF_RUN} AND (severity_order, rule_id, tag)
        > (CAST(:severity AS smallint), CAST(:rule AS text), CAST(:tag AS uuid))
    ORDER BY severity_order, rule_id, tag LIMIT :limit
""")  # noqa: S608  constants
_DOCUMENT = text(f"""
    SELECT name, part, first, sealed, (to_jsonb(d) - 'sealed')::text AS row FROM run_documents d
    WHERE {_OF_RUN} AND (name, part) > (:name, CAST(:part AS int)) ORDER BY name, part LIMIT 1
""")  # noqa: S608  constants


@dataclass(frozen=True)
class RunHead:
    """A run before its findings. `key`: of its display copy as it is stored; None if it has none (any more)."""

    row: str
    units: list[UnitRow]
    resolved: int
    documents: int
    is_shown: bool  # its results are there
    key: WrappedRunKey | None


@dataclass(frozen=True)
class RunSource:
    """A run of the connection's team. It must have ended."""

    connection: AsyncConnection
    team_id: UUID
    run_id: UUID

    async def head(self) -> RunHead:
        """What comes first."""
        row = (await self.connection.execute(_HEAD, self._run())).one()
        units = zip(row.units or (), row.chunks or (), row.done_at or (), strict=True)
        key = None
        if row.wrapped is not None:
            key = WrappedRunKey(row.team_key_version, Sealed(row.wrapped), row.generation)
        unit_rows = [UnitRow(*unit) for unit in units]
        return RunHead(row.row, unit_rows, row.resolved, row.documents, row.is_shown, key)

    async def records(self, head: RunHead, key: RunKey | None) -> AsyncIterator[Record]:
        """All of it, in the order of the object. `key`: the head's, in clear.

        Raises DamagedError where a chunk does not open or the chunks are not those that its units should have.
        """
        yield RunRecord(row=head.row, units=head.units)
        chunks = findings = resolved = 0
        async for chunk in self._chunks(head, key):
            chunks, findings = chunks + 1, findings + chunk.findings
            yield chunk
        async for batch in self._resolved(head):
            resolved += batch.rows
            yield batch
        async for document in self._documents(head, key):
            yield document
        yield EndRecord(
            units=len(head.units), chunks=chunks, findings=findings, resolved=resolved, documents=head.documents
        )

    async def _chunks(self, head: RunHead, key: RunKey | None) -> AsyncIterator[ChunkRecord]:
        after, found, expected = ("", -1), 0, sum(unit.chunks for unit in head.units)
        while found < expected:
            place = {"unit": after[0], "index": after[1], "limit": _CHUNKS}
            rows = (await self.connection.execute(_BATCH, {**self._run(), **place})).all()
            if not rows:
                raise DamagedError("chunks of a run are missing")
            if key is None:
                raise DamagedError("the key of a run that has findings is missing")
            for row in rows:
                yield self._chunk(row, key)
            after, found = (rows[-1].unit, rows[-1].chunk_index), found + len(rows)

    def _chunk(self, row: Row[Any], key: RunKey) -> ChunkRecord:
        place = ChunkPlace(self.team_id, self.run_id, row.unit, row.chunk_index, row.final)
        return ChunkRecord(
            unit=row.unit,
            index=row.chunk_index,
            final=row.final,
            listed=row.listed,
            findings=row.findings,
            packed=unseal(key.data, row.sealed, place.context()),
            past=None if row.codes is None else compress(msgspec.msgpack.encode(_past(row))),
        )

    async def _documents(self, head: RunHead, key: RunKey | None) -> AsyncIterator[DocumentRecord]:
        name, part = "", -1
        for _ in range(head.documents):
            place = {"name": name, "part": part}
            row = (await self.connection.execute(_DOCUMENT, {**self._run(), **place})).one()
            if key is None:
                raise DamagedError("the key of a run that has documents is missing")
            name, part = row.name, row.part
            content = packed_document(DocumentPlace(self.team_id, self.run_id, name, part, row.first), row.sealed, key)
            yield DocumentRecord(row=row.row, content=content)

    async def _resolved(self, head: RunHead) -> AsyncIterator[ResolvedRecord]:
        severity, rule, tag = -1, "", UUID(int=0)
        while head.resolved:
            place = {"severity": severity, "rule": rule, "tag": tag, "limit": _RESOLVED}
            rows = (await self.connection.execute(_RESOLVED_ROWS, {**self._run(), **place})).all()
            if rows:
                packed = compress(f"[{','.join([row.row for row in rows])}]".encode())
                yield ResolvedRecord(rows=len(rows), packed=packed)
            if len(rows) < _RESOLVED:
                return
            severity, rule, tag = rows[-1].severity_order, rows[-1].rule_id, rows[-1].tag

    def _run(self) -> dict[str, Any]:
        return {"team": self.team_id, "run": self.run_id}


def _past(row: Row[Any]) -> Past:
    first_of = row.first_of
    if first_of == "{}":  # a replica of before compared the run
        first_of = f"{{{','.join(['-1'] * row.findings)}}}"
    return Past(row.codes, first_of, row.failed)
