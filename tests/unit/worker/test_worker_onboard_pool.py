"""The onboard pool's worker over its ports in memory: which work it does, and how that ends."""

import asyncio
from typing import Any

from coreo_shared.contracts.onboarding import DiscoverReport, DiscoverSpec, VerifySpec
from coreo_shared.contracts.terms import RunState
from coreo_worker.aws.errors import PermanentError, TemporaryError
from coreo_worker.runner.planning import Completed, Ending
from coreo_worker.runner.work import ClaimedRun, attended
from tests.support.onboard import OnboardWorld
from tests.support.worker import MemoryResults, until

REPORT = DiscoverReport(organization_id="o-1")


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
    world = OnboardWorld({DiscoverSpec: discovery, VerifySpec: verification})
    run_id = world.send(world.jobs.onboard(DiscoverSpec()))
    async with world.worker():
        run = await world.ended(run_id)
    assert (run.state, run.report, run.units_total) == (RunState.SUCCEEDED, REPORT, None)
    assert (discovery.specs, verification.specs) == ([DiscoverSpec()], [])


async def test_work_of_a_kind_that_the_worker_does_not_know_fails_and_says_so() -> None:
    world = OnboardWorld({DiscoverSpec: Doing(Completed(REPORT))})
    run_id = world.send(world.jobs.onboard(VerifySpec(actions=[])))
    async with world.worker():
        run = await world.ended(run_id)
    assert run.state is RunState.FAILED
    assert run.reason == (
        "The worker that took this job cannot do work of the kind verify. Bring the workers of its pool up to date, "
        "then start it again."
    )


async def test_what_cannot_be_done_fails_with_its_sentence() -> None:
    world = OnboardWorld({DiscoverSpec: Doing(PermanentError("Mend the role."))})
    run_id = world.send(world.jobs.onboard(DiscoverSpec()))
    async with world.worker():
        run = await world.ended(run_id)
    assert (run.state, run.reason, run.report) == (RunState.FAILED, "Mend the role.", None)


async def test_what_did_not_work_this_time_is_given_back() -> None:
    world = OnboardWorld({DiscoverSpec: Doing(TemporaryError("AWS is busy.", delay=1))})
    run_id = world.send(world.jobs.onboard(DiscoverSpec()))
    async with world.worker():
        run = await world.released(run_id)
    assert (run.state, run.reason) == (RunState.QUEUED, "AWS is busy.")


async def test_the_lease_is_kept_while_work_goes_on_and_cancelling_ends_it() -> None:
    doing = Doing(None)
    world = OnboardWorld({DiscoverSpec: doing}, results=MemoryResults(lease_seconds=0.15))
    run_id = world.send(world.jobs.onboard(DiscoverSpec()))
    async with world.worker():
        await doing.begun.wait()
        await until(lambda: world.results.runs[run_id].heartbeats >= 2)
        world.results.runs[run_id].cancel_requested = True
        run = await world.ended(run_id)
    assert (run.state, run.claims) == (RunState.CANCELED, 1)


async def test_a_worker_whose_time_is_up_gives_its_work_back() -> None:
    doing = Doing(None)
    world = OnboardWorld({DiscoverSpec: doing})
    run_id = world.send(world.jobs.onboard(DiscoverSpec()))
    async with world.worker() as stopping:
        await doing.begun.wait()
        stopping.drain("test")
        run = await world.released(run_id)
    assert (run.state, run.reason) == (RunState.QUEUED, "The worker was shut down.")
