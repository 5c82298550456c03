"""The onboard pool's worker over its ports in memory: which work it does, and how that ends."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from coreo_shared.contracts.jobs import Job
from coreo_shared.contracts.onboarding import DiscoverReport, DiscoverSpec, VerifySpec
from coreo_shared.contracts.terms import Pool, RunState
from coreo_shared.crypto.jose import public_jwk
from coreo_worker.aws.errors import PermanentError, TemporaryError
from coreo_worker.runner.consumer import Consumer
from coreo_worker.runner.gate import JobGate
from coreo_worker.runner.handler import JobHandler, Terms
from coreo_worker.runner.planning import Completed, Ending
from coreo_worker.runner.stopping import Stopping
from coreo_worker.runner.work import ClaimedRun, Trades, attended
from tests.support.worker import Jobs, MemoryQueue, MemoryResults, MemoryRun, until

REPORT = DiscoverReport(organization_id="o-1")


@dataclass
class World:
    """A worker of the onboard pool and everything around it, in memory."""

    trades: Trades
    queue: MemoryQueue = field(default_factory=MemoryQueue)
    results: MemoryResults = field(default_factory=MemoryResults)
    jobs: Jobs = field(default_factory=Jobs)

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Stopping]:
        stopping = Stopping(grace_seconds=0.5)
        handler = JobHandler(
            "w1",
            gate=JobGate([public_jwk(self.jobs.tokens.api_jwk)], Pool.ONBOARD),
            results=self.results,
            trades=self.trades,
            stopping=stopping,
            terms=Terms(max_receives=5, patience_seconds=900),
        )
        task = asyncio.create_task(Consumer(self.queue, handler, stopping, max_runs=2, visibility_seconds=60).run())
        try:
            yield stopping
        finally:
            stopping.signal("test")
            stopping.signal("test")
            await asyncio.wait_for(task, 10)
            stopping.close()

    def send(self, job: Job) -> UUID:
        self.queue.send(self.jobs.sign(job))
        return job.run_id

    async def ended(self, run_id: UUID) -> MemoryRun:
        await until(lambda: self.results.runs[run_id].state.is_final if run_id in self.results.runs else False)
        await until(lambda: not self.queue.ids)
        return self.results.runs[run_id]

    async def released(self, run_id: UUID) -> MemoryRun:
        await until(lambda: "release" in self.results.calls)
        return self.results.runs[run_id]


class Doing:
    """Work that ends as the test says; `begun` once it is under way."""

    def __init__(self, ending: Ending | Exception | None) -> None:
        self.begun = asyncio.Event()
        self.specs: list[Any] = []
        self._ending = ending

    def __call__(self, run: ClaimedRun, spec: Any) -> "Doing":
        self._run = run
        self.specs.append(spec)
        return self

    async def execute(self, giving_back: asyncio.Event) -> Ending:
        return await attended(self._work(), self._run, giving_back)

    async def _work(self) -> Ending:
        self.begun.set()
        if self._ending is None:
            await asyncio.Event().wait()
        if isinstance(self._ending, Exception):
            raise self._ending
        assert self._ending is not None
        return self._ending


async def test_work_goes_to_who_does_its_kind_and_its_report_to_the_ledger() -> None:
    discovery, verification = Doing(Completed(REPORT)), Doing(Completed())
    world = World({DiscoverSpec: discovery, VerifySpec: verification})
    run_id = world.send(world.jobs.onboard(DiscoverSpec()))
    async with world.worker():
        run = await world.ended(run_id)
    assert (run.state, run.report, run.units_total) == (RunState.SUCCEEDED, REPORT, None)
    assert (discovery.specs, verification.specs) == ([DiscoverSpec()], [])


async def test_work_of_a_kind_that_the_worker_does_not_know_fails_and_says_so() -> None:
    world = World({DiscoverSpec: Doing(Completed(REPORT))})
    run_id = world.send(world.jobs.onboard(VerifySpec(actions=[])))
    async with world.worker():
        run = await world.ended(run_id)
    assert run.state is RunState.FAILED
    assert run.reason == (
        "The worker that took this job cannot do work of the kind verify. Bring the workers of its pool up to date, "
        "then start it again."
    )


async def test_what_cannot_be_done_fails_with_its_sentence() -> None:
    world = World({DiscoverSpec: Doing(PermanentError("Mend the role."))})
    run_id = world.send(world.jobs.onboard(DiscoverSpec()))
    async with world.worker():
        run = await world.ended(run_id)
    assert (run.state, run.reason, run.report) == (RunState.FAILED, "Mend the role.", None)


async def test_what_did_not_work_this_time_is_given_back() -> None:
    world = World({DiscoverSpec: Doing(TemporaryError("AWS is busy.", delay=1))})
    run_id = world.send(world.jobs.onboard(DiscoverSpec()))
    async with world.worker():
        run = await world.released(run_id)
    assert (run.state, run.reason) == (RunState.QUEUED, "AWS is busy.")


async def test_the_lease_is_kept_while_work_goes_on_and_cancelling_ends_it() -> None:
    doing = Doing(None)
    world = World({DiscoverSpec: doing}, results=MemoryResults(lease_seconds=0.15))
    run_id = world.send(world.jobs.onboard(DiscoverSpec()))
    async with world.worker():
        await doing.begun.wait()
        await until(lambda: world.results.runs[run_id].heartbeats >= 2)
        world.results.runs[run_id].cancel_requested = True
        run = await world.ended(run_id)
    assert (run.state, run.claims) == (RunState.CANCELED, 1)


async def test_a_worker_whose_time_is_up_gives_its_work_back() -> None:
    doing = Doing(None)
    world = World({DiscoverSpec: doing})
    run_id = world.send(world.jobs.onboard(DiscoverSpec()))
    async with world.worker() as stopping:
        await doing.begun.wait()
        stopping.drain("test")
        run = await world.released(run_id)
    assert (run.state, run.reason) == (RunState.QUEUED, "The worker was shut down.")
