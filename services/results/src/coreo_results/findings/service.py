"""Findings of a run as their team sees them: chosen in clear, decrypted only where a page touches a chunk."""

import asyncio
from dataclasses import dataclass
from uuid import UUID

import msgspec

from coreo_results.chunks.repository import ChunkRepository
from coreo_results.chunks.sealing import ChunkPlace, resource_hash
from coreo_results.findings.cursors import bad_cursor
from coreo_results.findings.filters import Filters, Position, read_cursor, write_cursor
from coreo_results.findings.pages import Beside, ListedView, Piece, cut, end_of, read
from coreo_results.findings.repository import FindingRepository, RuleCounts
from coreo_results.keys.errors import NoRunKeyError
from coreo_results.keys.seal import DamagedError
from coreo_results.keys.service import Keys, RunKey
from coreo_results.ledger.repository import RunRepository
from coreo_results.life.repository import LifeRepository
from coreo_results.life.service import Life
from coreo_results.suppressions.lens import Lens, Lenses
from coreo_shared.contracts.results import Counts
from coreo_shared.contracts.terms import FindingStatus, Severity
from coreo_shared.db import Database


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
class _Question:
    """What is asked of a run. `hashed`: the resource of the filters."""

    filters: Filters
    hashed: int | None
    after: Position | None
    limit: int
    full: bool


@dataclass(frozen=True)
class _Chosen:
    """What a page is made of, as one snapshot of the database had it."""

    pieces: list[Piece]
    sealed: dict[ChunkPlace, bytes]
    beside: Beside | None
    total: int
    more: bool


class Findings:
    """The way of findings out of the database."""

    def __init__(self, database: Database, keys: Keys, life: Life, lenses: Lenses) -> None:
        self._database = database
        self._keys = keys
        self._life = life
        self._lenses = lenses

    async def page(self, team_id: UUID, run_id: UUID, filters: Filters, paging: Paging) -> Page:
        """The page after the cursor. Raises 404, 410 and 422 Problems, KeyUnavailableError, DamagedError."""
        cursor = paging.cursor
        if filters.changes or paging.full:
            await self._life.ensure(team_id, run_id)
        try:
            return await self._keys.with_run_key(
                team_id, run_id, lambda key: self._page(team_id, run_id, filters, paging, key)
            )
        except NoRunKeyError:
            await self._check_readable(team_id, run_id)
            if cursor is not None:
                raise bad_cursor() from None
            return Page(findings=[], total=0, next_cursor=None)

    async def _page(self, team_id: UUID, run_id: UUID, filters: Filters, paging: Paging, key: RunKey) -> Page:
        cursor, limit = paging.cursor, paging.limit
        after = None if cursor is None else read_cursor(cursor, run_id, filters, key.cursors)
        hashed = None if filters.resource is None else resource_hash(filters.resource, key.resources)
        question = _Question(filters, hashed, after, limit, paging.full)
        lens: Lens | None = None
        while (chosen := await self._choose(team_id, run_id, question, key, lens)) is None:
            lens = await self._lenses.of(team_id, run_id)
        findings = await asyncio.to_thread(read, chosen.pieces, chosen.sealed, key, chosen.beside)
        next_cursor = None
        if chosen.more:
            next_cursor = write_cursor(end_of(chosen.pieces[-1]), run_id, filters, key.cursors)
        return Page(findings=findings, total=chosen.total, next_cursor=next_cursor)

    async def _choose(
        self, team_id: UUID, run_id: UUID, question: _Question, key: RunKey, lens: Lens | None
    ) -> _Chosen | None:
        """What is of the page; None where it takes another lens than the one that is made on the way.

        The key may be a remembered one, and the run's results may go at any time: they are there, whole, or gone.
        """
        filters, limit = question.filters, question.limit
        async with self._database.transaction(team_id, snapshot=True) as connection:
            await RunRepository(connection).check_readable(team_id, run_id)
            lens = lens or await self._lenses.plain(connection, team_id, run_id)
            if lens is None:
                return None
            repository = FindingRepository(connection, team_id, run_id, lens)
            if question.after is None:
                await repository.check_totals()
            total = await repository.total(filters, question.hashed)
            spans = await repository.spans(filters, question.hashed, question.after, limit + 1)
            if question.after is None and sum(span.count for span in spans) < min(limit + 1, total):
                raise DamagedError("a run has fewer findings than its totals say")
            pieces, more = cut(spans, question.after, limit)
            wanted = {(piece.span.unit, piece.span.chunk_index) for piece in pieces}
            sealed = await ChunkRepository(connection).load(team_id, run_id, wanted)
            beside = None
            if question.full:
                places = [place for piece in pieces for place in piece.places()]
                beside = Beside(await LifeRepository(connection, team_id).past(run_id, places), lens.reasons)
            await self._keys.confirm(connection, team_id, run_id, key)
        return _Chosen(pieces, sealed, beside, total, more)

    async def rules(self, team_id: UUID, run_id: UUID) -> list[RuleCounts]:
        """Counts by rule and status. Raises 404 and 410 Problems, KeyUnavailableError, DamagedError."""
        await self._check_readable(team_id, run_id)
        lens = await self._lenses.of(team_id, run_id)
        async with self._database.transaction(team_id, snapshot=True) as connection:
            await RunRepository(connection).check_readable(team_id, run_id)
            repository = FindingRepository(connection, team_id, run_id, lens)
            await repository.check_totals()
            return await repository.rules()

    async def counts(self, team_id: UUID, run_id: UUID) -> Counts:
        """The sum of all rules. Raises as `rules`."""
        by_status: dict[FindingStatus, int] = {}
        failed: dict[Severity, int] = {}
        for rule in await self.rules(team_id, run_id):
            for status, count in rule.by_status.items():
                by_status[FindingStatus(status)] = by_status.get(FindingStatus(status), 0) + count
            if count := rule.by_status.get(FindingStatus.FAIL, 0):
                failed[rule.severity] = failed.get(rule.severity, 0) + count
        return Counts(by_status=by_status, failed_by_severity=failed)

    async def _check_readable(self, team_id: UUID, run_id: UUID) -> None:
        async with self._database.transaction(team_id) as connection:
            await RunRepository(connection).check_readable(team_id, run_id)
