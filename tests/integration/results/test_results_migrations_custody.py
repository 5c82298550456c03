"""Migrations of backups and exclusions on data of the version before: what was there goes on with what is new."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from coreo_embedded.postgres import Postgres
from coreo_results.exclusions.repository import Stored
from coreo_results.exclusions.worker import ExclusionWorker
from coreo_results.migrate import migrate
from coreo_shared.contracts.exclusions import ExclusionState, ExclusionStep
from coreo_shared.ids import new_id
from tests.support.backups import Installation, ended, rows, seen
from tests.support.crashes import Crasher
from tests.support.exclusions import Place, break_off
from tests.support.postgres import Databases, ServiceDatabase
from tests.support.results import PLAN, make_chunk, make_finding
from tests.support.versions import go_back, results_database_of_versions

_PAGE = 2


@pytest.fixture
def database(postgres: Postgres) -> Iterator[ServiceDatabase]:
    with results_database_of_versions(postgres) as made:
        yield made


@pytest.fixture
def installation(database: ServiceDatabase, tmp_path: Path) -> Installation:
    return Installation(tmp_path, database)


@asynccontextmanager
async def serving(installation: Installation) -> AsyncIterator[Place]:
    """The service, where exclusions go on when a test says so."""

    async def nothing(*_: object) -> None:
        return None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("coreo_results.exclusions.keeper.ExclusionKeeper.run", nothing)
        async with installation.serving(sweep_seconds=3600) as service:
            yield Place(service, installation, installation.database)


def back_and_up(database: ServiceDatabase, revision: str) -> None:
    go_back(database, revision)
    migrate(database.url("coreo_results_owner"))


async def content(database: ServiceDatabase, table: str) -> list[dict[str, Any]]:
    """All rows, whatever columns there are."""
    found = await rows(database, f"SELECT to_jsonb(t)::text FROM {table} t ORDER BY 1")
    return [json.loads(row) for (row,) in found]


async def test_runs_of_before_there_were_backups_are_backed_up(
    installation: Installation, databases: Databases
) -> None:
    team, database = new_id(), installation.database
    unwanted_plan = new_id()
    async with serving(installation) as place:
        service, token = place.service, place.service.tokens.team(team)
        first = await ended(service, team, {"a@global": [make_finding(1)], "b@global": [make_finding(2)]})
        second = await ended(service, team, {"a@global": [make_finding(1)]})
        unwanted = await place.ended(team, 3, plan_id=unwanted_plan)
        body = {"backup": False, "display_days": 30}
        await service.call("PATCH", f"/plans/{unwanted_plan}/custody", token, body)
        purged, going = await place.ended(team, 4), service.run(team)
        fence = await going.claimed()
        await going.stored(make_chunk(fence, [make_finding(5)]))
        await service.call("DELETE", f"/runs/{purged.run_id}/results", token)
        views = {run.run_id: await seen(service, run) for run in (first, second)}
    before = {table: await content(database, table) for table in ("chunks", "finding_life", "plan_custody_settings")}
    go_back(database, "0006")
    assert await rows(database, "SELECT to_regclass('backups')::text") == [(None,)]
    migrate(database.url("coreo_results_owner"))
    assert {table: await content(database, table) for table in before} == before

    async with serving(installation) as place:
        again = {run_id: await seen(place.service, place.service.run(team, run_id)) for run_id in views}
        assert again == views
        ending = {"fence": fence, "outcome": "completed", "units_total": 1}
        await place.service.run(team, going.run_id).say("finish", ending)
        await place.back_up(team)
        settled = dict(await rows(database, "SELECT run_id, backup_settled_at IS NOT NULL FROM runs"))
        assert {run_id for run_id, is_settled in settled.items() if not is_settled} == {purged.run_id}
        assert unwanted.run_id in settled
    with databases.empty("coreo_results") as empty:
        await installation.restore(empty, thorough=True)
        found = {run_id for (run_id,) in await rows(empty, "SELECT run_id FROM runs")}
        assert found == {first.run_id, second.run_id, going.run_id}
        async with installation.serving(empty) as service:
            again = {run_id: await seen(service, service.run(team, run_id)) for run_id in views}
    assert again == views


async def test_backups_of_before_there_were_exclusions_can_be_excluded(
    installation: Installation, databases: Databases
) -> None:
    team, database = new_id(), installation.database
    async with serving(installation) as place:
        doomed, kept = [await place.ended(team, number) for number in range(2)]
        await place.back_up(team)
    before = {table: await content(database, table) for table in ("backups", "backup_heads", "backup_keys", "runs")}
    back_and_up(database, "0007")
    assert {table: await content(database, table) for table in before} == before

    async with serving(installation) as place:
        asked = await place.exclude(team, "run", doomed.run_id)
        assert await place.work(team)
        receipt = await place.receipt(team, asked.id)
        assert (receipt.run_ids, receipt.backups_deleted) == ([doomed.run_id], 1)
        assert receipt.intent is not None
    assert (await installation.verdict(team)).problems == []
    with databases.empty("coreo_results") as empty:
        await installation.restore(empty)
        assert await rows(empty, "SELECT run_id FROM runs") == [(kept.run_id,)]


async def test_exclusions_that_an_older_version_began_are_finished(
    installation: Installation, databases: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It wrote tombstones alone: one is through, one has its tombstone, one only some of them, one has nothing."""

    async def as_before(self: ExclusionWorker, team_id: UUID, exclusion: Stored) -> None:
        await self._passed(team_id, exclusion.id, ExclusionStep.INTENT)

    team, database = new_id(), installation.database
    async with serving(installation) as place:
        done, told, untouched = [await place.ended(team, number, plan_id=new_id()) for number in range(3)]
        partly = [await place.ended(team, 10 + number) for number in range(5)]
        kept = await place.ended(team, 20, plan_id=new_id())
        await place.back_up(team)
        with monkeypatch.context() as patch:
            patch.setattr(ExclusionWorker, "_announce", as_before)
            asked = [await place.exclude(team, "run", done.run_id)]
            assert await place.work(team)
            old = await place.receipt(team, asked[0].id)
            for scope, scope_id in (("run", told.run_id), ("plan", PLAN)):
                asked.append(await place.exclude(team, scope, scope_id))
                await break_off(place, team, page=_PAGE, after=1)
            asked.append(await place.exclude(team, "run", untouched.run_id))
    progress = "SELECT tombstone_at IS NOT NULL, receipt_at IS NOT NULL FROM exclusions ORDER BY exclusion_id"
    assert await rows(database, progress) == [(True, True), (True, False), (False, False), (False, False)]
    back_and_up(database, "0009")
    intents = "SELECT intent_at IS NOT DISTINCT FROM tombstone_at, intent_seq, log_end FROM exclusions"
    assert await rows(database, intents) == [(True, None, None)] * 4

    async with serving(installation) as place:
        assert await place.receipt(team, asked[0].id) == old
        async with place.process(Crasher(), runs_per_entry=_PAGE) as parts:
            assert await parts.worker.work(team)
        receipts = [await place.receipt(team, each.id) for each in asked]
        assert {(await place.find(team, each.id)).state for each in asked} == {ExclusionState.DONE}
        assert [receipt.intent is None for receipt in receipts] == [True, True, False, False]
        assert receipts[2].run_ids == sorted(run.run_id for run in partly)
        assert [receipt.backups_deleted for receipt in receipts] == [1, 1, 5, 1]
    assert (await installation.verdict(team)).problems == []
    with databases.empty("coreo_results") as empty:
        await installation.restore(empty)
        assert await rows(empty, "SELECT run_id FROM runs") == [(kept.run_id,)]
