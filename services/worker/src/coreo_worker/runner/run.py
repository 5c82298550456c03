"""One claimed run: session, process, findings into the ledger, until one of its watchers says how it ended."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

from coreo_shared.contracts.jobs import AuditSpec, Job
from coreo_shared.contracts.results import ClaimAnswer, PutChunk, RunHeartbeat
from coreo_shared.observability.logs import get_logger
from coreo_worker.aws.clients import SessionCredentials
from coreo_worker.aws.errors import PermanentError, TemporaryError
from coreo_worker.aws.sts import RoleGate
from coreo_worker.runner import planning
from coreo_worker.runner.permissions import policy_for
from coreo_worker.runner.planning import Canceled, Completed, Ending, Failed, Interrupted, Stopped
from coreo_worker.runner.process import RunProcess
from coreo_worker.runner.protocol import (
    Cancel,
    Chunk,
    Credentials,
    Ended,
    NewCredentials,
    Planned,
    ProtocolError,
    Start,
)
from coreo_worker.runner.results import (
    ResultsRefusedError,
    ResultsUnavailableError,
    RunChannel,
    RunOverError,
    StaleFenceError,
)
from coreo_worker.runner.tasks import first_of, happens_within, persistently

_log = get_logger(__name__)
_CHUNKS_AT_ONCE: Final = 4  # on their way to the results service; the pipe, and so the audit, waits for them
_CANCEL_SECONDS: Final = 5.0  # for a process to stop by itself


@dataclass(frozen=True)
class Tools:
    """What a run is done with. `patience_seconds`: how long it waits for a results service that is down."""

    roles: RoleGate
    open_process: Callable[[], AbstractAsyncContextManager[RunProcess]]
    patience_seconds: float


class Run:
    """A run in this worker's hands."""

    def __init__(self, job: Job, audit: AuditSpec, claim: ClaimAnswer, channel: RunChannel, tools: Tools) -> None:
        self._job = job
        self._audit = audit
        self._claim = claim
        self._channel = channel
        self._tools = tools
        self._policy = policy_for(audit)
        self._beat_now = asyncio.Event()
        self._canceled = False
        self.units_total: int | None = None

    async def execute(self, giving_back: asyncio.Event) -> Ending:
        """Does the run and says how it ended; nothing of it is left at work then."""
        if self._policy.widened:
            _log.info("session_policy_widened", patterns=self._policy.widened)
        async with self._tools.open_process() as process:  # it starts up while the session is asked for
            return await first_of(self._work(process), self._beat(process), _stop(giving_back))

    async def _work(self, process: RunProcess) -> Ending:
        credentials = await self._assume()
        await process.send(self._start(credentials))
        return await first_of(self._feed(process), self._renew(process, credentials))

    async def _assume(self) -> SessionCredentials:
        return await self._tools.roles.assume(self._job.target, self._job.run_id, self._policy)

    def _start(self, credentials: SessionCredentials) -> Start:
        job = self._job
        return Start(
            run_id=str(job.run_id),
            team_id=str(job.team_id),
            account_id=job.target.account_id,
            partition=job.target.partition,
            rules=tuple(self._audit.rules),
            regions=tuple(self._audit.regions),
            parameters=self._audit.parameters,
            units_done=frozenset(self._claim.units_done),
            credentials=Credentials.of(credentials),
        )

    async def _feed(self, process: RunProcess) -> Ending:
        """Hands findings on until the process has said its last."""
        slots = asyncio.Semaphore(_CHUNKS_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            while not isinstance(frame := await process.receive(), Ended | None):
                if isinstance(frame, Planned):
                    self.units_total = frame.units_total
                    self._beat_now.set()
                else:
                    await slots.acquire()
                    group.create_task(self._put(frame)).add_done_callback(lambda _: slots.release())
        if frame is None:
            return Interrupted(f"The run's process ended unexpectedly ({await process.ending()}).")
        return self._judged(frame)

    def _judged(self, last: Ended) -> Ending:
        match last.outcome:
            case "completed":
                return Completed()
            case "canceled" if self._canceled:
                return Canceled()
            case "failed":
                return Failed(last.reason)
            case _:
                return Interrupted(last.reason or "The run's process stopped by itself.")

    async def _put(self, chunk: Chunk) -> None:
        body = PutChunk(
            fence=self._claim.fence, unit=chunk.unit, index=chunk.index, final=chunk.final, findings=chunk.findings
        )
        await persistently(lambda: self._channel.put(body), patience=self._tools.patience_seconds, what="chunk")

    async def _beat(self, process: RunProcess) -> Ending:
        """Keeps the lease; ends when somebody asked that the run end."""
        while True:
            await happens_within(self._beat_now, self._claim.lease_seconds / 3)
            self._beat_now.clear()
            answer = await persistently(
                lambda: self._channel.heartbeat(RunHeartbeat(fence=self._claim.fence, units_total=self.units_total)),
                patience=self._tools.patience_seconds,
                what="heartbeat",
            )
            if answer.cancel_requested:
                self._canceled = True
                await process.send(Cancel())
                await asyncio.sleep(_CANCEL_SECONDS)  # _feed ends first, unless the process does not listen
                return Canceled()

    async def _renew(self, process: RunProcess, credentials: SessionCredentials) -> Ending:
        """Hands the process a new session before the old one ends; raises when there is none to be had."""
        while True:
            await asyncio.sleep(planning.renewal_delay(credentials.expires_at - time.time()))
            try:
                credentials = await self._assume()
            except TemporaryError as error:
                if time.time() > credentials.expires_at:
                    raise
                _log.warning("session_not_renewed", problem=str(error))
                continue
            await process.send(NewCredentials(credentials=Credentials.of(credentials)))
            _log.info("session_renewed")


async def _stop(giving_back: asyncio.Event) -> Ending:
    await giving_back.wait()
    return Stopped()


def ending_of(error: Exception) -> Ending:  # noqa: PLR0911  one for each kind of error
    """How a run ended that raised this; of several errors, the first."""
    match error:
        case ExceptionGroup():
            return ending_of(error.exceptions[0])
        case PermanentError():
            return Failed(str(error))
        case TemporaryError():
            return Interrupted(str(error), error.delay)
        case StaleFenceError():
            return planning.Superseded()
        case RunOverError():
            return planning.Over()
        case ResultsUnavailableError():
            return planning.Unreachable()
        case ResultsRefusedError(status=401 | 403):  # nor would it take word of the end
            return planning.Unreachable()
        case ResultsRefusedError():
            return Failed(f"The results service did not take the findings ({error.code}). This is a fault in Coreo.")
        case ProtocolError():
            return Interrupted(f"The run's process sent what cannot be understood: {error}.")
        case _:
            return Interrupted(f"An internal error ({type(error).__name__}) stopped the run.")
