"""A team's key is turned over while the team is served: nothing is lost, and the old version is gone for good."""

import asyncio
import random
import time
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from coreo_results.keys.adoption import Adoption
from coreo_results.keys.errors import KeyDestroyedError, KeyRetiredError, KeyUnavailableError, NoTeamKeyError
from coreo_results.keys.material import SecretKey
from coreo_results.keys.repository import KeyRepository
from coreo_results.keys.root import open_root_keys
from coreo_results.keys.seal import DamagedError
from coreo_results.keys.service import CACHE_SECONDS, DECISIONS, TAGS, Keys
from coreo_results.keys.turnover import Turnovers
from coreo_results.keys.vault import Vault
from coreo_results.keys.wrapping import RUN_KEYS, TEAM_SECRETS, TeamKey
from coreo_results.services import Services
from coreo_results.settings import ResultsSettings
from coreo_results.stores import StoredObject, open_store
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.db import Database
from coreo_shared.ids import new_id
from tests.support.crashes import Crash, Crasher, CrashingDatabase, CrashingStore
from tests.support.postgres import ServiceDatabase
from tests.support.results import (
    ResultsService,
    RunClient,
    Tokens,
    make_chunk,
    make_finding,
    make_root_key,
    make_settings,
    make_vault,
    running,
)


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
def settings(results_database: ServiceDatabase, tokens: Tokens, tmp_path: Path) -> ResultsSettings:
    """Of any number of replicas."""
    return make_settings(results_database, tokens, make_root_key(tmp_path))


@pytest.fixture
async def service(settings: ResultsSettings, tokens: Tokens) -> AsyncIterator[ResultsService]:
    async with running(settings) as app:
        yield ResultsService(app, tokens)


@asynccontextmanager
async def connected(settings: ResultsSettings) -> AsyncIterator[CrashingDatabase]:
    """The database of one process after the other."""
    database = CrashingDatabase(settings.database_url.get_secret_value(), Crasher())
    try:
        yield database
    finally:
        await database.close()


@asynccontextmanager
async def parts(
    settings: ResultsSettings, crasher: Crasher | None = None, database: CrashingDatabase | None = None
) -> AsyncIterator[tuple[Keys, Turnovers]]:
    """What a process has that knows nothing yet, and dies where the crasher says."""
    if database is None:
        async with connected(settings) as own, parts(settings, crasher, own) as made:
            yield made
        return
    database.crasher = crasher = crasher or Crasher()
    async with open_root_keys(settings.root_key) as roots, open_store(settings.vault) as store:
        vault = Vault(CrashingStore(store, crasher), roots)
        keys = Keys(database, vault)
        yield keys, Turnovers(database, keys, vault)


def services(service: ResultsService) -> Services:
    wired: Services = service.app.state.services
    return wired


async def ended(run: RunClient, *statuses: FindingStatus) -> RunClient:
    answer = await run.say("claim", {"worker_id": "w", "rules": ["s3-bucket-public"]})
    fence = answer.json()["fence"]
    findings = [make_finding(number, status=status) for number, status in enumerate(statuses)]
    await run.stored(make_chunk(fence, findings))
    assert (await run.say("finish", {"fence": fence, "outcome": "completed", "units_total": 1})).status_code == 200
    return run


async def versions(database: Database, team_id: UUID) -> dict[int, str]:
    """What the register says of each version."""
    async with database.transaction(team_id) as connection:
        rows = await connection.execute(text("SELECT version, retired_at, destroyed_at FROM team_keys"))
        return {
            row.version: "destroyed" if row.destroyed_at else "retired" if row.retired_at else "live" for row in rows
        }


async def under(database: Database, team_id: UUID) -> set[int]:
    """The versions that anything is under."""
    query = "SELECT team_key_version FROM run_keys UNION SELECT team_key_version FROM team_secrets"
    async with database.transaction(team_id) as connection:
        return set((await connection.execute(text(query))).scalars())


async def test_all_that_a_team_has_can_be_read_after_turnovers_and_the_old_version_is_nowhere(
    settings: ResultsSettings, tokens: Tokens, service: ResultsService, tmp_path: Path
) -> None:
    team = new_id()
    old = await ended(service.run(team), FindingStatus.FAIL, FindingStatus.FAIL)
    at_work = service.run(team)
    fence = await at_work.claimed()
    await at_work.stored(make_chunk(fence, index=0, final=False))
    other = await ended(service.run(), FindingStatus.FAIL)
    suppression = {"resource": "bucket-0", "reason": "known", "author": "ann"}
    answer = await service.call("POST", "/suppressions", tokens.team(team), suppression)
    assert answer.status_code == 200
    whole = (await old.findings(full="true")).json()

    destroyed: list[list[int]] = []
    turnovers = services(service).turnovers
    for _ in range(2):
        turnover = await turnovers.begin(team)
        destroyed.append(await turnovers.finish(team))
        assert destroyed[-1] == [turnover.old]
    assert destroyed == [[1], [2]]
    database = services(service).database
    assert await versions(database, team) == {1: "destroyed", 2: "destroyed", 3: "live"}
    assert await under(database, team) == {3}
    assert await versions(database, other.team_id) == {1: "live"}
    files = sorted(
        str(path.relative_to(tmp_path / "vault" / "teams" / str(team)))
        for path in (tmp_path / "vault" / "teams" / str(team)).rglob("*")
        if path.is_file()
    )
    assert files[:2] == ["0000000001/destroyed", "0000000002/destroyed"]
    assert len(files) == 3

    async with running(settings) as app:  # nothing cached
        for each in (service, ResultsService(app, tokens)):
            assert (await each.run(team, old.run_id).findings(full="true")).json() == whole
            listed = await each.call("GET", "/suppressions", tokens.team(team))
            assert [item["reason"] for item in listed.json()["items"]] == ["known"]
        assert (await each.run(other.team_id, other.run_id).findings()).json()["total"] == 1
        # Who is at work goes on, and later runs know the findings again.
        await each.run(team, at_work.run_id).stored(make_chunk(fence, [make_finding(9)], index=1))
        later = await ended(each.run(team), FindingStatus.PASS, FindingStatus.FAIL)
        said = await each.call("GET", f"/runs/{later.run_id}/changes", tokens.team(team))
        assert said.json()["counts"] == {"new": 0, "unchanged": 1, "changed": 0, "resolved": 1, "not_seen": 0}


async def test_a_copy_of_the_database_from_before_opens_nothing(
    settings: ResultsSettings, service: ResultsService
) -> None:
    team = new_id()
    run = await ended(service.run(team), FindingStatus.FAIL)
    database = services(service).database
    async with database.transaction(team) as connection:
        copy = await KeyRepository(connection).run_key(team, run.run_id)
        secret = await KeyRepository(connection).secret(team, TAGS)
    assert copy is not None
    assert secret is not None
    await services(service).turnovers.run(team)
    async with parts(settings) as (keys, _):
        newest = await keys.newest_team_key(team)
        for version in (copy.team_key_version, newest.version):
            with pytest.raises(DamagedError):
                RUN_KEYS.unwrap(TeamKey(version, newest.key), team, run.run_id, copy.wrapped)
            with pytest.raises(DamagedError):
                TEAM_SECRETS.unwrap(TeamKey(version, newest.key), team, TAGS, secret.wrapped)
        with pytest.raises(KeyDestroyedError):
            await keys.team_key(team, copy.team_key_version)


async def test_a_turnover_that_dies_anywhere_loses_nothing_and_goes_on(
    settings: ResultsSettings, service: ResultsService
) -> None:
    """Before and after every change that it makes, in the database and in the vault."""
    team = new_id()
    runs = [await ended(service.run(team), FindingStatus.FAIL) for _ in range(3)]
    database = services(service).database

    async def material(keys: Keys) -> list[SecretKey]:
        found = [(await keys.run_key(team, run.run_id)).data for run in runs]
        return [*found, await keys.team_secret(team, TAGS), await keys.team_secret(team, DECISIONS)]

    expected = await material(services(service).keys)
    crashes = 0
    async with connected(settings) as shared:
        for after in (False, True):
            for at in count(1):
                crasher = Crasher(at, after=after)
                try:
                    async with parts(settings, crasher, shared) as (_, turnovers):
                        await turnovers.run(team)
                except Crash:
                    crashes += 1
                else:
                    break
                async with parts(settings, None, shared) as (keys, turnovers):  # another process
                    assert await material(keys) == expected, (at, after)
                    await service.run(team).claimed()
                    await turnovers.finish(team)
                    for kept in (keys._run_keys, keys._secrets, keys._team_keys):
                        kept._entries.clear()
                    assert await material(keys) == expected, (at, after)
                states = await versions(database, team)
                live = max(states)
                assert [states[version] for version in range(1, live)] == ["destroyed"] * (live - 1), (at, after)
                assert await under(database, team) == {live}, (at, after)
    assert crashes > 20


async def test_nothing_can_be_stored_under_a_version_once_it_is_retired(
    service: ResultsService, monkeypatch: pytest.MonkeyPatch
) -> None:
    wired, run = services(service), service.run()
    await run.claimed()
    old = await wired.keys.newest_team_key(run.team_id)
    turnover = await wired.turnovers.begin(run.team_id)
    second = service.run(run.team_id)

    async def store() -> None:
        async with wired.database.transaction(run.team_id) as connection:
            wrapped = wired.keys.new_run_key(run.team_id, run.run_id, old)
            await KeyRepository(connection).replace_run_key(run.team_id, run.run_id, wrapped)

    with pytest.raises(KeyRetiredError):
        await store()

    newest = wired.keys.newest_team_key
    answers = [old]

    async def late(team_id: UUID) -> TeamKey:
        return answers.pop() if answers else await newest(team_id)

    monkeypatch.setattr(wired.keys, "newest_team_key", late)
    await second.claimed()  # which had the old key in hand
    assert answers == []
    async with wired.database.transaction(run.team_id) as connection:
        stored = await KeyRepository(connection).run_key(run.team_id, second.run_id)
    assert stored is not None
    assert stored.team_key_version == turnover.new


async def test_a_turnover_waits_for_who_is_just_storing_something_under_the_old_version(
    service: ResultsService,
) -> None:
    wired, first = services(service), service.run()
    await first.claimed()
    team, late = first.team_id, service.run(first.team_id)
    await late.cancel()  # so that the ledger knows the run, and it has no key
    async with wired.database.transaction(team) as connection:
        wrapped = wired.keys.new_run_key(team, late.run_id, await wired.keys.newest_team_key(team))
        await KeyRepository(connection).add_run_key(team, late.run_id, wrapped)
        turning = asyncio.create_task(wired.turnovers.run(team))
        assert not (await asyncio.wait({turning}, timeout=0.5))[0]
    await turning
    assert await under(wired.database, team) == {2}
    assert await wired.keys.run_key(team, late.run_id)


async def test_what_a_hook_cannot_do_keeps_the_old_version_alive(settings: ResultsSettings) -> None:
    team, called = new_id(), []

    async def fails(team_id: UUID, retired: list[int]) -> None:
        called.append((team_id, retired))
        raise RuntimeError("no snapshot")

    async with parts(settings) as (keys, _):
        await keys.newest_team_key(team)
        turnovers = Turnovers(keys._database, keys, keys._vault, before_destroying=[fails])
        for _ in range(2):
            with pytest.raises(RuntimeError, match="no snapshot"):
                await turnovers.run(team)
        assert called == [(team, [1]), (team, [1, 2])]
        assert await versions(keys._database, team) == {1: "retired", 2: "retired", 3: "live"}
        assert await keys._vault.load(team, 1)
        assert await Turnovers(keys._database, keys, keys._vault).finish(team) == [1, 2]


async def test_the_keeper_finishes_what_others_began_and_forgets_the_old_keys(
    settings: ResultsSettings, service: ResultsService
) -> None:
    run = service.run()
    await run.claimed()
    wired = services(service)
    await wired.turnovers.begin(run.team_id)
    assert wired.keys._team_keys.peek((run.team_id, 1))
    await wired.key_keeper.keep()
    assert wired.keys._team_keys.peek((run.team_id, 1)) is None
    assert await versions(wired.database, run.team_id) == {1: "destroyed", 2: "live"}
    await run.stored(make_chunk(1))
    async with parts(settings) as (_, turnovers):  # all of it elsewhere
        await turnovers.run(run.team_id)
    assert wired.keys._team_keys.peek((run.team_id, 2))
    await wired.key_keeper.keep()
    assert wired.keys._team_keys.peek((run.team_id, 2)) is None


async def test_the_keeper_drops_keys_that_nobody_asks_for_any_more(service: ResultsService) -> None:
    """Of a team that is quiet, too, none is in memory for longer than a cache may have it."""
    run = service.run()
    await run.stored(make_chunk(await run.claimed()))
    wired = services(service)
    caches = (wired.keys._team_keys, wired.keys._run_keys, wired.keys._secrets)
    await wired.key_keeper.keep()
    assert all(cache._entries for cache in caches), "what is fresh stays"
    for cache in caches:
        cache._clock = lambda: time.monotonic() + CACHE_SECONDS
    await wired.key_keeper.keep()
    assert [dict(cache._entries) for cache in caches] == [{}, {}, {}]


@pytest.mark.parametrize("work", ["create", "wrap_by"])
async def test_a_version_that_is_destroyed_while_it_is_written_is_gone_all_the_same(tmp_path: Path, work: str) -> None:
    """A process that lags behind creates it, or wraps it by another root key, just as another destroys it."""

    class Late(CrashingStore):
        async def put(self, key: str, data: bytes | AsyncIterable[bytes]) -> None:
            if key.endswith(".key") and self.is_late:
                self.is_late = False
                await vault.destroy(team, 1)
            await super().put(key, data)

        is_late = False

    team = new_id()
    others = (make_root_key(tmp_path / "other"),)
    async with (
        open_root_keys(make_root_key(tmp_path), others) as roots,
        open_store(make_vault(tmp_path / "v")) as store,
    ):
        vault, late = Vault(store, roots), Late(store, Crasher())
        if work == "wrap_by":
            await vault.create(team, 1)
        late.is_late = True
        lagging = Vault(late, roots)
        with pytest.raises(KeyDestroyedError):
            await (lagging.create(team, 1) if work == "create" else lagging.wrap_by(list(roots)[1], team, 1))
        assert [path.name for path in (tmp_path / "v" / "teams").rglob("*") if path.is_file()] == ["destroyed"]


@pytest.mark.parametrize("goes_on", ["another", "anew"])
async def test_who_dies_while_a_file_of_the_vault_is_overwritten_leaves_no_key_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, goes_on: str
) -> None:
    """Whoever goes on, another process or one that starts, does not find it listed: its name is gone by then."""

    def dies(_: Path) -> None:
        raise OSError(5, "the power went")

    team, location = new_id(), make_vault(tmp_path / "v")
    async with open_root_keys(make_root_key(tmp_path)) as roots, open_store(location) as store:
        vault = Vault(store, roots)
        await vault.create(team, 1)
        (stored,) = (tmp_path / "v" / "teams").rglob("*.key")
        with stored.open("rb") as held:
            with monkeypatch.context() as patch:
                patch.setattr("coreo_results.stores.directory._overwrite", dies)
                with pytest.raises(KeyUnavailableError):
                    await vault.destroy(team, 1)
            if goes_on == "another":
                await vault.destroy(team, 1)
            else:
                async with open_store(location):
                    pass
            assert set(held.read()) == {0}
        assert not list((tmp_path / "v" / ".deleting").iterdir())


async def test_a_version_that_is_destroyed_after_another_root_key_wrapped_it_keeps_its_mark(tmp_path: Path) -> None:
    class Late(CrashingStore):
        def list(self, prefix: str = "", after: str = "") -> AsyncIterator[StoredObject]:
            async def listed() -> AsyncIterator[StoredObject]:
                await vault.destroy(team, 1)
                async for entry in store.list(prefix, after):
                    yield entry

            return listed()

    team = new_id()
    others = (make_root_key(tmp_path / "other"),)
    async with (
        open_root_keys(make_root_key(tmp_path), others) as roots,
        open_store(make_vault(tmp_path / "v")) as store,
    ):
        vault = Vault(store, roots)
        await vault.create(team, 1)
        await Vault(Late(store, Crasher()), roots).wrap_by(list(roots)[1], team, 1)
        with pytest.raises(KeyDestroyedError):
            await vault.load(team, 1)


@pytest.mark.parametrize(
    "change", ["retired_at = NULL", "destroyed_at = NULL", "retired_at = now()", "wrapped = 'x', in_database = true"]
)
async def test_the_register_only_goes_forward(service: ResultsService, change: str) -> None:
    run = service.run()
    await run.claimed()
    wired = services(service)
    await wired.turnovers.run(run.team_id)
    with pytest.raises(DBAPIError, match="only goes forward"):
        async with wired.database.transaction(run.team_id) as connection:
            await connection.execute(text(f"UPDATE team_keys SET {change} WHERE version = 1"))


async def test_a_team_without_a_key_has_none_to_turn_over(service: ResultsService) -> None:
    with pytest.raises(NoTeamKeyError):
        await services(service).turnovers.run(new_id())


async def test_a_database_older_than_the_vault_is_told_from_one_that_is_whole(
    settings: ResultsSettings, service: ResultsService
) -> None:
    """As after a restore of the database alone: closed, and a turnover takes a version that the vault never had."""
    run = service.run()
    await run.claimed()
    team, wired = run.team_id, services(service)
    await wired.turnovers.run(team)
    async with parts(settings) as (keys, turnovers):
        await keys._vault.create(team, 3)
        await keys._vault.destroy(team, 3)
        turnover = await turnovers.begin(team)
        assert (turnover.old, turnover.new) == (2, 4)
        with pytest.raises(KeyDestroyedError):
            await keys._vault.create(team, 3)
        await keys._vault.destroy(team, 4)
    async with running(settings) as app:
        answer = await ResultsService(app, service.tokens).run(team).claim()
        assert (answer.status_code, answer.json()["code"]) == (500, "data_damaged")


async def test_a_new_database_takes_over_versions_and_secrets_from_the_vault_and_a_copy(
    settings: ResultsSettings, service: ResultsService, results_database: ServiceDatabase
) -> None:
    run = service.run()
    await run.claimed()
    team, wired = run.team_id, services(service)
    await wired.keys.team_secret(team, "access")
    await wired.turnovers.run(team)
    secrets = {name: await wired.keys.team_secret(team, name) for name in (TAGS, DECISIONS, "access")}
    async with wired.database.transaction(team) as connection:
        copies = {name: await KeyRepository(connection).secret(team, name) for name in secrets}
    async with parts(settings) as (keys, turnovers):
        await keys._vault.create(team, 3)  # a turnover that was broken off
    admin = Database(results_database.url("postgres"))
    async with admin.transaction() as connection:
        await connection.execute(text("TRUNCATE team_keys, team_secrets, runs CASCADE"))
    await admin.close()

    async with parts(settings) as (keys, turnovers):
        adoption = Adoption(keys._database, keys, keys._vault)
        assert await adoption.versions(team) == 3
        assert await adoption.versions(new_id()) is None
        assert await versions(keys._database, team) == {1: "destroyed", 2: "retired", 3: "live"}
        for name, copy in copies.items():
            assert copy is not None
            for _ in range(2):
                await adoption.secret(team, name, copy)
        with pytest.raises(DamagedError):
            await adoption.secret(
                team, TAGS, TEAM_SECRETS.wrap(await keys.team_key(team, 3), team, TAGS, secrets["access"])
            )
        assert {name: await keys.team_secret(team, name) for name in secrets} == secrets
        assert await turnovers.finish(team) == [2]
        await service.run(team).claimed()


async def test_two_replicas_turn_over_and_key_anew_while_runs_are_claimed_stored_and_read(
    settings: ResultsSettings, tokens: Tokens, service: ResultsService
) -> None:
    """Every claim, chunk and page is right, whatever happens to the keys meanwhile; and nothing deadlocks."""
    chance, team = random.Random(5), new_id()  # noqa: S311  a test's dice
    done = asyncio.Event()
    finished: list[UUID] = []
    async with running(settings) as app:
        both = (service, ResultsService(app, tokens))

        async def works(number: int) -> None:
            for _ in range(4):
                run_id = new_id()
                fence = await chance.choice(both).run(team, run_id).claimed()
                for index in range(3):
                    chunk = make_chunk(fence, [make_finding(index)], index=index, final=index == 2)
                    await chance.choice(both).run(team, run_id).stored(chunk)
                for _ in range(2):
                    page = await chance.choice(both).run(team, run_id).findings(resource="bucket-1")
                    assert page.status_code == 200, page.text
                    assert [item["message"] for item in page.json()["findings"]] == ["bucket-1 is public"]
                finished.append(run_id)

        async def turns(wired: Services) -> int:
            turned = 0
            while not done.is_set():
                await wired.turnovers.run(team)
                turned += 1
            return turned

        async def rekeys(wired: Services) -> int:
            rekeyed = 0
            while not done.is_set():
                run_id = chance.choice(finished) if finished else new_id()
                rekeyed += await wired.rekeying.run(team, run_id) is not None
            return rekeyed

        await service.run(team).claimed()
        around = [asyncio.create_task(part(services(each))) for part in (turns, rekeys) for each in both]
        try:
            await asyncio.wait_for(asyncio.gather(*(works(number) for number in range(4))), 60)
        finally:
            done.set()
            turned = await asyncio.gather(*around)
        assert min(turned) > 0, turned
        await services(service).turnovers.finish(team)
    async with running(settings) as app:
        fresh = ResultsService(app, tokens)
        for run_id in finished:
            assert (await fresh.run(team, run_id).findings()).json()["total"] == 3
        states = await versions(services(fresh).database, team)
        assert sorted(states.values()) == ["destroyed"] * (len(states) - 1) + ["live"]
        assert await under(services(fresh).database, team) == {max(states)}
