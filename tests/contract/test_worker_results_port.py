"""One suite for the worker's results port: the service itself over HTTP, and the one in memory that tests use."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import pytest

from coreo_shared.contracts.deploys import (
    BeginApply,
    Checkpoint,
    DeployAction,
    DeployTerms,
    ParkRun,
    PutDocument,
    PutEvents,
    RefuseCancel,
    StackEvent,
)
from coreo_shared.contracts.onboarding import DiscoveredAccount, DiscoverReport
from coreo_shared.contracts.results import FinishRun, RegisterWorker, ReleaseRun, RunHeartbeat
from coreo_shared.contracts.terms import Pool, RunState
from coreo_shared.crypto.jose import Signer
from coreo_shared.ids import new_id
from coreo_worker.runner import verdicts
from coreo_worker.runner.results import (
    HttpResults,
    Results,
    ResultsRefusedError,
    RunBusyError,
    RunChannel,
    RunOverError,
    RunSupersededError,
    StaleFenceError,
)
from tests.support.results import ResultsService, Tokens, make_chunk, make_root_key, make_settings, running
from tests.support.worker import MemoryResults, MemoryRun, make_preview

LEASE = 30.0


@dataclass
class Subject:
    """The port, runs on it, and the api's wish to cancel one."""

    results: Results
    open: Callable[[UUID], RunChannel]
    onboard: Callable[[UUID], RunChannel]  # a run of the onboard pool
    deploy: Callable[[UUID, int], RunChannel]  # a run of the deploy pool, with a job's ticket; it needs no approval
    cancel: Callable[[UUID], Awaitable[None]]


@asynccontextmanager
async def in_memory() -> AsyncIterator[Subject]:
    results = MemoryResults(lease_seconds=LEASE)

    async def cancel(run_id: UUID) -> None:
        run = results.runs[run_id]
        run.cancel_requested = True
        if not run.held:
            run.state = RunState.CANCELED

    def open_run(run_id: UUID) -> RunChannel:
        return results.run(run_id, "token")

    def open_deploy(run_id: UUID, ticket: int) -> RunChannel:
        results.runs.setdefault(run_id, MemoryRun(is_deploy=True, approvals=0))
        return results.run(run_id, f"token#{ticket}")

    yield Subject(results, open_run, open_run, open_deploy, cancel)


@asynccontextmanager
async def over_http(request: pytest.FixtureRequest, directory: Path) -> AsyncIterator[Subject]:
    tokens, team = Tokens(), new_id()
    database = request.getfixturevalue("results_database")
    settings = make_settings(database, tokens, make_root_key(directory), lease_seconds=LEASE)
    async with running(settings) as app:
        service = ResultsService(app, tokens)
        results = HttpResults(
            "http://results", Signer(tokens.fleet_jwks[Pool.AUDIT]), transport=httpx.ASGITransport(app)
        )

        async def cancel(run_id: UUID) -> None:
            assert (await service.run(team, run_id).cancel()).status_code == 200

        def open_run(run_id: UUID, **claims: Any) -> RunChannel:
            return results.run(run_id, tokens.run(team, run_id, **claims))

        def open_deploy(run_id: UUID, ticket: int) -> RunChannel:
            terms = DeployTerms(action=DeployAction.APPLY, target_id=run_id, approvals=0)
            return open_run(run_id, pool=Pool.DEPLOY, deploy=terms, ticket=ticket)

        onboard = partial(open_run, pool=Pool.ONBOARD, plan_id=None, plan_revision=None)
        yield Subject(results, open_run, onboard, open_deploy, cancel)
        await results.close()


@pytest.fixture(params=["memory", "http"])
async def subject(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Subject]:
    async with in_memory() if request.param == "memory" else over_http(request, tmp_path) as made:
        yield made


@pytest.fixture
def run(subject: Subject) -> RunChannel:
    return subject.open(new_id())


async def test_a_run_is_claimed_fed_and_finished(run: RunChannel) -> None:
    claim = await run.claim("w1")
    assert (claim.attempt, claim.units_done, claim.lease_seconds, claim.cancel_requested) == (1, [], LEASE, False)
    beat = await run.heartbeat(RunHeartbeat(fence=claim.fence, units_total=1))
    assert (beat.lease_seconds, beat.cancel_requested) == (LEASE, False)
    await run.put(make_chunk(claim.fence))
    await run.put(make_chunk(claim.fence))
    end = FinishRun(fence=claim.fence, outcome="completed", units_total=1)
    assert (await run.finish(end)).state is RunState.SUCCEEDED
    assert (await run.finish(end)).state is RunState.SUCCEEDED


async def test_a_run_of_the_onboard_pool_is_finished_with_its_report(subject: Subject) -> None:
    accounts = [
        DiscoveredAccount(account_id=f"{number:012}", name="n" * 50, status="ACTIVE", joined_at="2026-01-02T03:04:05Z")
        for number in range(10_000)
    ]
    for report in (verdicts.report_of([]), DiscoverReport(organization_id="o-1", accounts=accounts)):
        run = subject.onboard(new_id())
        claim = await run.claim("w1")
        await run.heartbeat(RunHeartbeat(fence=claim.fence))
        end = FinishRun(fence=claim.fence, outcome="completed", report=report)
        assert (await run.finish(end)).state is RunState.SUCCEEDED


@pytest.mark.parametrize("worker", ["w1", "w2"])
async def test_a_held_run_is_busy_for_its_lease(run: RunChannel, worker: str) -> None:
    await run.claim("w1")
    with pytest.raises(RunBusyError) as busy:
        await run.claim(worker)
    assert LEASE - 5 < busy.value.retry_after <= LEASE


async def test_a_run_given_back_is_claimed_under_a_new_fence_with_its_units(run: RunChannel) -> None:
    first = await run.claim("w1")
    await run.put(make_chunk(first.fence))
    await run.put(make_chunk(first.fence, unit="aws.ec2.instance@eu-west-1", final=False))
    given = await run.release(ReleaseRun(fence=first.fence, reason="The worker was shut down."))
    assert given.state is RunState.QUEUED
    second = await run.claim("w2")
    assert second.fence > first.fence
    assert (second.attempt, second.units_done) == (2, ["aws.s3.bucket@global"])
    for call in (
        run.heartbeat(RunHeartbeat(fence=first.fence)),
        run.put(make_chunk(first.fence)),
        run.finish(FinishRun(fence=first.fence, outcome="completed")),
        run.release(ReleaseRun(fence=first.fence, reason="r")),
    ):
        with pytest.raises(StaleFenceError):
            await call


async def test_a_run_that_is_over_is_over_for_everyone(run: RunChannel) -> None:
    claim = await run.claim("w1")
    await run.finish(FinishRun(fence=claim.fence, outcome="failed", reason="It cannot work."))
    for call in (
        run.claim("w2"),
        run.heartbeat(RunHeartbeat(fence=claim.fence)),
        run.put(make_chunk(claim.fence)),
        run.release(ReleaseRun(fence=claim.fence, reason="r")),
    ):
        with pytest.raises(RunOverError):
            await call


async def test_a_heartbeat_tells_that_somebody_asked_for_the_end(subject: Subject) -> None:
    run_id = new_id()
    run = subject.open(run_id)
    claim = await run.claim("w1")
    await subject.cancel(run_id)
    assert (await run.heartbeat(RunHeartbeat(fence=claim.fence))).cancel_requested
    assert (await run.finish(FinishRun(fence=claim.fence, outcome="canceled"))).state is RunState.CANCELED


async def test_a_deploy_is_parked_begun_and_ended(subject: Subject) -> None:
    run_id, checkpoint = new_id(), Checkpoint(step="s", stack_arn="arn:x")
    first = subject.deploy(run_id, 0)
    claim = await first.claim("w1")
    assert claim.deploy is not None
    assert (claim.deploy.applying, claim.deploy.approvals, claim.deploy.checkpoint) == (False, 0, None)
    with pytest.raises(ResultsRefusedError, match="no_preview"):
        await first.park(ParkRun(fence=claim.fence, await_approval=True, checkpoint=checkpoint))
    await first.put_document(PutDocument(fence=claim.fence, document=make_preview(), checkpoint=checkpoint))
    with pytest.raises(ResultsRefusedError, match="not_approved"):
        await first.begin_apply(BeginApply(fence=claim.fence, hash="0" * 64, checkpoint=checkpoint))
    with pytest.raises(ResultsRefusedError, match="not_applying"):
        await first.finish(FinishRun(fence=claim.fence, outcome="rolled_back", reason="r"))
    parked = await first.park(ParkRun(fence=claim.fence, resume_seconds=0, checkpoint=checkpoint, reason="waits"))
    assert (parked.state, parked.reason) == (RunState.RUNNING, "waits")
    with pytest.raises(RunSupersededError):
        await subject.deploy(run_id, 0).claim("w2")

    second = subject.deploy(run_id, 1)
    claim = await second.claim("w2")
    assert claim.deploy is not None
    assert (claim.deploy.checkpoint, claim.deploy.events_parts) == (checkpoint, 0)
    begin = BeginApply(fence=claim.fence, hash=make_preview().hash, checkpoint=checkpoint)
    assert (await second.begin_apply(begin)).state is RunState.APPLYING
    event = StackEvent(event_id="e1", at="2026-01-31T12:00:00Z", logical_id="L", type="T", status="S")
    later = Checkpoint(step="later")
    for _ in range(2):
        await second.put_events(PutEvents(fence=claim.fence, part=0, events=[event], checkpoint=later, done=1, total=2))
    await subject.cancel(run_id)
    assert (await second.heartbeat(RunHeartbeat(fence=claim.fence))).cancel_requested
    await second.refuse_cancel(RefuseCancel(fence=claim.fence, reason="too late"))
    assert not (await second.heartbeat(RunHeartbeat(fence=claim.fence))).cancel_requested
    given = await second.release(ReleaseRun(fence=claim.fence, reason="The worker was shut down."))
    assert given.state is RunState.APPLYING

    third = subject.deploy(run_id, 2)
    claim = await third.claim("w3")
    assert claim.deploy is not None
    assert (claim.deploy.applying, claim.deploy.events_parts, claim.deploy.checkpoint) == (True, 1, later)
    unknown = FinishRun(fence=claim.fence, outcome="unknown", reason="Nobody knows.")
    assert (await third.finish(unknown)).state is RunState.OUTCOME_UNKNOWN
    with pytest.raises(RunSupersededError):
        await subject.deploy(run_id, 2).claim("w4")


async def test_a_worker_registers(subject: Subject) -> None:
    worker = RegisterWorker(
        worker_id="w1",
        pool=Pool.AUDIT,
        version="1",
        host="h",
        started_at="2026-01-31T12:00:00+00:00",
        current_runs=[new_id()],
        rejected_jobs={"expired": 1},
    )
    answer = await subject.results.register(worker)
    assert answer.interval_seconds > 0
    assert not answer.drain


async def test_another_runs_token_opens_nothing(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    async with over_http(request, tmp_path) as subject:
        assert isinstance(subject.results, HttpResults)
        wrong = subject.results.run(new_id(), "not.a.token")
        with pytest.raises(ResultsRefusedError, match="401"):
            await wrong.claim("w1")
