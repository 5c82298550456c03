"""A process that backs up dies, at every step there is; the next one goes on, and nothing is lost or there twice."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from coreo_results.backups.comparison import Side, compare_team
from coreo_results.backups.heads import HeadMovedError
from coreo_results.backups.service import Backups, BackupStores
from coreo_results.backups.wiring import custodian_of
from coreo_results.keys.root import open_root_keys
from coreo_results.keys.service import Keys
from coreo_results.keys.vault import open_vault
from coreo_results.life.service import Life
from coreo_results.stores import StoreUnavailableError, open_store
from coreo_shared.ids import new_id
from tests.support.backups import Installation, backups_of, ended, rows, seen
from tests.support.crashes import Crash, Crasher, CrashingStore, CrashingWrites
from tests.support.postgres import Databases, ServiceDatabase
from tests.support.results import ResultsService, make_finding


@pytest.fixture
def installation(results_database: ServiceDatabase, tmp_path: Path) -> Installation:
    return Installation(tmp_path, results_database)


@asynccontextmanager
async def connected(installation: Installation) -> AsyncIterator[CrashingWrites]:
    """The database of one process after the other."""
    database = CrashingWrites(installation.settings.database_url.get_secret_value(), Crasher(), pool_size=8)
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def backups(
    installation: Installation, database: CrashingWrites, crasher: Crasher | None = None
) -> AsyncIterator[Backups]:
    """What a process has, which dies where the crasher says. It remembers nothing of the one before."""
    settings = installation.settings
    assert settings.ledger_store is not None
    database.crasher = crasher = crasher or Crasher()
    async with (
        open_root_keys(settings.root_key) as roots,
        open_vault(settings.vault, roots) as vault,
        open_store(settings.backup_store) as objects,
        open_store(settings.ledger_store) as ledger,
    ):
        keys = Keys(database, vault)
        stores = BackupStores(CrashingStore(objects, crasher), CrashingStore(ledger, crasher))
        yield Backups(database, keys, Life(database, keys), stores, custodian_of(settings))


async def test_it_goes_on_wherever_it_was_broken_off(installation: Installation, databases: Databases) -> None:
    """A process dies one step later each time, at backing up, letting go and telling of a deletion; another goes on."""
    team, at, is_whole = new_id(), 0, False
    async with installation.serving() as service, connected(installation) as database:
        while not is_whole:
            at += 1
            await work_to_do(installation, service, team, at)
            async with backups(installation, database, Crasher(at)) as process:
                try:
                    await process.cycle(team)
                    is_whole = True
                except Crash:
                    cycle = await backups_of(service).cycle(team)
                    assert (cycle.is_done, cycle.failed) == (True, {}), at
        assert at > 15, "every step is tried"
        kept = [run_id for (run_id,) in await rows(installation.database, _STORED)]
        found = await rows(installation.database, f"{_STORED} AND purged_at IS NULL ORDER BY run_id")
        shown = [run_id for (run_id,) in found]
        view = await seen(service, service.run(team, shown[-1]))
    assert await rows(installation.database, "SELECT DISTINCT state FROM backups ORDER BY 1") == [
        ("GONE",),
        ("STORED",),
    ]
    assert len([key for key in installation.files("backups") if key.startswith("runs/")]) == len(kept)
    verdict = await installation.verdict(team)
    assert (verdict.problems, verdict.runs) == ([], len(kept))
    with databases.empty("coreo_results") as empty:
        await installation.restore(empty)
        found = await rows(empty, "SELECT run_id FROM runs WHERE purged_at IS NULL ORDER BY run_id")
        assert [run_id for (run_id,) in found] == shown
        async with installation.serving(installation.database) as live, installation.serving(empty) as service:
            sides = [Side(each.app.state.services.database, each.app.state.services.keys) for each in (live, service)]
            compared = await compare_team(team, *sides)
            assert (compared.runs, compared.differences) == (len(shown), [])
            assert await seen(service, service.run(team, shown[-1])) == view


_STORED = "SELECT run_id FROM backups JOIN runs USING (team_id, run_id) WHERE backups.state = 'STORED'"


async def work_to_do(installation: Installation, service: ResultsService, team: UUID, number: int) -> None:
    """A run to back up, one to tell of, and one to let go of."""
    await ended(service, team, {"a@global": [make_finding(number)]})
    stored = [run_id for (run_id,) in await rows(installation.database, f"{_STORED} ORDER BY run_id")]
    if len(stored) > 3:
        await service.call("DELETE", f"/runs/{stored[2]}/results", service.tokens.team(team))
        await rows(installation.database, "UPDATE backups SET expires_at = now() WHERE run_id = $1", stored[0])


async def test_the_newest_entry_is_not_lost_with_the_database(installation: Installation, databases: Databases) -> None:
    """It dies between the snapshot that carries the entry and the entry, and so does the database."""
    team = new_id()
    async with installation.serving() as service:
        await ended(service, team, {"a@global": [make_finding()]})
        await backups_of(service).cycle(team)
        second = await ended(service, team, {"a@global": [make_finding()]})
        before = await seen(service, second)
        put = backups_of(service)._stores.backups.put

        async def refuse(key: str, data: bytes) -> None:
            if key.startswith("log/"):
                raise StoreUnavailableError("the store", "away")
            await put(key, data)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(backups_of(service)._stores.backups, "put", refuse)
            with pytest.raises(StoreUnavailableError):
                await backups_of(service).cycle(team)
    assert len([key for key in installation.files("backups") if key.startswith("log/")]) == 1

    with databases.empty("coreo_results") as empty:
        assert (await installation.restore(empty)).restored[team].runs == 2
        async with installation.serving(empty) as service:
            assert await seen(service, service.run(team, second.run_id)) == before
            await ended(service, team, {"a@global": [make_finding()]})
            assert (await backups_of(service).cycle(team)).stored == 1
    verdict = await installation.verdict(team)
    assert (verdict.problems, verdict.runs) == ([], 3)


async def test_two_processes_share_the_work(installation: Installation) -> None:
    team = new_id()
    async with installation.serving() as service:
        for number in range(6):
            await ended(service, team, {"a@global": [make_finding(number)]})
        async with (
            connected(installation) as here,
            connected(installation) as there,
            backups(installation, here) as one,
            backups(installation, there) as other,
        ):
            cycles = await asyncio.gather(
                *(each.cycle(team, wait=wait) for each in (one, other) for wait in (False, True))
            )
    assert sum(cycle.stored for cycle in cycles) == 6
    verdict = await installation.verdict(team)
    assert (verdict.problems, verdict.runs) == ([], 6)


async def test_results_that_are_deleted_while_they_are_written_get_into_no_backup(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor is that a failure. Should the database be lost before the log tells of the deletion, they would be back."""
    team, log_stored = new_id(), Backups._log_stored
    async with installation.serving() as service:
        run = await ended(service, team, {"a@global": [make_finding()]})

        async def after_the_deletion(self: Backups, *rest: Any) -> None:
            answer = await service.call("DELETE", f"/runs/{run.run_id}/results", run.team_token)
            assert answer.status_code == 200, answer.text
            await log_stored(self, *rest)

        with monkeypatch.context() as patch:
            patch.setattr(Backups, "_log_stored", after_the_deletion)
            cycle = await backups_of(service).cycle(team)
        assert (cycle.stored, cycle.failed) == (0, {})
        assert [key for key in installation.files("backups") if key.startswith("runs/")]
        await backups_of(service).cycle(team)
    assert installation.files("backups") == []


async def test_who_lost_the_lock_stores_no_snapshot_behind_a_newer_one(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest would be older than the log, which nobody may believe."""
    team = new_id()

    @asynccontextmanager
    async def lost(*_: object, **__: object) -> AsyncIterator[bool]:
        yield True

    async with (
        installation.serving() as service,
        connected(installation) as here,
        connected(installation) as there,
        backups(installation, here) as one,
        backups(installation, there) as other,
    ):
        await ended(service, team, {"a@global": [make_finding()]})
        write = one.snapshots.write

        async def late(*entry: Any) -> int:
            monkeypatch.setattr(one.snapshots, "write", write)
            await other.cycle(team)
            await ended(service, team, {"b@global": [make_finding()]})
            assert (await other.cycle(team)).stored == 1
            return await write(*entry)

        monkeypatch.setattr("coreo_results.backups.service.team_lock", lost)
        monkeypatch.setattr(one.snapshots, "write", late)
        with pytest.raises(HeadMovedError):
            await one.cycle(team)
    verdict = await installation.verdict(team)
    assert (verdict.problems, verdict.runs) == ([], 2)
