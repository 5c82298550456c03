"""Gives a run that is kept for display another data key: old copies of its key open nothing of what is there now."""

import asyncio
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.chunks.repository import ChunkRepository
from coreo_results.chunks.sealing import ChunkPlace, ResealedChunk, reseal_chunk
from coreo_results.documents.repository import DocumentRepository
from coreo_results.documents.sealing import reseal_document
from coreo_results.keys.errors import NoRunKeyError
from coreo_results.keys.repository import KeyRepository
from coreo_results.keys.service import Keys, RunKey
from coreo_results.keys.wrapping import TeamKey
from coreo_results.ledger.repository import RunRepository
from coreo_shared.db import Database
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)
_BATCH = 8  # chunks in memory at once


class Rekeying:
    """Runs' display copies under new keys."""

    def __init__(self, database: Database, keys: Keys) -> None:
        self._database = database
        self._keys = keys

    async def run(self, team_id: UUID, run_id: UUID) -> int | None:
        """Seals chunks and documents of the run under a fresh data key, in one transaction; gives its new generation.

        None where the run has no key: it was never claimed, or its results were deleted. Who reads or stores meanwhile
        goes on with the new key. Raises KeyUnavailableError, and DamagedError, with nothing changed, where a chunk does
        not open: such a display copy can only be deleted.
        """

        async def with_old(old: RunKey) -> int:
            return await self._keys.with_team_key(team_id, lambda team: self._rekey(team_id, run_id, old, team))

        try:
            generation = await self._keys.with_run_key(team_id, run_id, with_old)
        except NoRunKeyError:
            return None
        self._keys.forget_run(team_id, run_id)
        _log.info("run_rekeyed", team_id=str(team_id), run_id=str(run_id), generation=generation)
        return generation

    async def _rekey(self, team_id: UUID, run_id: UUID, old: RunKey, team: TeamKey) -> int:
        new, wrapped = self._keys.next_run_key(team_id, run_id, team, old)
        async with self._database.transaction(team_id) as connection:
            await RunRepository(connection).lock(team_id, run_id)  # so that no chunk comes meanwhile
            await self._keys.confirm(connection, team_id, run_id, old)
            chunks = ChunkRepository(connection)
            after = ("", -1)
            while batch := await chunks.batch(team_id, run_id, after, _BATCH):
                resealed = await asyncio.to_thread(_reseal, batch, old, new)
                await chunks.replace(resealed)
                after = (resealed[-1].place.unit, resealed[-1].place.index)
            await self._rekey_documents(connection, team_id, run_id, old, new)
            await KeyRepository(connection).replace_run_key(team_id, run_id, wrapped)
        return new.generation

    async def _rekey_documents(
        self, connection: AsyncConnection, team_id: UUID, run_id: UUID, old: RunKey, new: RunKey
    ) -> None:
        documents = DocumentRepository(connection)
        after = ("", -1)
        while batch := await documents.batch(team_id, run_id, after, 1):
            for document in batch:
                await documents.put(await asyncio.to_thread(reseal_document, document, old, new))
                after = (document.place.name, document.place.part)


def _reseal(batch: dict[ChunkPlace, bytes], old: RunKey, new: RunKey) -> list[ResealedChunk]:
    return [reseal_chunk(place, sealed, old, new) for place, sealed in batch.items()]
