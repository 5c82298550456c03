"""Compares runs that have ended, and answers what became of findings."""

import asyncio
from collections import OrderedDict
from uuid import UUID

import msgspec

from coreo_results.chunks.columns import Columns
from coreo_results.chunks.repository import ChunkRepository
from coreo_results.chunks.sealing import ChunkPlace, unseal_chunk
from coreo_results.findings.cursors import bad_cursor, sign, verify
from coreo_results.keys.errors import NoRunKeyError
from coreo_results.keys.seal import DamagedError, bind
from coreo_results.keys.service import Keys, RunKey
from coreo_results.ledger.repository import RunRepository
from coreo_results.life.repository import LifeRepository, Resolved
from coreo_shared.contracts.life import RunChanges
from coreo_shared.contracts.terms import FindingStatus, Severity
from coreo_shared.db import Database
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)
_REMEMBERED = 10_000  # runs


class ResolvedView(msgspec.Struct, frozen=True, kw_only=True):
    """A `contracts.life.ResolvedFinding` on its way out: the same JSON, the evidence never parsed."""

    fingerprint: str
    rule_id: str
    status: FindingStatus
    severity: Severity
    resource_type: str
    resource_id: str
    resource_arn: str | None
    region: str
    message: str
    evidence: msgspec.Raw
    reason: str | None
    missing_actions: list[str]
    gone: bool
    first_seen: str
    first_run_id: UUID
    failed_run_id: UUID


class ResolvedPageView(msgspec.Struct, frozen=True, kw_only=True):
    """A `contracts.life.ResolvedPage` on its way out."""

    findings: list[ResolvedView]
    total: int
    next_cursor: str | None


_Place = tuple[str, int]
_Cursor = tuple[int, str, UUID]


class Life:
    """The life of findings, on the request path and for the background."""

    def __init__(self, database: Database, keys: Keys) -> None:
        self._database = database
        self._keys = keys
        self._settled: OrderedDict[tuple[UUID, UUID], None] = OrderedDict()  # that need not be asked for again

    async def ensure(self, team_id: UUID, run_id: UUID) -> None:
        """Compares the run if it has ended and nobody has done so yet, after those of its plan that ended before it.

        Doing it again does no harm, and two who do it at once do it once.
        """
        while (team_id, run_id) not in self._settled and await self._step(team_id, run_id):
            pass

    async def _step(self, team_id: UUID, run_id: UUID) -> bool:
        async with self._database.transaction(team_id) as connection:
            life = LifeRepository(connection, team_id)
            run = await life.next_due(run_id)
            if run is None:
                if await life.is_settled(run_id):
                    self._settled[team_id, run_id] = None
                    if len(self._settled) > _REMEMBERED:
                        self._settled.popitem(last=False)
                return False
            counts = await life.compare(run)
        _log.info("run_compared", team_id=str(team_id), run_id=str(run.run_id), **msgspec.structs.asdict(counts))
        return run.run_id != run_id

    async def changes(self, team_id: UUID, run_id: UUID) -> RunChanges:
        """How the run compares. Raises 404 and 410 Problems."""
        await self.ensure(team_id, run_id)
        async with self._database.transaction(team_id, snapshot=True) as connection:
            await RunRepository(connection).check_readable(team_id, run_id)
            found = await LifeRepository(connection, team_id).comparison(run_id)
        return RunChanges(run_id=run_id, previous_run_id=found.previous_run_id, counts=found.counts)

    async def resolved(self, team_id: UUID, run_id: UUID, cursor: str | None, limit: int) -> ResolvedPageView:
        """The findings that the run resolved. Raises 404, 410 and 422 Problems, KeyUnavailableError, DamagedError.

        Those whose run's results are gone since are counted but cannot be shown.
        """
        await self.ensure(team_id, run_id)
        try:
            key = await self._keys.run_key(team_id, run_id)
        except NoRunKeyError:
            async with self._database.transaction(team_id) as connection:
                await RunRepository(connection).check_readable(team_id, run_id)
            if cursor is not None:
                raise bad_cursor() from None
            return ResolvedPageView(findings=[], total=0, next_cursor=None)
        question = bind("resolved", run_id)
        after = None if cursor is None else msgspec.msgpack.decode(verify(cursor, question, key.cursors), type=_Cursor)
        async with self._database.transaction(team_id, snapshot=True) as connection:
            await RunRepository(connection).check_readable(team_id, run_id)
            life = LifeRepository(connection, team_id)
            total = await life.resolved_total(run_id)
            rows = await life.resolved(run_id, after, limit + 1)
        shown = rows[:limit]
        next_cursor = None
        if len(rows) > limit:
            last = shown[-1]
            payload = msgspec.msgpack.encode((last.severity_order, last.rule_id, last.tag))
            next_cursor = sign(payload, question, key.cursors)
        return ResolvedPageView(findings=await self._read(team_id, shown), total=total, next_cursor=next_cursor)

    async def _read(self, team_id: UUID, rows: list[Resolved]) -> list[ResolvedView]:
        opened: dict[UUID, dict[_Place, Columns]] = {}
        for failed_run in {row.failed_run for row in rows}:
            places = {(row.failed_unit, row.failed_chunk) for row in rows if row.failed_run == failed_run}
            columns = await self._open(team_id, failed_run, places)
            if columns is not None:
                opened[failed_run] = columns
        return [_view(row, opened[row.failed_run]) for row in rows if row.failed_run in opened]

    async def _open(self, team_id: UUID, run_id: UUID, places: set[_Place]) -> dict[_Place, Columns] | None:
        async def opened(key: RunKey) -> dict[_Place, Columns] | None:
            async with self._database.transaction(team_id, snapshot=True) as connection:
                if not await RunRepository(connection).is_readable(team_id, run_id):  # the key was a remembered one
                    return None
                sealed = await ChunkRepository(connection).load(team_id, run_id, places)
                await self._keys.confirm(connection, team_id, run_id, key)
            return await asyncio.to_thread(_unsealed, sealed, key)

        try:
            return await self._keys.with_run_key(team_id, run_id, opened)
        except NoRunKeyError:
            return None


def _unsealed(sealed: dict[ChunkPlace, bytes], key: RunKey) -> dict[_Place, Columns]:
    return {(place.unit, place.index): unseal_chunk(place, data, key) for place, data in sealed.items()}


def _view(row: Resolved, chunks: dict[_Place, Columns]) -> ResolvedView:
    columns = chunks.get((row.failed_unit, row.failed_chunk))
    if columns is None or row.failed_position >= len(columns.resource_ids):
        raise DamagedError("the place where a finding failed is not there")
    finding = columns.finding_at(row.failed_position)
    if (finding.rule_id, finding.status) != (row.rule_id, FindingStatus.FAIL):
        raise DamagedError("the place where a finding failed holds another")
    return ResolvedView(
        fingerprint=finding.fingerprint,
        rule_id=finding.rule_id,
        status=finding.status,
        severity=finding.severity,
        resource_type=finding.resource_type,
        resource_id=finding.resource_id,
        resource_arn=finding.resource_arn,
        region=finding.region,
        message=finding.message,
        evidence=finding.evidence,
        reason=finding.reason,
        missing_actions=finding.missing_actions,
        gone=row.gone,
        first_seen=row.first_seen,
        first_run_id=row.first_run,
        failed_run_id=row.failed_run,
    )
