"""A bootstrap: opened and carried out by a process of its own; this one never sees what was sealed."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, Protocol

from coreo_shared.contracts.jobs import Job
from coreo_shared.contracts.onboarding import BootstrapReport, BootstrapSpec, SealContext
from coreo_shared.observability.logs import get_logger
from coreo_worker.onboard.keys import SealingKeys
from coreo_worker.onboard.protocol import Begin, Broken, Outcome, Reported, pack_begin, unpack_outcome
from coreo_worker.onboard.words import expired
from coreo_worker.runner.planning import Completed, Ending, Interrupted
from coreo_worker.runner.work import ClaimedRun, attended

ONBOARDING_MODULE: Final = "coreo_worker.onboard.child"
ONBOARDING_MEMORY_MB: Final = 256
_LATE_SECONDS: Final = 10.0  # for a request that was sent in time
_PASSED_ON: Final = ("AWS_CA_BUNDLE", "AWS_ENDPOINT_URL", "SSL_CERT_FILE")
_log = get_logger(__name__)


def onboarding_environment(worker: Mapping[str, str]) -> dict[str, str]:
    """The environment of an onboarding's process, from the worker's: where AWS is, and nothing that says who we are."""
    return {name: worker[name] for name in _PASSED_ON if name in worker}


class OnboardingProcess(Protocol):
    """A fresh process of coreo_worker.onboard.child."""

    async def write(self, frame: bytes | bytearray) -> None:
        """Gives it a frame, with its length."""

    async def read(self) -> bytes | None:
        """Its frame, without the length; None once it has ended. Raises ProtocolError."""

    async def ending(self) -> str:
        """Waits for its end, and tells how it came about."""


@dataclass(frozen=True)
class BootstrapTools:
    """What a bootstrap is done with."""

    keys: SealingKeys
    open_process: Callable[[], AbstractAsyncContextManager[OnboardingProcess]]
    clock: Callable[[], float] = time.time

    def takes(self, job: Job) -> bool:
        """Whether this worker has a key for the job, or needs none."""
        return not isinstance(job.work, BootstrapSpec) or bool(self.keys.holding(job.work.sealed))


class Bootstrap:
    """A bootstrap in this worker's hands. Whatever AWS says is in the report, never an error."""

    def __init__(self, tools: BootstrapTools, claimed: ClaimedRun, spec: BootstrapSpec) -> None:
        self._tools = tools
        self._claimed = claimed
        self._spec = spec

    async def execute(self, giving_back: asyncio.Event) -> Ending:
        """As the port says."""
        return await attended(self._work(), self._claimed, giving_back)

    async def _work(self) -> Ending:
        left = self._claimed.job.exp - self._tools.clock()
        if left <= 0:
            return _late()
        async with self._tools.open_process() as process:
            try:
                async with asyncio.timeout(left + _LATE_SECONDS):
                    await self._begin(process)
                    body = await process.read()
            except TimeoutError:
                return _late()
            if body is None:
                return Interrupted(f"The process that makes the role ended unexpectedly ({await process.ending()}).")
        return _judged(unpack_outcome(body))

    async def _begin(self, process: OnboardingProcess) -> None:
        """The keys go from here to the process, and this copy of them is overwritten."""
        job = self._claimed.job
        context = SealContext(
            team_id=job.team_id,
            run_id=job.run_id,
            cloud_account_id=job.target.cloud_account_id,
            account_id=job.target.account_id,
            expires_at=job.exp,
        )
        keys = self._tools.keys.holding(self._spec.sealed)
        sealed = {key_id: self._spec.sealed[key_id] for key_id in keys}
        frame = pack_begin(Begin(run_id=job.run_id, context=context, keys=keys, sealed=sealed))
        try:
            await process.write(frame)
        finally:
            frame[:] = bytes(len(frame))


def _judged(outcome: Outcome) -> Ending:
    match outcome:
        case Reported(report=report):
            _log.info("bootstrapped", role=report.role, policy=report.policy, problem=report.problem)
            return Completed(report)
        case Broken(error=error):
            return Interrupted(f"An internal error ({error}) stopped the process that makes the role.")
        case _:
            return Interrupted("This worker could not open the sealed requests; another one may.")


def _late() -> Ending:
    problem = expired()
    return Completed(BootstrapReport(problem=problem.problem, detail=problem.detail))
