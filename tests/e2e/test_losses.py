"""Workers, messages and the results service are lost at bad moments: every run still ends, each finding stored once."""

import asyncio
import json
import time
from collections import Counter
from typing import TYPE_CHECKING
from uuid import UUID

import httpx
import psutil
import pytest

from coreo_embedded.calls import AwsRequest
from coreo_embedded.estate import Expected
from coreo_embedded.stack import Process
from coreo_shared.catalogue import load_catalogue
from coreo_shared.contracts.base import decode_json
from coreo_shared.contracts.jobs import JOB_TYPE, AuditSpec, Job, TargetAccount, job_audience
from coreo_shared.contracts.results import FindingPage
from coreo_shared.contracts.terms import Pool
from coreo_shared.contracts.tokens import (
    RESULTS_AUDIENCE,
    RUN_CAPABILITY_TYPE,
    SERVICE_TOKEN_TYPE,
    RunCapability,
    ServiceToken,
)
from coreo_shared.ids import new_id
from tests.support.stack import (
    RULE_SET,
    SOME_REGIONS,
    Site,
    findings_of,
    plan_for,
    start_run,
    until,
    until_ended,
    until_run,
)

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

pytestmark = pytest.mark.timeout(240)


@pytest.mark.parametrize("victim", ["parent", "child"])
async def test_killed_workers_change_no_finding(site: Site, http: httpx.AsyncClient, victim: str) -> None:
    """Three runs at once lose their worker, or its child alone: one as it begins, one a fifth of the way, one late."""
    plan_id = await plan_for(http, site, regions=SOME_REGIONS)
    workers = await asyncio.gather(*(asyncio.to_thread(site.worker, max_runs="1") for _ in range(3)))

    async def lose(run_id: str, share: float) -> None:
        await until_run(http, run_id, lambda run: run["state"] != "QUEUED")
        if share > 0:
            await until_run(http, run_id, lambda run: run["units_done"] > share * (run["units_total"] or 1e9))
        (parent,) = [worker for worker in workers if _has_claimed(worker, run_id)]

        async def at_work() -> psutil.Process | None:
            return next(iter(psutil.Process(parent.pid).children()), None)

        child = await until(at_work, what="the run's child")
        if victim == "child":
            child.kill()
            return
        parent.kill()
        _, alive = await asyncio.to_thread(psutil.wait_procs, [child], timeout=10)
        assert alive == []  # a child never outlives its parent

    try:
        hang = site.stack.simulator.fault(kind="hang", service="ec2", operation="DescribeVolumes")
        with hang:  # so that no run can end before its loss
            runs = [await start_run(http, plan_id) for _ in workers]
            await asyncio.gather(*(lose(run_id, share) for run_id, share in zip(runs, (0.0, 0.2, 0.7), strict=True)))
        if victim == "parent":
            workers = [site.worker(max_runs="3")]
        for run_id in runs:
            run = await until_ended(http, run_id)
            assert (run["state"], run["reason"], run["attempt"]) == ("SUCCEEDED", None, 2)
            assert await findings_of(http, run_id) == site.expected_in(SOME_REGIONS)
    finally:
        for worker in workers:
            worker.stop()


def _has_claimed(worker: Process, run_id: str) -> bool:
    lines = worker.log.read_text().splitlines()
    return any(event["event"] == "run_claimed" and event["run_id"] == run_id for event in map(json.loads, lines))


async def test_ten_deliveries_at_once_give_one_set_of_findings(site: Site) -> None:
    run_id = new_id()
    body = _job(site, run_id)
    before = len(site.stack.simulator.requests)
    role = site.stack.deployment.role_arns["worker-audit"].rpartition("/")[2]

    def calls() -> list[AwsRequest]:
        return [request for request in site.stack.simulator.requests[before:] if request.role == role]

    sqs: SQSClient = site.stack.simulator.root_client("sqs", site.stack.deployment.account_id)
    url = site.stack.deployment.queue_urls["audit"]
    for _ in range(10):
        sqs.send_message(QueueUrl=url, MessageBody=body)
    workers = [site.worker(max_runs="5") for _ in range(2)]
    try:

        async def all_deleted() -> bool | None:
            return True if sum(call.operation == "DeleteMessage" for call in calls()) == 10 else None

        await until(all_deleted, what="deletion of all ten", seconds=90)
        assert await _stored(site, run_id) == site.expected_in(SOME_REGIONS)
        sessions = [call for call in calls() if call.parameters.get("RoleArn") == site.estate.role_arn]
        assert len(sessions) == 1  # one delivery did the work
    finally:
        for worker in workers:
            worker.stop()


async def test_results_service_away_for_a_while_costs_nothing(site: Site, http: httpx.AsyncClient) -> None:
    worker = site.worker()
    try:
        plan_id = await plan_for(http, site, regions=SOME_REGIONS)
        with site.stack.simulator.fault(kind="delay", service="ec2", operation="DescribeVolumes", seconds=0.3):
            run_id = await start_run(http, plan_id)
            await until_run(http, run_id, lambda run: run["units_done"] > 5)
            site.results.kill()
            down_since = time.monotonic()
            assert (await http.get(f"/v1/runs/{run_id}/findings")).status_code == 503

        async def long_enough() -> bool | None:
            return True if time.monotonic() - down_since > 5 else None  # longer than the lease

        await until(long_enough, what="5 s of outage")
        port = int(site.results.url.rpartition(":")[2])
        site.results = site.stack.start_results(port=port, lease_seconds="4", sweep_seconds="0.5")
        run = await until_ended(http, run_id)
        assert run["state"] == "SUCCEEDED"
        assert await findings_of(http, run_id) == site.expected_in(SOME_REGIONS)
    finally:
        worker.stop()


async def test_stopped_worker_hands_its_run_on(site: Site, http: httpx.AsyncClient) -> None:
    first = site.worker(grace_seconds="0.5")
    second: Process | None = None
    try:
        plan_id = await plan_for(http, site, regions=SOME_REGIONS)
        with site.stack.simulator.fault(kind="delay", service="ec2", operation="DescribeVolumes", seconds=3):
            run_id = await start_run(http, plan_id)
            await until_run(http, run_id, lambda run: run["units_done"] > 5)
            await asyncio.to_thread(first.stop)
        second = site.worker()
        run = await until_ended(http, run_id)
        assert (run["state"], run["attempt"]) == ("SUCCEEDED", 2)
        assert await findings_of(http, run_id) == site.expected_in(SOME_REGIONS)
    finally:
        first.stop()
        if second is not None:
            second.stop()


def _job(site: Site, run_id: UUID) -> str:
    """A job as the api signs it, for a run the api knows nothing of."""
    now = int(time.time())
    times = {"iss": "coreo-api", "jti": str(run_id), "iat": now, "exp": now + 600}
    team, plan, account = UUID(site.team_id), new_id(), UUID(site.account["id"])
    capability = RunCapability(
        **times,  # type: ignore[arg-type]  # one dictionary of str and int
        aud=RESULTS_AUDIENCE,
        team_id=team,
        run_id=run_id,
        plan_id=plan,
        plan_revision=1,
        cloud_account_id=account,
        account_id=site.estate.account_id,
        pool=Pool.AUDIT,
    )
    target = TargetAccount(
        cloud_account_id=account,
        account_id=site.estate.account_id,
        partition="aws",
        role_arn=site.estate.role_arn,
        external_id=site.account["external_id"],
    )
    job = Job(
        **times,  # type: ignore[arg-type]  # one dictionary of str and int
        aud=job_audience(Pool.AUDIT),
        team_id=team,
        run_id=run_id,
        plan_id=plan,
        plan_revision=1,
        target=target,
        work=AuditSpec(rules=load_catalogue().select([], [RULE_SET]), regions=list(SOME_REGIONS)),
        run_token=site.stack.sign(capability, typ=RUN_CAPABILITY_TYPE),
    )
    return site.stack.sign(job, typ=JOB_TYPE)


async def _stored(site: Site, run_id: UUID) -> Counter[Expected]:
    """The findings that the results service has of a run."""
    now = int(time.time())
    claims = ServiceToken(
        iss="coreo-api",
        aud=RESULTS_AUDIENCE,
        jti="test",
        iat=now,
        exp=now + 60,
        scope="team",
        team_id=UUID(site.team_id),
    )
    headers = {"authorization": f"Bearer {site.stack.sign(claims, typ=SERVICE_TOKEN_TYPE)}"}
    async with httpx.AsyncClient(base_url=site.results.url, headers=headers, timeout=30) as client:
        answer = await client.get(f"/internal/v1/runs/{run_id}/findings", params={"limit": "1000"})
    assert answer.status_code == 200, answer.text
    page = decode_json(answer.content, FindingPage)
    assert page.next_cursor is None
    return Counter(Expected(f.rule_id, f.status, f.resource_id, f.region) for f in page.findings)
