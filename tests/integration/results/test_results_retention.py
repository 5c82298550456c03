"""Results that go: when their time is over, and on request; first their key, then all the rest, and never back."""

import asyncio
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from coreo_results.retention import repository
from coreo_results.retention.repository import RetentionRepository
from coreo_results.retention.sweeper import RetentionSweeper
from coreo_shared.contracts.base import decode_json
from coreo_shared.contracts.custody import ResultsGone
from coreo_shared.contracts.life import ResolvedPage
from coreo_shared.contracts.terms import FindingStatus, GoneWhy
from coreo_shared.ids import new_id
from tests.support.results import CLOUD_ACCOUNT, PLAN, ResultsService, make_chunk, make_finding
from tests.support.retention import FAIL, PARTS, PASS, READS, Kept, is_gone, said

UNKNOWN = FindingStatus.NOT_EVALUATED
TODAY = datetime.now(UTC).date().isoformat()
CHUNKS = text("SELECT count(*) FROM chunks WHERE run_id = :run")


@pytest.fixture
def team(service: ResultsService, admin: asyncpg.Connection) -> Kept:
    return Kept(service, admin)


async def test_results_expire_when_their_time_is_over(team: Kept) -> None:
    suppression = {"resource": "bucket-1", "reason": "known", "author": "ann"}
    assert (await team.call("POST", "/suppressions", suppression)).status_code == 200
    old, young, at_work = await team.run(days=90.01), await team.run(days=89.9), await team.run(ended=False)
    other = await Kept(team.service, team.admin).run(days=90.01)
    for path in READS:  # so that there is something of everything, and its key is remembered
        assert (await said(old, path))[0] == 200
    assert await team.left(old) == {*PARTS} - {"resolved_findings", "run_documents"}

    assert await team.sweep() == 2
    detail = await is_gone(old, "results_expired")
    assert detail == f"The results of this run expired on {TODAY}."
    assert await team.left(old) == set()
    for run in (young, at_work):
        assert (await run.findings()).json()["total"] == 2
    await is_gone(other, "results_expired")
    assert await team.sweep() == 0
    event = await team.event(old)
    assert (event.state, event.counts.by_status) == ("SUCCEEDED", {FAIL: 1, PASS: 1})
    assert event.results_gone is not None
    assert (event.results_gone.why, event.results_gone.by) == (GoneWhy.EXPIRED, None)
    assert (await team.event(young)).results_gone is None
    assert await team.record() == [("retention", "EXPIRE", "run", old.run_id, {})]


@pytest.mark.parametrize(
    ("of_team", "of_plan", "days"), [(30, None, 30), (30, 60, 60), (None, 1, 1), (1826, None, 1826)]
)
async def test_the_plans_time_goes_before_the_teams(
    team: Kept, of_team: int | None, of_plan: int | None, days: int
) -> None:
    if of_team is not None:
        await team.call("PATCH", "/custody/settings", {"display_days": of_team})
    if of_plan is not None:
        await team.call("PATCH", f"/plans/{PLAN}/custody", {"display_days": of_plan})
    old, young = await team.run(days=days + 0.01), await team.run(days=days - 0.01)
    others = await team.run(days=89, plan_id=new_id())
    assert await team.sweep() == (2 if of_team is not None and of_team < 89 else 1)
    await is_gone(old, "results_expired")
    assert (await said(young, "findings"))[0] == 200
    assert (await said(others, "findings"))[0] == (410 if of_team is not None and of_team < 89 else 200)


async def test_many_plans_and_teams_are_swept_oldest_first_in_batches(
    team: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coreo_results.retention.sweeper._BATCH", 3)
    teams, plans = [team, Kept(team.service, team.admin)], [new_id(), new_id()]
    runs = [await each.run(days=100, plan_id=plan) for each in teams for plan in plans for _ in range(2)]
    kept = [await each.run(days=1, plan_id=plan) for each in teams for plan in plans]
    assert await team.sweep() == len(runs)
    for run in runs:
        assert (await said(run, "rules"))[0] == 410
    for run in kept:
        assert (await said(run, "rules"))[0] == 200


async def test_the_sweeper_looks_every_interval_and_outlives_a_failure(
    team: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = team.service.app.state.services
    sweeper = RetentionSweeper(services.system_database, services.retention, interval_seconds=0.01)
    sweep, stopping, calls = sweeper.sweep, asyncio.Event(), list[int]()

    async def fails_once(stop: asyncio.Event | None = None) -> int:
        calls.append(len(calls))
        if len(calls) == 1:
            raise ConnectionError("the database is away")
        expired: int = await sweep(stop)
        stopping.set()
        return expired

    monkeypatch.setattr(sweeper, "sweep", fails_once)
    run = await team.run(days=91)
    with capture_logs() as logs:
        await asyncio.wait_for(sweeper.run(stopping), 20)
    assert [log["event"] for log in logs if log["log_level"] == "error"] == ["retention_failed"]
    await is_gone(run, "results_expired")


async def test_a_run_that_cannot_be_deleted_holds_up_no_other(team: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = await team.run(days=100), await team.run(days=99)
    expire = team.service.app.state.services.retention.expire

    async def trips(team_id: UUID, run_id: UUID) -> bool:
        if run_id == bad.run_id:
            raise RuntimeError("a bug")
        return bool(await expire(team_id, run_id))

    monkeypatch.setattr(team.service.app.state.services.retention, "expire", trips)
    assert await team.sweep() == 1
    assert [(await said(run, "counts"))[0] for run in (bad, good)] == [200, 410]


async def test_counts_go_too_if_the_team_wants_none(team: Kept) -> None:
    before = await team.run({1: FAIL, 2: UNKNOWN}, days=91)
    await team.sweep()
    assert (await team.event(before)).counts.by_status == {FAIL: 1, UNKNOWN: 1}
    await team.call("PATCH", "/custody/settings", {"keep_counts": False})
    after, kept = await team.run(days=91), await team.run()
    other = await Kept(team.service, team.admin).run(days=91)
    await team.sweep()
    for run in (before, after):  # also of those that went when the team still wanted them
        event = await team.event(run)
        assert (event.counts.by_status, event.counts.failed_by_severity) == ({}, {})
        assert event.results_gone is not None
        row = await team.admin.fetchrow("SELECT counts, changes FROM runs WHERE run_id = $1", run.run_id)
        assert (row["counts"], row["changes"]) == ("{}", None)
    assert (await team.event(before)).reason == "Not everything could be evaluated."
    assert (await team.event(kept)).counts.by_status == {FAIL: 1, PASS: 1}
    assert (await team.event(other)).counts.by_status == {FAIL: 1, PASS: 1}


async def test_a_run_is_deleted_on_request_by_name(team: Kept) -> None:
    first, second = await team.run({1: FAIL}), await team.run({1: FAIL})
    assert (await said(second, "changes"))[0] == 200
    for news in (1, 0):
        answer = await team.call("DELETE", f"/runs/{first.run_id}/results")
        assert (answer.status_code, answer.json()) == (200, {"runs": news})
    assert await is_gone(first, "results_deleted") == f"The results of this run were deleted on {TODAY}, as ann asked."
    assert await team.left(first) == set()
    assert (await second.findings()).json()["total"] == 1
    third = await team.run({1: FAIL})
    (item,) = (await third.findings(full="true")).json()["findings"]
    assert (item["change"], item["first_run_id"]) == ("UNCHANGED", str(first.run_id))
    event = await team.event(first)
    assert event.results_gone == ResultsGone(at=event.results_gone.at, why=GoneWhy.REQUESTED, by="ann")  # type: ignore[union-attr]
    assert [entry[:4] for entry in await team.record()] == [("ann", "DELETE", "run", first.run_id)] * 2


async def test_what_a_deleted_run_had_found_is_counted_as_resolved_but_not_shown(team: Kept) -> None:
    first = await team.run({1: FAIL, 2: FAIL})
    second = await team.run({1: PASS, 2: FAIL})
    path = f"/runs/{second.run_id}/resolved"
    assert len(decode_json((await team.call("GET", path)).content, ResolvedPage).findings) == 1  # its key is remembered
    await team.call("DELETE", f"/runs/{first.run_id}/results")
    page = decode_json((await team.call("GET", path)).content, ResolvedPage)
    assert (page.total, page.findings) == (1, [])


async def test_runs_at_work_unknown_or_anothers_are_not_deleted(team: Kept) -> None:
    run = await team.run(ended=False)
    answer = await team.call("DELETE", f"/runs/{run.run_id}/results")
    assert (answer.status_code, answer.json()["code"]) == (409, "run_at_work")
    answer = await team.call("DELETE", f"/plans/{PLAN}/results")
    assert (answer.status_code, answer.json()["code"]) == (409, "runs_at_work")
    stranger = Kept(team.service, team.admin)
    for run_id in (run.run_id, new_id()):
        assert (await stranger.call("DELETE", f"/runs/{run_id}/results")).status_code == 404
    assert (await stranger.call("DELETE", f"/plans/{PLAN}/results")).json() == {"runs": 0}
    assert (await run.findings()).json()["total"] == 2
    assert await team.record() == []


async def test_a_plans_results_go_with_what_is_known_of_its_findings(team: Kept) -> None:
    accounts = [CLOUD_ACCOUNT, new_id()]
    runs = [await team.run({1: FAIL}, cloud_account_id=account) for account in accounts for _ in range(2)]
    other = await team.run({1: FAIL}, plan_id=new_id())
    for run in (*runs, other):
        assert (await said(run, "changes"))[0] == 200
    assert (await team.call("DELETE", f"/plans/{PLAN}/results")).json() == {"runs": 4}
    for run in runs:
        await is_gone(run, "results_deleted")
        assert await team.left(run) == set()
    assert await team.admin.fetchval("SELECT count(*) FROM finding_life WHERE plan_id = $1", PLAN) == 0
    assert (await other.findings()).json()["total"] == 1
    (item,) = (await (await team.run({1: FAIL})).findings(full="true")).json()["findings"]
    assert item["change"] == "NEW"
    assert await team.record() == [("ann", "DELETE", "plan", PLAN, {"runs": 4})]


async def test_purging_an_account_says_by_whose_wish(team: Kept) -> None:
    run, expired = await team.run(), await team.run(days=91)
    await team.sweep()
    assert (await team.call("DELETE", f"/cloud-accounts/{CLOUD_ACCOUNT}/results")).status_code == 204
    assert "as ann asked when its cloud account was disconnected" in await is_gone(run, "results_purged")
    await is_gone(expired, "results_expired")  # it had gone before
    assert (await team.record())[-1] == ("ann", "DELETE", "cloud_account", CLOUD_ACCOUNT, {"runs": 1})


@pytest.mark.parametrize("what", ["request", "sweep"])
async def test_the_key_is_gone_for_good_even_if_the_rest_cannot_be_deleted(
    team: Kept, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    run = await team.run(days=91)

    async def breaks(*_arguments: object) -> bool:
        raise ConnectionError("the process dies here")

    with monkeypatch.context() as patch:
        patch.setattr(RetentionRepository, "clear", breaks)
        if what == "sweep":
            assert await team.sweep() == 0
        else:
            assert (await team.call("DELETE", f"/runs/{run.run_id}/results")).status_code == 503
    assert {"chunks", "finding_groups"} <= await team.left(run)
    assert "run_keys" not in await team.left(run)
    await is_gone(run, "results_deleted" if what == "request" else "results_expired")
    await team.sweep()
    assert await team.left(run) == set()
    assert len(await team.record()) == 1


async def test_nothing_is_left_of_a_run_that_a_replica_of_before_clears(
    team: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It knows neither of totals nor of who saw findings first."""
    run = await team.run(days=91)
    firsts = "SELECT first_runs, first_seen FROM runs WHERE run_id = $1"
    await team.call("GET", f"/runs/{run.run_id}/changes")
    assert "run_totals" in await team.left(run)
    assert None not in await team.admin.fetchrow(firsts, run.run_id)
    statements = [each for each in repository._CLEAR if "run_totals" not in str(each[0])]
    assert len(statements) == len(repository._CLEAR) - 1
    monkeypatch.setattr(repository, "_CLEAR", statements)
    assert await team.sweep() == 1
    assert await team.left(run) == set()
    assert set(await team.admin.fetchrow(firsts, run.run_id)) == {None}


async def test_a_large_run_goes_in_bounded_steps(team: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    run = await team.run(ended=False)
    fence = 1
    for index in range(45):
        unit = "aws.ec2.instance@eu-west-1"
        await run.stored(make_chunk(fence, [make_finding(index)], unit=unit, index=index, final=index == 44))
    await run.say("finish", {"fence": fence, "outcome": "completed", "units_total": 2})
    steps: list[int] = []
    clear = RetentionRepository.clear

    async def counted(self: RetentionRepository, run_id: UUID) -> bool | None:
        cleared = await clear(self, run_id)
        steps.append(await self._connection.scalar(CHUNKS, {"run": run_id}))
        return cleared

    monkeypatch.setattr(RetentionRepository, "clear", counted)
    await team.call("DELETE", f"/runs/{run.run_id}/results")
    assert steps == [26, 6, 0]


async def test_a_request_clears_no_longer_than_its_caller_waits_and_the_sweeper_does_the_rest(
    team: Kept, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = [await team.run() for _ in range(3)]
    monkeypatch.setattr("coreo_results.retention.service._INLINE_SECONDS", 0.0)
    assert (await team.call("DELETE", f"/plans/{PLAN}/results")).json() == {"runs": 3}
    for run in runs:
        await is_gone(run, "results_deleted")
        assert "chunks" in await team.left(run)
    await team.sweep()
    assert [await team.left(run) for run in runs] == [set(), set(), set()]


async def test_a_run_begins_with_what_its_start_plan_and_team_say_of_backups(team: Kept) -> None:
    async def backed_up(**claims: Any) -> bool:
        run = await team.run(**claims)
        found: bool = await team.admin.fetchval("SELECT backup FROM runs WHERE run_id = $1", run.run_id)
        return found

    assert await backed_up()
    assert not await backed_up(backup=False)
    plan = new_id()
    await team.call("PATCH", f"/plans/{plan}/custody", {"backup": False})
    assert not await backed_up(plan_id=plan)
    assert await backed_up()
    await team.call("PATCH", "/custody/settings", {"backups": False})
    assert not await backed_up()
    await team.call("PATCH", "/custody/settings", {"backups": True})
    assert await backed_up()
