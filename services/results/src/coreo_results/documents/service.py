"""Stores documents and stack events under the run's newest fence only, and gives them to their team."""

import asyncio
from collections.abc import Sequence
from uuid import UUID

import msgspec

from coreo_results.documents.repository import DocumentRepository
from coreo_results.documents.sealing import (
    CHECKPOINT,
    EVENTS,
    DocumentPlace,
    SealedDocument,
    seal_document,
    unseal_document,
)
from coreo_results.keys.seal import DamagedError
from coreo_results.keys.service import Keys, NoRunKeyError, RunKey
from coreo_results.ledger import deploys
from coreo_results.ledger.errors import StaleFenceError
from coreo_results.ledger.repository import RunRepository
from coreo_results.ledger.run import Run
from coreo_results.ledger.transitions import check_holder
from coreo_shared.contracts.deploys import Checkpoint, Document, Preview, PutDocument, PutEvents
from coreo_shared.db import Database
from coreo_shared.web import Problem
from coreo_shared.web.problems import invalid


class EventPageView(msgspec.Struct, frozen=True, kw_only=True):
    """A `contracts.deploys.StackEventPage` on its way out, its events never parsed."""

    events: list[msgspec.Raw]
    next: int
    total: int


class Documents:
    """The way of documents into the database and out of it."""

    def __init__(self, database: Database, keys: Keys) -> None:
        self._database = database
        self._keys = keys

    async def put(self, team_id: UUID, run_id: UUID, word: PutDocument) -> None:
        """Stores the document. Raises StaleFenceError, RunOverError, NotPossibleError, KeyUnavailableError."""
        key = await self.writing_key(team_id, run_id)
        name = _name(word.document)
        sealed = [await asyncio.to_thread(seal_document, DocumentPlace(team_id, run_id, name), word.document, key)]
        if word.checkpoint is not None:
            sealed.append(seal_checkpoint(team_id, run_id, word.checkpoint, key))
        preview_hash = word.document.hash if isinstance(word.document, Preview) else None
        async with self._database.transaction(team_id) as connection:
            runs, documents = RunRepository(connection), DocumentRepository(connection)
            run = await runs.lock_held(team_id, run_id)
            await runs.save(deploys.document_stored(run, word.fence, name, preview_hash))
            for each in sealed:
                await documents.put(each)

    async def put_events(self, team_id: UUID, run_id: UUID, word: PutEvents) -> None:
        """Stores the part with its checkpoint, unless it is there. Raises as `put`, and a 422 Problem for a gap."""
        key = await self.writing_key(team_id, run_id)
        async with self._database.transaction(team_id) as connection:
            runs, documents = RunRepository(connection), DocumentRepository(connection)
            run = await runs.lock_held(team_id, run_id)
            check_holder(run, word.fence)
            if not _is_next(run, word):
                return
            state, _ = deploys.deploy_of(run)
            place = DocumentPlace(team_id, run_id, EVENTS, word.part, state.documents.get(EVENTS, 0))
            part = await asyncio.to_thread(seal_document, place, word.events, key, items=len(word.events))
            await documents.put(part)
            await documents.put(seal_checkpoint(team_id, run_id, word.checkpoint, key))
            await runs.save(deploys.events_stored(run, word))

    async def document(self, team_id: UUID, run_id: UUID, name: str) -> bytes:
        """The document as JSON. Raises 404 and 410 Problems, KeyUnavailableError, DamagedError."""
        found = await self._read(DocumentPlace(team_id, run_id, name))
        if found is None:
            raise Problem(404, "no_document", "There is no such document of this run, or not yet.", title="Not found")
        return found

    async def checkpoint(self, team_id: UUID, run_id: UUID) -> Checkpoint | None:
        """What the run's last worker left for the next. Raises as `document`, but where there is none."""
        found = await self._read(DocumentPlace(team_id, run_id, CHECKPOINT))
        return None if found is None else msgspec.json.decode(found, type=Checkpoint)

    async def events(self, team_id: UUID, run_id: UUID, *, after: int, limit: int) -> EventPageView:
        """Up to `limit` stack events behind the first `after`. Raises as `document`."""
        key = await self._reading_key(team_id, run_id)
        async with self._database.transaction(team_id) as connection:
            await RunRepository(connection).check_readable(team_id, run_id)  # the key may be a remembered one
            documents = DocumentRepository(connection)
            total = await documents.event_total(team_id, run_id)
            parts = await documents.event_parts(team_id, run_id, after=after, before=after + limit)
        events: list[msgspec.Raw] = []
        if key is not None and parts:
            first = parts[0][0].first
            opened = await asyncio.to_thread(_open_parts, parts, key)
            events = opened[max(after - first, 0) :][:limit]
        return EventPageView(events=events, next=after + len(events), total=total)

    async def writing_key(self, team_id: UUID, run_id: UUID) -> RunKey:
        """The run's key for a worker that has claimed it. Raises StaleFenceError, KeyUnavailableError."""
        try:
            return await self._keys.run_key(team_id, run_id)
        except NoRunKeyError:
            raise StaleFenceError from None

    async def _reading_key(self, team_id: UUID, run_id: UUID) -> RunKey | None:
        try:
            return await self._keys.run_key(team_id, run_id)
        except NoRunKeyError:
            return None

    async def _read(self, place: DocumentPlace) -> bytes | None:
        key = await self._reading_key(place.team_id, place.run_id)
        async with self._database.transaction(place.team_id) as connection:
            await RunRepository(connection).check_readable(place.team_id, place.run_id)
            sealed = await DocumentRepository(connection).get(place)
        if sealed is None or key is None:
            return None
        return await asyncio.to_thread(unseal_document, place, sealed, key)


def seal_checkpoint(team_id: UUID, run_id: UUID, checkpoint: Checkpoint, key: RunKey) -> SealedDocument:
    """The checkpoint ready to be stored."""
    return seal_document(DocumentPlace(team_id, run_id, CHECKPOINT), checkpoint, key)


def _name(document: Document) -> str:
    return str(document.__struct_config__.tag)


def _is_next(run: Run, word: PutEvents) -> bool:
    state, _ = deploys.deploy_of(run)
    if word.part > state.parts:
        raise invalid("body.part", f"the next part has the number {state.parts}")
    return word.part == state.parts


def _open_parts(parts: Sequence[tuple[DocumentPlace, int, bytes]], key: RunKey) -> list[msgspec.Raw]:
    events: list[msgspec.Raw] = []
    for place, items, sealed in parts:
        opened = msgspec.json.decode(unseal_document(place, sealed, key), type=list[msgspec.Raw])
        if len(opened) != items or place.first != parts[0][0].first + len(events):
            raise DamagedError("stack events are missing")
        events += opened
    return events
