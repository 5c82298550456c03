"""Writes snapshots of a team's key ledger, and deletes those that nobody should read any more."""

import hashlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from coreo_results.backups.heads import HeadRepository
from coreo_results.backups.ledger import (
    LedgerError,
    kept,
    number_of,
    page_object,
    read_snapshot,
    snapshot_numbers,
    snapshot_object,
    team_folder,
)
from coreo_results.backups.ledger_repository import LedgerRepository, PageState
from coreo_results.backups.log import written
from coreo_results.keys.seal import DamagedError
from coreo_results.stores import ObjectStore
from coreo_shared.contracts.backups import LEDGER_SNAPSHOT_TYPE, LEDGER_VERSION, LedgerPage, LedgerSnapshot
from coreo_shared.crypto.jose import Signer
from coreo_shared.crypto.statements import Statements
from coreo_shared.db import Database
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)
_KEEP = 3
_KEEP_DAYS = 7
# A page that has not changed is written anew after so long, as the bucket's lifecycle deletes what is 8 days old.
_REFRESH = timedelta(days=2)


@dataclass(frozen=True)
class Custodian:
    """Who signs, and whose signatures are believed. `by`: this host, for people to read."""

    signer: Signer
    statements: Statements
    by: str


class Snapshots:
    """Snapshots in the ledger store. All calls need the team's lock (`heads.team_lock`)."""

    def __init__(self, database: Database, store: ObjectStore, custodian: Custodian) -> None:
        self._database = database
        self._store = store
        self._custodian = custodian

    async def write(self, team_id: UUID, log_seq: int, log_entry: str | None) -> int:
        """A snapshot that goes with this entry of the log, the one that is about to be stored; its number."""
        started = time.perf_counter()
        known = await self._known_pages(team_id)
        async with self._database.transaction(team_id) as connection:
            number = await HeadRepository(connection, team_id).next_snapshot(log_seq)
            ledger = LedgerRepository(connection, team_id)
            pages = [await self._page(ledger, number, state, known.get(state.page)) for state in await ledger.pages()]
            # After the pages, so that versions on them are among these.
            versions, secrets, settings = await ledger.key_versions(), await ledger.secrets(), await ledger.settings()
        for page, content in pages:
            if content is not None:
                await self._store.put(page.object, content)
        snapshot = LedgerSnapshot(
            version=LEDGER_VERSION,
            team_id=team_id,
            number=number,
            at=written(datetime.now(UTC)),
            by=self._custodian.by,
            log_seq=log_seq,
            log_entry=log_entry,
            keys=sum(page.keys for page, _ in pages),
            pages=[page for page, _ in pages],
            key_versions=versions,
            secrets=secrets,
            settings=settings,
        )
        signed = self._custodian.signer.sign(snapshot, typ=LEDGER_SNAPSHOT_TYPE)
        await self._store.put(snapshot_object(team_id, number), signed.encode())
        took = round(time.perf_counter() - started, 3)
        _log.info("ledger_snapshot_stored", team_id=str(team_id), number=number, keys=snapshot.keys, seconds=took)
        return number

    async def tidy(self, team_id: UUID) -> None:
        """Deletes all but the newest few."""
        numbers = await snapshot_numbers(self._store, team_id)
        readable = []
        for number in numbers[-_KEEP:]:
            try:
                readable.append(await read_snapshot(self._store, team_id, number, self._custodian.statements))
            except LedgerError as error:  # it helps nobody, and goes once there are enough newer ones
                _log.error("ledger_snapshot_damaged", problem=str(error), security_event="ledger_snapshot_damaged")
        oldest = datetime.now(UTC) - timedelta(days=_KEEP_DAYS)
        await self._keep(team_id, kept(readable, _KEEP, oldest))

    async def replace_all(self, team_id: UUID, log_seq: int, log_entry: str | None, *, without: list[int]) -> int:
        """A snapshot without keys under these versions of the team's key; all others are deleted. Its number.

        Raises DamagedError, and nothing is deleted, where keys are still under them.
        """
        async with self._database.transaction(team_id) as connection:
            if await LedgerRepository(connection, team_id).keys_under(without):
                raise DamagedError("the key ledger still has keys under a version that is to be destroyed")
        number = await self.write(team_id, log_seq, log_entry)
        await self._keep(team_id, [await read_snapshot(self._store, team_id, number, self._custodian.statements)])
        return number

    async def _keep(self, team_id: UUID, snapshots: list[LedgerSnapshot]) -> None:
        if not snapshots:
            return
        wanted = {snapshot_object(team_id, each.number) for each in snapshots}
        wanted |= {page.object for each in snapshots for page in each.pages}
        newest = max(each.number for each in snapshots)
        doomed = [entry.key async for entry in self._store.list(team_folder(team_id)) if entry.key not in wanted]
        for key in doomed:
            if number_of(key) <= newest:  # a later one is that of who took our place
                await self._store.delete(key)

    async def _known_pages(self, team_id: UUID) -> dict[int, LedgerPage]:
        """Pages of the newest snapshot, which this one may share."""
        numbers = await snapshot_numbers(self._store, team_id)
        if not numbers:
            return {}
        try:
            newest = await read_snapshot(self._store, team_id, numbers[-1], self._custodian.statements)
        except LedgerError as error:  # then all pages are written anew
            _log.error("ledger_snapshot_damaged", problem=str(error), security_event="ledger_snapshot_damaged")
            return {}
        fresh = datetime.now(UTC) - _REFRESH
        there = {entry.key async for entry in self._store.list(f"{team_folder(team_id)}pages/")}
        return {
            page.page: page
            for page in newest.pages
            if page.object in there and datetime.fromisoformat(page.stored_at) > fresh
        }

    async def _page(
        self, ledger: LedgerRepository, number: int, state: PageState, known: LedgerPage | None
    ) -> tuple[LedgerPage, bytes | None]:
        """A page, and its content if that is to be stored."""
        if known is not None and known.sha256 == state.sha256:
            return known, None
        content, keys = await ledger.page(state.page)
        page = LedgerPage(
            page=state.page,
            object=page_object(ledger.team_id, number, state.page),
            sha256=hashlib.sha256(content).hexdigest(),
            keys=keys,
            stored_at=written(datetime.now(UTC)),
        )
        return page, content
