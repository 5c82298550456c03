"""One root key takes over from another while the service runs; broken off anywhere, it goes on."""

from itertools import count
from pathlib import Path

import pytest

from coreo_results.keys.root import RootKey, RootKeys, open_root_key
from coreo_results.keys.root_rotation import RootRotation, Rotated
from coreo_results.keys.service import Keys
from coreo_results.keys.vault import Vault
from coreo_results.opening import open_for_command
from coreo_results.stores import open_store
from coreo_shared.db import Database
from coreo_shared.ids import new_id
from tests.support.crashes import Crash, Crasher, CrashingDatabase, CrashingStore
from tests.support.postgres import ServiceDatabase
from tests.support.results import (
    ResultsService,
    Tokens,
    make_chunk,
    make_root_key,
    make_settings,
    make_vault,
    running,
)


async def test_a_root_key_takes_over_from_another_step_by_step_without_a_refused_call(
    results_database: ServiceDatabase, tmp_path: Path
) -> None:
    """Replicas of both kinds side by side, as docs/operations.md has it; at the end the old root key opens nothing."""
    tokens, vault = Tokens(), make_vault(tmp_path / "vault")
    old, new = make_root_key(tmp_path / "old"), make_root_key(tmp_path / "new")
    steps = [(old, ()), (old, (new,)), (new, (old,)), (new, ())]
    replicas = [
        make_settings(results_database, tokens, root, vault=vault, other_root_keys=others) for root, others in steps
    ]
    teams = [new_id()]

    async def serves(service: ResultsService) -> None:
        """All teams that any replica has ever served, and one that is new."""
        teams.append(new_id())
        for team in teams:
            await service.run(team).claimed()

    async with running(replicas[0]) as app:
        await serves(ResultsService(app, tokens))
    for before, after in ((0, 1), (1, 2)):  # each restart of the replicas, one after the other
        async with running(replicas[before]) as one, running(replicas[after]) as two:
            for app in (one, two, one):
                await serves(ResultsService(app, tokens))
    async with running(replicas[2]) as one, running(replicas[2]) as two:
        done = await rotate(results_database, vault, new, old)
        assert (done.wrapped > 0, done.wrapped + done.untouched) == (True, len(teams))
        for app in (one, two):
            await serves(ResultsService(app, tokens))
        assert await rotate(results_database, vault, new, old) == Rotated(0, len(teams))
    async with running(replicas[3]) as app:
        await serves(ResultsService(app, tokens))
    async with running(replicas[0]) as app:
        service = ResultsService(app, tokens)
        for team in teams:
            assert (await service.run(team).claim()).json()["code"] == "key_unavailable"


async def rotate(
    database: ServiceDatabase, vault: str, current: str, *others: str, crasher: Crasher | None = None
) -> Rotated:
    crasher = crasher or Crasher()
    connected = CrashingDatabase(database.url("coreo_results"), crasher)
    system = Database(database.url("coreo_results_system"), pool_size=1)
    try:
        async with open_store(vault) as store, open_root_key(current) as root:
            roots = RootKeys(root, [await opened(other) for other in others])
            kept = Vault(CrashingStore(store, crasher), roots)
            return await RootRotation(connected, system, Keys(connected, kept), kept).run()
    finally:
        await connected.close()
        await system.close()


async def opened(location: str) -> RootKey:
    async with open_root_key(location) as root:
        return root


async def test_it_may_die_anywhere(results_database: ServiceDatabase, tmp_path: Path) -> None:
    tokens, vault = Tokens(), make_vault(tmp_path / "vault")
    roots = [make_root_key(tmp_path / name) for name in ("a", "b")]
    settings = make_settings(results_database, tokens, roots[0], vault=vault, other_root_keys=(roots[1],))
    async with running(settings) as app:
        runs = [ResultsService(app, tokens).run() for _ in range(2)]
        for run in runs:
            await run.stored(make_chunk(await run.claimed()))
        await app.state.services.turnovers.run(runs[0].team_id)
        expected = [await app.state.services.keys.run_key(run.team_id, run.run_id) for run in runs]
    crashes, turn = 0, 0
    for after in (False, True):
        for at in count(1):
            turn += 1
            current, other = roots[turn % 2], roots[(turn + 1) % 2]
            try:
                await rotate(results_database, vault, current, other, crasher=Crasher(at, after=after))
            except Crash:
                crashes += 1
            else:
                break
            async with open_for_command(settings) as custody:
                assert [await custody.keys.run_key(run.team_id, run.run_id) for run in runs] == expected, (at, after)
            await rotate(results_database, vault, current, other)
            assert len(list((tmp_path / "vault" / "teams").rglob("*.key"))) == len(runs), (at, after)
    assert crashes > 10


@pytest.mark.parametrize("twice", ["same place", "same key"])
async def test_the_same_root_key_twice_is_refused(
    results_database: ServiceDatabase, tmp_path: Path, twice: str
) -> None:
    root = make_root_key(tmp_path)
    other = root
    if twice == "same key":
        (tmp_path / "copy.key").touch(mode=0o600)
        (tmp_path / "copy.key").write_text((tmp_path / "root.key").read_text())
        other = f"file:{tmp_path / 'copy.key'}"
    with pytest.raises(Exception, match="the same root key twice"):
        async with running(make_settings(results_database, Tokens(), root, other_root_keys=(other,))):
            pytest.fail("started")
