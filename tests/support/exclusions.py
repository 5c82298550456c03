"""Exclusions in tests: a service with backups, what an intruder finds there, and processes of it that die."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from coreo_results.backups.excluding import ExcludedBackups
from coreo_results.backups.journal import Decide
from coreo_results.backups.service import Backups, BackupStores
from coreo_results.backups.wiring import custodian_of
from coreo_results.chunks.rekey import Rekeying
from coreo_results.exclusions.worker import ExclusionWorker
from coreo_results.keys.file_root import FileRootKey
from coreo_results.keys.root import open_root_keys
from coreo_results.keys.service import Keys
from coreo_results.keys.turnover import Turnovers
from coreo_results.keys.vault import Vault
from coreo_results.life.service import Life
from coreo_results.retention.service import Retention
from coreo_results.services import Services
from coreo_results.settings import ResultsSettings
from coreo_results.stores import ObjectStore, open_store
from coreo_shared.contracts.base import decode_json
from coreo_shared.contracts.exclusions import RECEIPT_TYPE, Exclusion, Receipt, SignedReceipt
from coreo_shared.crypto.statements import Statements
from coreo_shared.db import Database
from tests.support.attacker import Attacker, Copies, copy_database, copy_store
from tests.support.backups import Installation
from tests.support.crashes import Crash, Crasher, CrashingDatabase, CrashingStore
from tests.support.postgres import ServiceDatabase
from tests.support.results import ResultsService, RunClient, make_chunk, make_finding


@dataclass(frozen=True)
class Custodians:
    """What a process of its own works with."""

    backups: Backups
    turnovers: Turnovers
    retention: Retention
    worker: ExclusionWorker


def custodians_on(
    database: Database,
    vault: Vault,
    backup_store: ObjectStore,
    ledger_store: ObjectStore,
    settings: ResultsSettings,
    **options: int,
) -> Custodians:
    """As `opening` and `app` put them together."""
    keys, custodian = Keys(database, vault), custodian_of(settings)
    stores, retention = BackupStores(backup_store, ledger_store), Retention(database)
    backups = Backups(database, keys, Life(database, keys), stores, custodian)
    turnovers = Turnovers(database, keys, vault, before_destroying=[backups.renew_ledger])
    excluded = ExcludedBackups(database, backups, stores, custodian)
    worker = ExclusionWorker(database, vault, turnovers, Rekeying(database, keys), retention, excluded, **options)
    return Custodians(backups, turnovers, retention, worker)


@dataclass
class Place:
    """A service with backups, and what an intruder finds there."""

    service: ResultsService
    installation: Installation
    database: ServiceDatabase

    @property
    def directory(self) -> Path:
        return self.installation.directory

    @property
    def services(self) -> Services:
        found: Services = self.service.app.state.services
        return found

    async def ended(self, team: UUID, number: int, **claims: Any) -> RunClient:
        run = self.service.run(team)
        run.token = self.service.tokens.run(team, run.run_id, **claims)
        fence = await run.claimed()
        await run.stored(make_chunk(fence, [make_finding(number)]))
        await run.say("finish", {"fence": fence, "outcome": "completed", "units_total": 1})
        return run

    async def back_up(self, team: UUID) -> None:
        backups = self.services.backups
        assert backups is not None
        cycle = await backups.cycle(team, wait=True)
        assert (cycle.is_done, cycle.failed) == (True, {})

    async def copies(self) -> Copies:
        copies = await copy_database(self.database.url("postgres"))
        copies.backups = copy_store(self.directory / "backups")
        copies.ledger = copy_store(self.directory / "ledger")
        copies.vault = copy_store(self.directory / "vault")
        return copies

    async def readable(self, before: Copies) -> set[tuple[str, UUID]]:
        root = FileRootKey.load(Path(self.installation.settings.root_key.removeprefix("file:")))
        return await Attacker(root, await self.copies(), before).readable()

    async def exclude(self, team: UUID, scope: str, scope_id: UUID, **more: Any) -> Exclusion:
        token = self.service.tokens.team(team, actor_id=UUID(int=7), actor="ann")
        body = {"scope": scope, "scope_id": str(scope_id), **more}
        answer = await self.service.call("POST", "/exclusions", token, body)
        assert answer.status_code == 202, answer.text
        return decode_json(answer.content, Exclusion)

    async def work(self, team: UUID) -> bool:
        worker = self.services.exclusion_worker
        assert worker is not None
        return await worker.work(team)

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[CrashingDatabase]:
        """The database of one process after the other."""
        database = CrashingDatabase(self.database.url("coreo_results"), Crasher(), pool_size=6)
        try:
            yield database
        finally:
            await database.close()

    @asynccontextmanager
    async def process(
        self, crasher: Crasher, database: CrashingDatabase | None = None, **options: int
    ) -> AsyncIterator[Custodians]:
        """Another process of the service, that dies where the crasher says: Crash is raised then."""
        if database is None:
            async with self.connected() as own, self.process(crasher, own, **options) as parts:
                yield parts
            return
        database.crasher, conf = crasher, self.installation.settings_on(self.database)
        async with (
            open_root_keys(conf.root_key) as roots,
            open_store(conf.vault) as vault,
            open_store(conf.backup_store) as backups,
            open_store(str(conf.ledger_store)) as ledger,
        ):
            stores = [CrashingStore(store, crasher) for store in (vault, backups, ledger)]
            yield custodians_on(database, Vault(stores[0], roots), stores[1], stores[2], conf, **options)

    async def find(self, team: UUID, exclusion_id: UUID) -> Exclusion:
        answer = await self.service.call("GET", f"/exclusions/{exclusion_id}", self.service.tokens.team(team))
        assert answer.status_code == 200, answer.text
        return decode_json(answer.content, Exclusion)

    async def receipt(self, team: UUID, exclusion_id: UUID) -> Receipt:
        """As a customer reads it, with the published keys alone."""
        token = self.service.tokens.team(team)
        keys = (await self.service.call("GET", "/custody/keys", token)).json()["keys"]
        answer = await self.service.call("GET", f"/exclusions/{exclusion_id}/receipt", token)
        assert answer.status_code == 200, answer.text
        signed = decode_json(answer.content, SignedReceipt).receipt
        return Statements(keys).read(signed.encode(), Receipt, typ=RECEIPT_TYPE)


@contextmanager
def dying_after(entries: int) -> Iterator[None]:
    """What happens in it ends, as a process does that is killed, when so many entries of the log are stored."""
    tell = ExcludedBackups.tell
    told = 0

    async def count(self: ExcludedBackups, team_id: UUID, decide: Decide) -> bool:
        nonlocal told
        done = await tell(self, team_id, decide)
        told += done
        if told == entries:
            raise Crash
        return done

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ExcludedBackups, "tell", count)
        yield


async def break_off(place: Place, team: UUID, *, page: int, after: int) -> None:
    """A process works, naming so many runs in an entry of the log, and dies when so many entries are stored."""
    with dying_after(after), pytest.raises(Crash):
        async with place.process(Crasher(), runs_per_entry=page) as parts:
            await parts.worker.work(team)
