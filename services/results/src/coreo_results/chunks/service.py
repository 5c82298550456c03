"""Stores chunks: once each, under the run's newest fence only, encrypted before the database sees them."""

import asyncio
from uuid import UUID

from coreo_results.chunks.repository import ChunkRepository, UnitProgress
from coreo_results.chunks.sealing import ChunkPlace, SealedChunk, seal_chunk
from coreo_results.chunks.validation import no_json, parse_chunk
from coreo_results.keys.errors import NoRunKeyError
from coreo_results.keys.service import Keys, RunKey
from coreo_results.ledger import states
from coreo_results.ledger.errors import StaleFenceError
from coreo_results.ledger.repository import RunRepository
from coreo_shared.contracts.results import Counts, PutChunk
from coreo_shared.contracts.terms import FindingStatus, Severity
from coreo_shared.db import Database
from coreo_shared.web.problems import invalid


class Chunks:
    """The way of findings into the database."""

    def __init__(self, database: Database, keys: Keys) -> None:
        self._database = database
        self._keys = keys

    async def put(self, team_id: UUID, run_id: UUID, body: bytes) -> None:
        """Stores the chunk in `body` (MessagePack of PutChunk).

        Raises a 422 Problem, StaleFenceError, RunOverError, KeyUnavailableError.
        """
        try:
            await self._keys.with_run_key(team_id, run_id, lambda key: self._put(team_id, run_id, body, key))
        except NoRunKeyError:
            raise StaleFenceError from None

    async def _put(self, team_id: UUID, run_id: UUID, body: bytes, key: RunKey) -> None:
        # Milliseconds of work for a large chunk, much of it outside the interpreter lock: not on the event loop.
        chunk, sealed = await asyncio.to_thread(_prepare, team_id, run_id, body, key)
        async with self._database.transaction(team_id) as connection:
            runs, chunks = RunRepository(connection), ChunkRepository(connection)
            run = await runs.lock(team_id, run_id)
            if run is None:
                raise StaleFenceError
            await self._keys.confirm(connection, team_id, run_id, key)  # who keys a run anew locks it too
            after = states.progress(run, chunk.fence)
            progress = await chunks.add(sealed)
            _check_index(sealed.place, progress)
            if progress.inserted and _completes(sealed.place, progress):
                counts = _counts(sealed) if progress.stored == 0 else await _stored_counts(chunks, sealed.place)
                await chunks.mark_done(sealed.place, progress.stored + 1)
                after = states.unit_stored(after, counts)
            if after != run:
                await runs.save(after)


def _prepare(team_id: UUID, run_id: UUID, body: bytes, key: RunKey) -> tuple[PutChunk, SealedChunk]:
    chunk = parse_chunk(body)
    try:
        return chunk, seal_chunk(team_id, run_id, chunk, key)
    except (TypeError, RecursionError) as error:
        raise no_json(error) from None


def _check_index(place: ChunkPlace, progress: UnitProgress) -> None:
    """Refuses a chunk behind its unit's last one; raised inside the transaction, so nothing stays."""
    if progress.done_chunks is not None:
        wrong = place.index >= progress.done_chunks
    else:
        final_index, highest = progress.final_index, progress.highest
        behind = final_index is not None and place.index > final_index
        wrong = behind or (place.final and highest is not None and highest > place.index)
    if wrong:
        raise invalid("body.index", "the unit has chunks beyond its final one")


def _completes(place: ChunkPlace, before: UnitProgress) -> bool:
    final_index = place.index if place.final else before.final_index
    return final_index is not None and before.stored + 1 == final_index + 1


def _counts(chunk: SealedChunk) -> Counts:
    return _sum([(group.status, group.severity, group.count) for group in chunk.groups])


async def _stored_counts(chunks: ChunkRepository, place: ChunkPlace) -> Counts:
    return _sum(await chunks.counts(place))


def _sum(parts: list[tuple[FindingStatus, Severity, int]]) -> Counts:
    by_status: dict[FindingStatus, int] = {}
    failed: dict[Severity, int] = {}
    for status, severity, count in parts:
        by_status[status] = by_status.get(status, 0) + count
        if status is FindingStatus.FAIL:
            failed[severity] = failed.get(severity, 0) + count
    return Counts(by_status=by_status, failed_by_severity=failed)
