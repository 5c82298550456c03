"""Runs of the onboard pool, which end with a report and have no plan; sealing keys; purging by cloud account."""

from typing import Any
from uuid import UUID

import pytest

from coreo_shared.contracts.base import decode_json
from coreo_shared.contracts.onboarding import Check, CheckName, CheckOutcome, VerifyReport
from coreo_shared.contracts.results import EventPage, FinishRun
from coreo_shared.contracts.terms import Pool
from coreo_shared.ids import new_id
from tests.support.results import CLOUD_ACCOUNT, ResultsService, RunClient, make_chunk

REPORT = VerifyReport(
    verdict="INSECURE",
    reason="The role lets callers in without an external id.",
    checks=[Check(name=CheckName.WITHOUT_EXTERNAL_ID, outcome=CheckOutcome.FAILED, detail="It got in.")],
    missing_actions=["s3:ListAllMyBuckets"],
)


def onboarding(service: ResultsService, **claims: Any) -> RunClient:
    run = service.run()
    known: dict[str, Any] = {"plan_id": None, "plan_revision": None, "pool": Pool.ONBOARD, **claims}
    run.token = service.tokens.run(run.team_id, run.run_id, **known)
    return run


async def test_a_report_goes_to_the_feed_with_the_end_of_its_run(service: ResultsService) -> None:
    run = onboarding(service)
    fence = await run.claimed()
    end = FinishRun(fence=fence, outcome="completed", report=REPORT)
    for _ in range(2):  # said twice is said once
        answer = await run.say("finish", end)
        assert (answer.status_code, answer.json()["state"]) == (200, "SUCCEEDED")
    page = decode_json((await service.call("GET", "/events", service.tokens.feed())).content, EventPage)
    assert [event.report for event in page.events] == [None, REPORT]


async def test_a_plan_is_whole_or_not_there(service: ResultsService) -> None:
    run = onboarding(service, plan_revision=1)
    assert (await run.claim()).status_code == 500
    assert (await service.events())["events"] == []


@pytest.mark.parametrize(
    ("pool", "end"),
    [
        (Pool.ONBOARD, {"outcome": "completed"}),
        (Pool.ONBOARD, {"outcome": "failed", "reason": "x", "report": REPORT}),
        (Pool.AUDIT, {"outcome": "completed", "units_total": 0, "report": REPORT}),
    ],
)
async def test_completed_runs_of_the_onboard_pool_and_no_others_report(
    service: ResultsService, pool: Pool, end: dict[str, Any]
) -> None:
    run = onboarding(service, pool=pool)
    answer = await run.say("finish", {"fence": await run.claimed(), **end})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body.report")
    assert (await run.last_event())["state"] == "CLAIMED"


async def test_a_report_with_control_characters_is_refused_by_field(service: ResultsService) -> None:
    run = onboarding(service)
    check = {"name": "account", "outcome": "passed", "detail": "SECRET\x00"}
    report = {"kind": "verify", "verdict": "UNVERIFIED", "reason": None, "checks": [check]}
    answer = await run.say("finish", {"fence": await run.claimed(), "outcome": "completed", "report": report})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "body.report.checks.0.detail")
    assert "SECRET" not in answer.text


async def test_sealing_keys_are_told_as_they_came_and_go_with_the_next_report(service: ResultsService) -> None:
    report = {"worker_id": "w", "version": "1.0", "host": "h", "started_at": "2026-01-01T00:00:00Z"}

    async def say(pool: Pool, key: str | None) -> int:
        body = {**report, "pool": pool, "sealing_key": key}
        answer = await service.call("POST", "/workers", service.tokens.fleet(pool, "w"), body)
        return answer.status_code

    async def keys() -> list[str | None]:
        workers = (await service.call("GET", "/workers", service.tokens.feed())).json()["workers"]
        return [worker["sealing_key"] for worker in workers]

    assert await say(Pool.ONBOARD, "a.b.c") == 200
    assert await keys() == ["a.b.c"]
    assert await say(Pool.ONBOARD, None) == 200
    assert await keys() == [None]
    assert await say(Pool.AUDIT, "a.b.c") == 422
    assert await say(Pool.ONBOARD, "x" * 5000) == 422


async def purge(service: ResultsService, run: RunClient, account: UUID = CLOUD_ACCOUNT) -> int:
    answer = await service.call("DELETE", f"/cloud-accounts/{account}/results", run.team_token)
    return answer.status_code


async def test_a_purge_destroys_the_results_of_the_accounts_runs_and_no_others(service: ResultsService) -> None:
    run, other = service.run(), service.run()
    for each in (run, other):
        fence = await each.claimed()
        await each.stored(make_chunk(fence))
        await each.say("finish", {"fence": fence, "outcome": "completed", "units_total": 1})
        assert (await each.findings()).json()["total"] == 1  # from here on its key is remembered
    assert await purge(service, run, new_id()) == 204
    assert (await run.findings()).json()["total"] == 1
    for _ in range(2):
        assert await purge(service, run) == 204
    for answer in (await run.findings(), await run.rules()):
        assert (answer.status_code, answer.json()["code"]) == (410, "results_purged")
    assert (await other.findings()).json()["total"] == 1  # another team's account of the same id
    async with service.app.state.services.database.transaction(run.team_id) as connection:
        for table in ("run_keys", "chunks", "units", "finding_groups"):
            assert (await connection.exec_driver_sql(f"SELECT count(*) FROM {table}")).scalar_one() == 0
    assert (await run.last_event())["state"] == "SUCCEEDED"


async def test_a_purge_waits_for_runs_at_work(service: ResultsService) -> None:
    run = service.run()
    fence = await run.claimed()
    assert await purge(service, run) == 409
    await run.say("finish", {"fence": fence, "outcome": "canceled"})
    assert await purge(service, run) == 204
