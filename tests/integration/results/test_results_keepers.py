"""Rounds in the background: what fails is logged, counted and shown, keeps nothing else from being done, and ends."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from coreo_results.backups.keeper import BackupKeeper
from coreo_results.backups.service import Backups, Cycle
from coreo_results.exclusions.keeper import ExclusionKeeper
from coreo_results.rounds import Keeper
from coreo_shared.db import Database
from coreo_shared.ids import new_id
from tests.support.backups import rows
from tests.support.exclusions import Place


async def shown(place: Place) -> dict[str, dict[str, Any]]:
    answer = await place.service.call("GET", "/keepers", place.service.tokens.feed())
    assert answer.status_code == 200, answer.text
    return {each["name"]: each for each in answer.json()["keepers"]}


def keepers(place: Place) -> tuple[BackupKeeper, ExclusionKeeper]:
    """Of their own, whose rounds are these tests' alone."""
    wired = place.services
    assert wired.backups is not None
    assert wired.exclusion_worker is not None
    databases = (wired.system_database, wired.database)
    return (
        BackupKeeper(*databases, wired.backups, interval_seconds=3600),
        ExclusionKeeper(*databases, wired.exclusion_worker, interval_seconds=3600),
    )


async def test_a_team_that_fails_keeps_no_other_and_is_counted_until_it_works(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad, good = sorted(new_id() for _ in range(2))
    for team in (bad, good):
        await place.ended(team, 1)
    keeper, cycle = keepers(place)[0], Backups.cycle

    async def fails(self: Backups, team_id: UUID, **options: Any) -> Cycle:
        if team_id == bad:
            raise RuntimeError("a bug")
        return await cycle(self, team_id, **options)

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(Backups, "cycle", fails)
        for _ in range(3):
            await keeper.round()
    said = [(entry["team_id"], entry["failures"]) for entry in logs if entry["event"] == "team_not_backed_up"]
    assert said == [(str(bad), 1), (str(bad), 2), (str(bad), 3)]
    state = keeper.state
    assert (state.rounds, state.failures, state.teams, state.worked_at) == (3, 3, 1, None)
    assert state.failed_at is not None
    assert await rows(place.database, "SELECT team_id, problem FROM backup_heads WHERE problem IS NOT NULL") == [
        (bad, "a bug")
    ]
    assert await rows(place.database, "SELECT team_id FROM backups") == [(good,)]
    await keeper.round()
    assert (keeper.state.rounds, keeper.state.failures, keeper.state.teams) == (4, 0, 0)
    assert keeper.state.worked_at is not None
    assert keeper.state.failed_at == state.failed_at


async def test_runs_that_cannot_be_read_count_as_a_failure_of_their_team(place: Place) -> None:
    team = new_id()
    run = await place.ended(team, 1)
    await rows(place.database, "UPDATE chunks SET sealed = sealed || '\\x00' WHERE run_id = $1", run.run_id)
    keeper = keepers(place)[0]
    await keeper.round()
    assert (keeper.state.failures, keeper.state.teams) == (1, 1)
    token = place.service.tokens.team(team)
    assert (await place.service.call("GET", "/backups", token)).json()["failed_at"] is not None


async def test_an_exclusion_that_waits_counts_until_it_is_through(place: Place) -> None:
    team = new_id()
    run = await place.ended(team, 1)
    await place.back_up(team)
    await rows(place.database, "UPDATE chunks SET sealed = sealed || '\\x00' WHERE run_id = $1", run.run_id)
    await place.exclude(team, "run", run.run_id)
    keeper = keepers(place)[1]
    await keeper.round()
    assert (keeper.state.failures, keeper.state.teams) == (1, 1)
    await place.service.call("DELETE", f"/runs/{run.run_id}/results", place.service.tokens.team(team))
    await keeper.round()
    assert (keeper.state.failures, keeper.state.teams) == (0, 0)


@pytest.mark.parametrize("which", [0, 1])
async def test_a_round_that_fails_as_a_whole_is_counted_and_the_next_one_comes(place: Place, which: int) -> None:
    """Here the database is away for it; also what is to be noted cannot be then."""
    away = Database("postgresql+asyncpg://x@127.0.0.1:9/x", pool_size=1)
    wired, keeper = place.services, keepers(place)[which]
    keeper._system_database = away
    stopping, counted = asyncio.Event(), asyncio.Event()
    count = keeper._count

    def count_and_tell(**values: Any) -> None:
        count(**values)
        counted.set()

    keeper._count = count_and_tell  # type: ignore[method-assign]
    with capture_logs() as logs:
        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(Keeper.run(keeper, stopping))  # as it is outside of tests
            for failures in (1, 2):
                await counted.wait()
                counted.clear()
                assert (keeper.state.failures, keeper.state.worked_at) == (failures, None)
                keeper.wake()
            await counted.wait()
            counted.clear()
            keeper._system_database = wired.system_database
            keeper.wake()
            await counted.wait()
            stopping.set()
    assert [entry["failures"] for entry in logs if entry["event"] == keeper.ROUND_FAILED] == [1, 2, 3]
    assert (keeper.state.rounds, keeper.state.failures) == (4, 0)
    await away.close()


async def test_what_cannot_be_noted_is_logged_too(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = keepers(place)[0]

    async def fails(*_: object) -> None:
        raise OperationalError("UPDATE", None, Exception("away"))

    monkeypatch.setattr(BackupKeeper, "write_down", fails)
    with capture_logs() as logs:
        await keeper.note(new_id(), RuntimeError("a bug"))
    assert [entry["event"] for entry in logs] == ["backup_problem_not_noted"]


async def test_operators_see_how_the_rounds_go(place: Place) -> None:
    wired = place.services
    for keeper in (wired.backup_keeper, wired.exclusion_keeper):
        assert isinstance(keeper, Keeper)
        await keeper.round()
    found = await shown(place)
    assert set(found) == {"backups", "exclusions"}
    for state in found.values():
        assert state["rounds"] >= 1
        assert (state["failures"], state["teams"], state["failed_at"]) == (0, 0, None)
        assert state["worked_at"] is not None
