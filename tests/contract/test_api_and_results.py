"""The api and the results service, each as it is, speak with each other: feed, cancel, expiry, findings, refusals."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest

from coreo_api.dispatch.wishes import Wishes
from coreo_shared.contracts.jobs import Job
from coreo_shared.contracts.results import FinishRun, PutChunk
from tests.support.api import Api, ApiFactory, Team, VirtualClock, ok, problem, until
from tests.support.results import ResultsService, RunClient, make_finding


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def api(make_api: ApiFactory, service: ResultsService, clock: VirtualClock) -> Api:
    return make_api(results_transport=httpx.ASGITransport(service.app), clock=clock)


def worker_of(service: ResultsService, job: Job) -> RunClient:
    """A worker that has what the job gave it, and no more."""
    worker = service.run(job.team_id, job.run_id)
    worker.token = job.run_token
    return worker


async def reaches(team: Team, run: Any, state: str) -> None:
    async def is_there() -> bool:
        return bool((await team.show(run))["state"] == state)

    await until(is_there)


async def test_a_worker_with_the_job_alone_brings_the_run_to_its_end(api: Api, service: ResultsService) -> None:
    team = await api.team()
    async with api.running():
        run = await team.started_run()
        await until(lambda: api.queue.messages)
        worker = worker_of(service, api.queue.jobs()[0])
        fence = await worker.claimed()
        await reaches(team, run, "CLAIMED")
        findings = [make_finding(number) for number in range(3)]
        unit = "aws.s3.bucket@global"
        await worker.stored(PutChunk(fence=fence, unit=unit, index=0, final=True, findings=findings))
        await worker.say("finish", FinishRun(fence=fence, outcome="completed", units_total=1))
        await reaches(team, run, "SUCCEEDED")
        await check_what_is_seen(team, run)


async def check_what_is_seen(team: Team, run: Any) -> None:
    shown = await team.show(run)
    assert (shown["attempt"], shown["units_done"], shown["units_total"]) == (1, 1, 1)
    assert shown["counts"] == {"by_status": {"FAIL": 3}, "failed_by_severity": {"high": 3}}
    assert datetime.fromisoformat(shown["ended_at"]) <= datetime.now(UTC)
    path = f"/v1/runs/{run['id']}"
    (rule,) = ok(await team.http.get(f"{path}/rules"))["items"]
    assert rule["by_status"] == {"FAIL": 3}
    first = ok(await team.http.get(f"{path}/findings", params={"limit": 2, "status": "FAIL"}))
    assert (len(first["items"]), first["total"]) == (2, 3)
    query = {"limit": 2, "status": "FAIL", "cursor": first["next_cursor"]}
    rest = ok(await team.http.get(f"{path}/findings", params=query))
    assert {each["resource_id"] for each in first["items"] + rest["items"]} == {f"bucket-{n}" for n in range(3)}
    one = ok(await team.http.get(f"{path}/findings", params={"resource": "bucket-1"}))
    assert [each["resource_id"] for each in one["items"]] == ["bucket-1"]
    answer = await team.http.get(f"{path}/findings", params={"cursor": "made-up"})
    assert "made-up" not in str(problem(answer, 422, "query.cursor"))


async def test_run_that_nobody_took_has_no_findings_there_either(api: Api) -> None:
    team = await api.team()
    run = await team.started_run()
    assert ok(await team.http.get(f"/v1/runs/{run['id']}/findings"))["items"] == []
    assert ok(await team.http.get(f"/v1/runs/{run['id']}/rules"))["items"] == []


async def test_cancel_before_a_claim_ends_the_run_and_its_job_finds_it_over(api: Api, service: ResultsService) -> None:
    team = await api.team()
    async with api.running():
        run = await team.started_run()
        await until(lambda: api.queue.messages)
        ok(await team.http.post(f"/v1/runs/{run['id']}/cancel"), 202)
        await reaches(team, run, "CANCELED")
    assert (await team.show(run))["reason"] == "Canceled on request."
    late = await worker_of(service, api.queue.jobs()[0]).claim()
    assert (late.status_code, late.json()["code"]) == (409, "run_over")


async def test_cancel_of_a_claimed_run_reaches_its_worker(api: Api, service: ResultsService) -> None:
    team = await api.team()
    async with api.running():
        run = await team.started_run()
        await until(lambda: api.queue.messages)
        worker = worker_of(service, api.queue.jobs()[0])
        fence = await worker.claimed()
        ok(await team.http.post(f"/v1/runs/{run['id']}/cancel"), 202)

        async def is_asked() -> bool:
            return bool((await worker.say("heartbeat", {"fence": fence})).json()["cancel_requested"])

        await until(is_asked)
        await worker.say("finish", FinishRun(fence=fence, outcome="canceled"))
        await reaches(team, run, "CANCELED")


async def test_expiry_ends_the_run_with_what_to_check(api: Api, clock: VirtualClock) -> None:
    team = await api.team()
    run = await team.started_run()
    clock.now += timedelta(hours=6)
    await Wishes(api.context).step()
    async with api.running():
        await reaches(team, run, "EXPIRED")
    assert "6 hours" in (await team.show(run))["reason"]


async def test_another_teams_word_is_worth_nothing_at_the_results_service(api: Api, service: ResultsService) -> None:
    owner, stranger = await api.team(), await api.team()
    async with api.running():
        run = await owner.started_run()
        await until(lambda: api.queue.messages)
        fence = await worker_of(service, api.queue.jobs()[0]).claimed()
    assert fence == 1
    theirs = service.run(stranger.id, UUID(run["id"]))
    assert (await theirs.findings()).status_code == 404
    problem(await stranger.http.get(f"/v1/runs/{run['id']}/findings"), 404)
