"""Looks through everything that is stored, and goes on where something is wrong."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import UUID

import msgspec

from coreo_results.decisions.sealing import Opener, SealedText
from coreo_results.documents.repository import DocumentRepository
from coreo_results.documents.sealing import EVENTS, DocumentPlace, SealedDocument, unseal_document
from coreo_results.integrity.chunk import StoredChunk, find_fault
from coreo_results.integrity.repository import DECISIONS, IntegrityRepository, SealedThing, all_teams
from coreo_results.keys.errors import KeyDestroyedError, KeyUnavailableError, NoRunKeyError
from coreo_results.keys.seal import DamagedError
from coreo_results.keys.service import Keys, RunKey
from coreo_shared.db import Database

_CHUNKS, _ROWS = 8, 500  # in memory at once
_NONE = UUID(int=0)


class Fault(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that is wrong, or that could not be looked at (`unchecked`). It says nothing of any finding."""

    team_id: UUID
    what: str
    run_id: UUID | None = None
    unit: str | None = None
    chunk: int | None = None
    unchecked: bool = False


@dataclass
class Checked:
    """How much was looked at."""

    teams: int = 0
    runs: int = 0
    chunks: int = 0
    findings: int = 0
    texts: int = 0  # of decisions
    documents: int = 0  # of deploys


@dataclass(frozen=True)
class _Batch:
    """Chunks of a run and what is wrong with each; with its last ones the units that lack some, and its totals."""

    stored: list[StoredChunk]
    faults: list[str | None]
    incomplete: list[str]
    has_other_totals: bool
    after: tuple[str, int] | None  # where the next batch begins


class Integrity:
    """The walk. It changes nothing, and may go on while the service does."""

    def __init__(self, database: Database, system_database: Database, keys: Keys) -> None:
        self._database = database
        self._system_database = system_database
        self._keys = keys
        self.checked = Checked()

    async def faults(self, team_id: UUID | None = None) -> AsyncIterator[Fault]:
        """Each fault of the team, or of all, as it is found."""
        if team_id is None:
            async with self._system_database.transaction() as connection:
                teams = await all_teams(connection)
        else:
            teams = [team_id]
        for team in teams:
            self.checked.teams += 1
            async for fault in self._in_team(team):
                yield fault

    async def _in_team(self, team_id: UUID) -> AsyncIterator[Fault]:
        async for fault in self._in_secrets(team_id):
            yield fault
        for table in DECISIONS:
            async for fault in self._in_decisions(team_id, table):
                yield fault
        after = _NONE
        while True:
            async with self._database.transaction(team_id) as connection:
                runs = await IntegrityRepository(connection, team_id).runs(after, _ROWS)
            if not runs:
                return
            after = runs[-1][0]
            for run_id, has_key, has_chunks, has_documents, is_deploy in runs:
                if (has_chunks or has_documents) and not has_key:
                    what = "findings" if has_chunks else "documents"
                    yield Fault(team_id=team_id, run_id=run_id, what=f"has {what}, and no key")
                elif has_key:
                    self.checked.runs += 1
                    async for fault in self._in_run(team_id, run_id):
                        yield fault
                    if is_deploy:
                        async for fault in self._in_documents(team_id, run_id):
                            yield fault

    async def _in_secrets(self, team_id: UUID) -> AsyncIterator[Fault]:
        async with self._database.transaction(team_id) as connection:
            names = await IntegrityRepository(connection, team_id).secrets()
        for name in names:
            try:
                await self._keys.team_secret(team_id, name)
            except KeyUnavailableError as error:
                yield _unchecked(error, team_id)
                return
            except (DamagedError, KeyDestroyedError):
                yield Fault(team_id=team_id, what=f"the team's secret {name} does not open")

    async def _in_decisions(self, team_id: UUID, table: str) -> AsyncIterator[Fault]:
        after = _NONE
        while True:
            async with self._database.transaction(team_id) as connection:
                rows = await IntegrityRepository(connection, team_id).decisions(table, after, _ROWS)
            if not rows:
                return
            after = rows[-1].id
            try:
                opener = await Opener.for_versions(self._keys, team_id, {row.key_version for row in rows})
            except KeyUnavailableError as error:
                yield _unchecked(error, team_id)
                return
            except DamagedError:
                yield Fault(team_id=team_id, what=f"the key of {table} does not open")
                return
            self.checked.texts += len(rows)
            for row in rows:
                if not _opens(opener, team_id, row):
                    yield Fault(team_id=team_id, what=f"{row.id} of {table} does not decrypt")

    async def _in_run(self, team_id: UUID, run_id: UUID) -> AsyncIterator[Fault]:
        after: tuple[str, int] | None = ("", -1)
        while after is not None:
            try:
                batch = await self._batch(team_id, run_id, after)
            except NoRunKeyError:
                return  # deleted meanwhile
            except KeyUnavailableError as error:
                yield _unchecked(error, team_id, run_id)
                return
            except DamagedError:
                yield Fault(team_id=team_id, run_id=run_id, what="the run's key does not open")
                return
            self.checked.chunks += len(batch.stored)
            self.checked.findings += sum(chunk.findings for chunk in batch.stored)
            for chunk, fault in zip(batch.stored, batch.faults, strict=True):
                if fault is not None:
                    place = chunk.place
                    yield Fault(team_id=team_id, run_id=run_id, unit=place.unit, chunk=place.index, what=fault)
            for unit in batch.incomplete:
                yield Fault(team_id=team_id, run_id=run_id, unit=unit, what="chunks of the unit are missing")
            if batch.has_other_totals:
                yield Fault(team_id=team_id, run_id=run_id, what="the run's totals are not those of its findings")
            after = batch.after

    async def _in_documents(self, team_id: UUID, run_id: UUID) -> AsyncIterator[Fault]:
        after, missing = ("", -1), set[str]()

        async def look(key: RunKey) -> list[tuple[DocumentPlace, bool]]:
            nonlocal missing
            async with self._database.transaction(team_id) as connection:
                stored = await DocumentRepository(connection).batch(team_id, run_id, after, _CHUNKS)
                missing = set(await IntegrityRepository(connection, team_id).missing_documents(run_id))
                await self._keys.confirm(connection, team_id, run_id, key)
            return await asyncio.to_thread(_opened, stored, key)

        while True:
            try:
                looked_at = await self._keys.with_run_key(team_id, run_id, look)
            except NoRunKeyError:
                return  # deleted meanwhile
            except KeyUnavailableError as error:
                yield _unchecked(error, team_id, run_id)
                return
            except DamagedError:  # its key, as was said before
                return
            if not looked_at:
                for name in sorted(missing):
                    yield Fault(team_id=team_id, run_id=run_id, what=f"document {name} is missing, or parts of it are")
                return
            self.checked.documents += len(looked_at)
            for place, is_whole in looked_at:
                after = (place.name, place.part)
                if not is_whole:
                    yield Fault(
                        team_id=team_id,
                        run_id=run_id,
                        what=f"part {place.part} of document {place.name} does not decrypt",
                    )

    async def _batch(self, team_id: UUID, run_id: UUID, after: tuple[str, int]) -> _Batch:
        async def look(key: RunKey) -> _Batch:
            async with self._database.transaction(team_id) as connection:
                repository = IntegrityRepository(connection, team_id)
                stored = await repository.chunks(run_id, after, _CHUNKS)
                is_last = len(stored) < _CHUNKS
                incomplete = await repository.incomplete_units(run_id) if is_last else []
                has_other_totals = is_last and await repository.has_other_totals(run_id)
                await self._keys.confirm(connection, team_id, run_id, key)
            end = None if is_last else (stored[-1].place.unit, stored[-1].place.index)
            return _Batch(stored, await asyncio.to_thread(_find_faults, stored, key), incomplete, has_other_totals, end)

        return await self._keys.with_run_key(team_id, run_id, look)


def _opened(stored: list[SealedDocument], key: RunKey) -> list[tuple[DocumentPlace, bool]]:
    return [(document.place, _is_whole(document, key)) for document in stored]


def _is_whole(document: SealedDocument, key: RunKey) -> bool:
    try:
        content = unseal_document(document.place, document.sealed, key)
    except DamagedError:
        return False
    is_list = document.place.name == EVENTS
    return not is_list or len(msgspec.json.decode(content, type=list[msgspec.Raw])) == document.items


def _find_faults(stored: list[StoredChunk], key: RunKey) -> list[str | None]:
    return [find_fault(chunk, key) for chunk in stored]


def _opens(opener: Opener, team_id: UUID, row: SealedThing) -> bool:
    try:
        opener.check(SealedText(row.key_version, row.sealed), DECISIONS[row.table][0], team_id, row.id)
    except DamagedError:
        return False
    return True


def _unchecked(error: KeyUnavailableError, team_id: UUID, run_id: UUID | None = None) -> Fault:
    return Fault(team_id=team_id, run_id=run_id, what=f"could not be looked at: {error.detail}", unchecked=True)
