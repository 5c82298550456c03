"""Pages of findings: chosen in clear, then decrypted and held against what was in clear."""

import asyncio
from dataclasses import dataclass
from uuid import UUID

import msgspec

from coreo_results.chunks.columns import Columns, StoredFinding
from coreo_results.chunks.repository import SEVERITIES, ChunkRepository
from coreo_results.chunks.sealing import ChunkPlace, resource_hash, unseal_chunk
from coreo_results.findings.cursors import bad_cursor
from coreo_results.findings.filters import Filters, Position, read_cursor, write_cursor
from coreo_results.findings.repository import FindingRepository, RuleCounts, Span
from coreo_results.keys.seal import DamagedError
from coreo_results.keys.service import Keys, NoRunKeyError, RunKey
from coreo_results.ledger.repository import RunRepository
from coreo_results.life.changes import decode
from coreo_results.life.repository import LifeRepository, Past
from coreo_results.life.service import Life
from coreo_shared.contracts.life import Change
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.db import Database

Place = tuple[str, int, int]  # unit, chunk, position in it


class ListedView(StoredFinding, frozen=True, kw_only=True, omit_defaults=True):
    """A `contracts.life.ListedFinding` on its way out; what is not known is left out."""

    change: Change | None = None
    previous_status: FindingStatus | None = None
    first_seen: str | None = None
    first_run_id: UUID | None = None


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """A `contracts.results.FindingPage` on its way out."""

    findings: list[ListedView]
    total: int
    next_cursor: str | None


@dataclass(frozen=True)
class Paging:
    """Which page. `full`: with all that is known beside the findings."""

    cursor: str | None
    limit: int
    full: bool = False


@dataclass(frozen=True)
class _Piece:
    """The part of a span that is on the page."""

    span: Span
    first: int
    count: int

    def places(self) -> list[Place]:
        """Where its findings are."""
        span = self.span
        return [(span.unit, span.chunk_index, self.first + number) for number in range(self.count)]


class Findings:
    """The way of findings out of the database."""

    def __init__(self, database: Database, keys: Keys, life: Life) -> None:
        self._database = database
        self._keys = keys
        self._life = life

    async def page(self, team_id: UUID, run_id: UUID, filters: Filters, paging: Paging) -> Page:
        """The page after the cursor. Raises 404, 410 and 422 Problems, KeyUnavailableError, DamagedError."""
        cursor, limit = paging.cursor, paging.limit
        if filters.changes or paging.full:
            await self._life.ensure(team_id, run_id)
        try:
            key = await self._keys.run_key(team_id, run_id)
        except NoRunKeyError:
            async with self._database.transaction(team_id) as connection:
                await RunRepository(connection).check_readable(team_id, run_id)
            if cursor is not None:
                raise bad_cursor() from None
            return Page(findings=[], total=0, next_cursor=None)
        after = None if cursor is None else read_cursor(cursor, run_id, filters, key.cursors)
        hashed = None if filters.resource is None else resource_hash(filters.resource, key.resources)
        async with self._database.transaction(team_id) as connection:
            await RunRepository(connection).check_readable(team_id, run_id)  # the key may be a remembered one
            repository = FindingRepository(connection, team_id, run_id)
            total = await repository.total(filters, hashed)
            spans = await repository.spans(filters, hashed, after, limit + 1)
            pieces, more = _cut(spans, after, limit)
            wanted = {(piece.span.unit, piece.span.chunk_index) for piece in pieces}
            sealed = await ChunkRepository(connection).load(team_id, run_id, wanted)
            past: dict[Place, Past] = {}
            if paging.full:
                places = [place for piece in pieces for place in piece.places()]
                past = await LifeRepository(connection, team_id).past(run_id, places)
        findings = await asyncio.to_thread(_read, pieces, sealed, key, past)
        next_cursor = write_cursor(_end_of(pieces[-1]), run_id, filters, key.cursors) if more else None
        return Page(findings=findings, total=total, next_cursor=next_cursor)

    async def rules(self, team_id: UUID, run_id: UUID) -> list[RuleCounts]:
        """Counts by rule and status. Raises 404 and 410 Problems."""
        async with self._database.transaction(team_id) as connection:
            await RunRepository(connection).check_readable(team_id, run_id)
            return await FindingRepository(connection, team_id, run_id).rules()


def _cut(spans: list[Span], after: Position | None, limit: int) -> tuple[list[_Piece], bool]:
    """The first `limit` findings of the spans that come after the position, and whether more follow."""
    pieces: list[_Piece] = []
    left = limit
    for span in spans:
        first = span.first
        if after is not None and _starts_before(span, after):
            first = after.position + 1
        available = span.first + span.count - first
        if left < available or left == 0:
            if left:
                pieces.append(_Piece(span, first, left))
            return pieces, True
        pieces.append(_Piece(span, first, available))
        left -= available
    return pieces, False


def _starts_before(span: Span, after: Position) -> bool:
    place = (span.severity_order, span.rule_id, span.unit, span.chunk_index)
    return (
        place == (after.severity_order, after.rule_id, after.unit, after.chunk_index) and span.first <= after.position
    )


def _end_of(piece: _Piece) -> Position:
    span = piece.span
    return Position(span.severity_order, span.rule_id, span.unit, span.chunk_index, piece.first + piece.count - 1)


def _read(
    pieces: list[_Piece], sealed: dict[ChunkPlace, bytes], key: RunKey, past: dict[Place, Past]
) -> list[ListedView]:
    opened = {(place.unit, place.index): unseal_chunk(place, data, key) for place, data in sealed.items()}
    findings: list[ListedView] = []
    for piece in pieces:
        columns = opened.get((piece.span.unit, piece.span.chunk_index))
        if columns is None:
            raise DamagedError("a chunk that has groups is missing")
        _check_clear_part(piece.span, columns)
        findings += [_listed(columns.finding_at(place[2]), past.get(place)) for place in piece.places()]
    return findings


def _listed(finding: StoredFinding, past: Past | None) -> ListedView:
    shown = {name: getattr(finding, name) for name in StoredFinding.__struct_fields__}
    if past is not None:
        if past.code is not None:
            shown["change"], shown["previous_status"] = decode(past.code)
        shown["first_seen"], shown["first_run_id"] = past.first_seen, past.first_run
    return ListedView(**shown)


def _check_clear_part(span: Span, columns: Columns) -> None:
    """What stands in clear chose the finding, so it must agree with what was encrypted."""
    if span.first + span.count > len(columns.resource_ids):
        raise DamagedError("a group reaches beyond its chunk")
    group = columns.group_at(span.first)
    agrees = (group.rule_id, group.status, group.severity, group.region) == (
        span.rule_id,
        span.status,
        SEVERITIES[span.severity_order],
        span.region,
    )
    if not agrees or span.first + span.count > group.first + group.count:
        raise DamagedError("a group in clear differs from the encrypted one")
