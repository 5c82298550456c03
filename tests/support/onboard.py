"""A worker of the onboard pool over its ports in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import UUID

from coreo_shared.contracts.jobs import Job
from coreo_shared.contracts.terms import Pool
from coreo_shared.crypto.jose import public_jwk
from coreo_worker.runner.consumer import Consumer
from coreo_worker.runner.gate import JobGate
from coreo_worker.runner.handler import JobHandler, Terms
from coreo_worker.runner.stopping import Stopping
from coreo_worker.runner.work import Trades
from tests.support.worker import Jobs, MemoryQueue, MemoryResults, MemoryRun, until


@dataclass
class OnboardWorld:
    """A worker that does this work, and everything around it."""

    trades: Trades
    queue: MemoryQueue = field(default_factory=MemoryQueue)
    results: MemoryResults = field(default_factory=MemoryResults)
    jobs: Jobs = field(default_factory=Jobs)
    takes: Callable[[Job], bool] = lambda _: True  # whether the worker can do a job

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Stopping]:
        """At work; afterwards it is made to give back what it has, and has ended."""
        stopping = Stopping(grace_seconds=0.5)
        handler = JobHandler(
            "w1",
            gate=JobGate([public_jwk(self.jobs.tokens.api_jwk)], Pool.ONBOARD),
            results=self.results,
            trades=self.trades,
            stopping=stopping,
            terms=Terms(max_receives=5, patience_seconds=900, takes=self.takes),
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
        """Puts a job on the queue; its run."""
        self.queue.send(self.jobs.sign(job))
        return job.run_id

    async def ended(self, run_id: UUID) -> MemoryRun:
        """The run once it has ended and its message is dealt with."""
        await until(lambda: self.results.runs[run_id].state.is_final if run_id in self.results.runs else False)
        await until(lambda: not self.queue.ids)
        return self.results.runs[run_id]

    async def released(self, run_id: UUID) -> MemoryRun:
        """The run once it has been given back."""
        await until(lambda: "release" in self.results.calls)
        return self.results.runs[run_id]
