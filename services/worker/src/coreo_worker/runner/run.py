"""An audit: session, process, findings into the ledger, until one of its watchers says how it ended."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final

from coreo_shared.contracts.jobs import AuditSpec
from coreo_shared.contracts.results import PutChunk
from coreo_shared.observability.logs import get_logger
from coreo_worker.aws.errors import TemporaryError
from coreo_worker.aws.sts import RoleGate
from coreo_worker.runner import planning
from coreo_worker.runner.patience import persistently
from coreo_worker.runner.permissions import policies_for
from coreo_worker.runner.planning import Canceled, Completed, Ending, Failed, Interrupted
from coreo_worker.runner.process import RunProcess
from coreo_worker.runner.protocol import (
    Cancel,
    Chunk,
    Credentials,
    Ended,
    NewCredentials,
    Planned,
    SessionOver,
    Start,
)
from coreo_worker.runner.tasks import first_of, happens_within
from coreo_worker.runner.work import ClaimedRun, stopped

_log = get_logger(__name__)
_CHUNKS_AT_ONCE: Final = 4  # on their way to the results service; the pipe, and so the audit, waits for them
_CANCEL_SECONDS: Final = 5.0  # for a process to stop by itself


@dataclass(frozen=True)
class Tools:
    """What an audit is done with."""

    roles: RoleGate
    open_process: Callable[[], AbstractAsyncContextManager[RunProcess]]


class Run:
    """An audit in this worker's hands. Raises as `policies_for`."""

    def __init__(self, tools: Tools, claimed: ClaimedRun, audit: AuditSpec) -> None:
        self._tools = tools
        self._claimed = claimed
        self._audit = audit
        self._policies = policies_for(audit)
        self._beat_now = asyncio.Event()
        self._session_over = asyncio.Event()
        self._canceled = False

    async def execute(self, giving_back: asyncio.Event) -> Ending:
        """As the port says."""
        widened = [pattern for policy in self._policies for pattern in policy.widened]
        if widened:
            _log.info("session_policy_widened", patterns=widened)
        async with self._tools.open_process() as process:  # it starts up while the session is asked for
            return await first_of(self._work(process), self._beat(process), stopped(giving_back))

    async def _work(self, process: RunProcess) -> Ending:
        first, *others = await self._assume()
        await process.send(self._start(first, others))
        return await first_of(self._feed(process), self._renew(process, first.expires_at))

    async def _assume(self) -> list[Credentials]:
        """A session for each of the policies."""
        job, assume = self._claimed.job, self._tools.roles.assume
        return [
            Credentials.of(await assume(job.target, job.run_id, policy), policy.services) for policy in self._policies
        ]

    def _start(self, credentials: Credentials, others: list[Credentials]) -> Start:
        job = self._claimed.job
        return Start(
            run_id=str(job.run_id),
            team_id=str(job.team_id),
            account_id=job.target.account_id,
            partition=job.target.partition,
            rules=tuple(self._audit.rules),
            regions=tuple(self._audit.regions),
            packs=tuple(pack.text for pack in self._audit.packs),
            parameters=self._audit.parameters,
            units_done=frozenset(self._claimed.claim.units_done),
            credentials=credentials,
            others=tuple(others),
        )

    async def _feed(self, process: RunProcess) -> Ending:
        """Hands findings on until the process has said its last."""
        slots = asyncio.Semaphore(_CHUNKS_AT_ONCE)
        async with asyncio.TaskGroup() as group:
            while not isinstance(frame := await process.receive(), Ended | None):
                if isinstance(frame, Planned):
                    self._claimed.units_total = frame.units_total
                    self._beat_now.set()
                elif isinstance(frame, SessionOver):
                    self._session_over.set()
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
        claimed = self._claimed
        body = PutChunk(
            fence=claimed.claim.fence, unit=chunk.unit, index=chunk.index, final=chunk.final, findings=chunk.findings
        )
        await persistently(lambda: claimed.channel.put(body), patience=claimed.patience_seconds, what="chunk")

    async def _beat(self, process: RunProcess) -> Ending:
        """Keeps the lease; ends when somebody asked that the run end."""
        while True:
            await happens_within(self._beat_now, self._claimed.claim.lease_seconds / 3)
            self._beat_now.clear()
            if await self._claimed.beat():
                self._canceled = True
                await process.send(Cancel())
                await asyncio.sleep(_CANCEL_SECONDS)  # _feed ends first, unless the process does not listen
                return Canceled()

    async def _renew(self, process: RunProcess, expires_at: float) -> Ending:
        """Hands the process a new session before the old one ends, or once AWS says that it has.

        Raises when there is none to be had.
        """
        while True:
            delay = planning.renewal_delay(expires_at - time.time())
            over = await happens_within(self._session_over, delay)
            self._session_over.clear()
            try:
                first, *others = await self._assume()
            except TemporaryError as error:
                if over or time.time() > expires_at:
                    raise
                _log.warning("session_not_renewed", problem=str(error))
                continue
            await process.send(NewCredentials(credentials=first, others=tuple(others)))
            expires_at = first.expires_at
            _log.info("session_renewed")
