"""One message from its first look to its fate: verify, claim, run, tell the ledger."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog

from coreo_shared.contracts.jobs import AuditSpec, Job
from coreo_shared.contracts.results import ClaimAnswer, FinishRun, ReleaseRun, RunAnswer
from coreo_shared.observability.logs import get_logger
from coreo_worker.aws.queue import ReceivedMessage
from coreo_worker.runner import planning
from coreo_worker.runner.gate import JobGate, JobRefusedError
from coreo_worker.runner.keeper import MessageKeeper
from coreo_worker.runner.planning import Canceled, Delivery, Ending, Keep, MessageFate, Return, Word
from coreo_worker.runner.results import (
    Results,
    ResultsRefusedError,
    ResultsUnavailableError,
    RunBusyError,
    RunChannel,
    RunOverError,
    StaleFenceError,
)
from coreo_worker.runner.run import Run, Tools, ending_of
from coreo_worker.runner.stopping import Stopping
from coreo_worker.runner.tasks import first_of, persistently

_log = get_logger(__name__)
_LONGEST_REASON: Final = 2_000  # of the results service
_LEASE_MARGIN: Final = 2  # seconds: a message comes back after its run's lease
_LAST_WORDS_SECONDS: Final = 5.0  # for the ledger, once the worker's time is up


@dataclass(frozen=True)
class _Claimed:
    """A run in our hands, and how to speak of it."""

    channel: RunChannel
    answer: ClaimAnswer
    delivery: Delivery


class JobHandler:
    """Sees messages through, any number at the same time. `max_receives` is the queue's, see runner.planning."""

    def __init__(
        self, worker_id: str, *, gate: JobGate, results: Results, tools: Tools, stopping: Stopping, max_receives: int
    ) -> None:
        self._worker_id = worker_id
        self._gate = gate
        self._results = results
        self._tools = tools
        self._stopping = stopping
        self._max_receives = max_receives
        self._current: set[UUID] = set()

    @property
    def current_runs(self) -> list[UUID]:
        """The runs claimed by this worker now."""
        return sorted(self._current)

    async def handle(self, message: ReceivedMessage, keeper: MessageKeeper) -> MessageFate:
        """Does what the message asks for, and says what shall become of it."""
        number = message.receive_count
        delivery = Delivery(number, self._max_receives, random.random())  # noqa: S311  spreads retries, hides nothing
        try:
            job = self._gate.admit(message.body, message_id=message.id)
        except JobRefusedError as refused:
            return planning.after_unclaimed(delivery) if refused.may_be_ours else Keep.DELETE
        if self._stopping.draining.is_set():
            return Return(0)
        channel = self._results.run(job.run_id, job.run_token)
        with structlog.contextvars.bound_contextvars(team_id=str(job.team_id), run_id=str(job.run_id)):
            claim = await first_of(self._claim(channel, delivery), self._too_late(Return(0)))
            if not isinstance(claim, ClaimAnswer):
                return claim
            keeper.outlast(math.ceil(claim.lease_seconds) + _LEASE_MARGIN)
            self._current.add(job.run_id)
            try:
                return await self._see_through(job, _Claimed(channel, claim, delivery))
            finally:
                self._current.discard(job.run_id)

    async def _claim(self, channel: RunChannel, delivery: Delivery) -> ClaimAnswer | MessageFate:
        """The claim, or the fate of a message whose run cannot be had."""
        patience = self._tools.patience_seconds
        try:
            claim = await persistently(lambda: channel.claim(self._worker_id), patience=patience, what="claim")
        except RunBusyError as busy:
            fate = planning.after_busy(busy.retry_after, delivery)
            _log.info("run_busy", retry_after=busy.retry_after, delivery=delivery.number, dropped=fate is Keep.DELETE)
            return fate
        except RunOverError:
            _log.info("run_over", delivery=delivery.number)
            return Keep.DELETE
        except (ResultsUnavailableError, ResultsRefusedError) as error:
            _log.error("run_not_claimed", problem=str(error), delivery=delivery.number)
            return planning.after_unclaimed(delivery)
        _log.info("run_claimed", attempt=claim.attempt, fence=claim.fence, units_done=len(claim.units_done))
        return claim

    async def _see_through(self, job: Job, claimed: _Claimed) -> MessageFate:
        units_total: int | None = None
        try:
            if not isinstance(job.work, AuditSpec):
                raise TypeError(f"no way to do {type(job.work).__name__}")  # noqa: TRY301  the ledger must hear of it
            run = Run(job, job.work, claimed.answer, claimed.channel, self._tools)
            ending = Canceled() if claimed.answer.cancel_requested else await run.execute(self._stopping.giving_back)
            units_total = run.units_total
        except Exception as error:  # noqa: BLE001  whatever it is, the ledger must hear of it
            ending = ending_of(error)
            _log.warning("run_stopped", ending=type(ending).__name__, exc_info=error)
        return await self._settle(ending, claimed, units_total)

    async def _settle(self, ending: Ending, claimed: _Claimed, units_total: int | None) -> MessageFate:
        """Tells the ledger how the run ended, and decides on the message."""
        planned = planning.after_run(ending, claimed.delivery)
        _log.info("run_ended", ending=type(ending).__name__, word=planned.word and planned.word.kind)
        if planned.word is None:
            return planned.message
        untold = planning.after_unclaimed(claimed.delivery)
        told = self._tell(claimed, planned.word, units_total, told=planned.message, untold=untold)
        return await first_of(told, self._too_late(untold, _LAST_WORDS_SECONDS))

    async def _tell(
        self, claimed: _Claimed, word: Word, units_total: int | None, *, told: MessageFate, untold: MessageFate
    ) -> MessageFate:
        try:
            call = _call(claimed, word, units_total)
            answer = await persistently(call, patience=self._tools.patience_seconds, what=word.kind)
        except StaleFenceError:
            return Keep.LEAVE
        except RunOverError:
            return Keep.DELETE
        except (ResultsUnavailableError, ResultsRefusedError) as error:
            _log.error("ledger_not_told", word=word.kind, problem=str(error))
            return untold
        _log.info("ledger_told", state=answer.state)
        return told

    async def _too_late(self, fate: MessageFate, after_seconds: float = 0) -> MessageFate:
        """The fate of a message whose worker has no time left for it."""
        await self._stopping.giving_back.wait()
        await asyncio.sleep(after_seconds)
        return fate


def _call(claimed: _Claimed, word: Word, units_total: int | None) -> Callable[[], Awaitable[RunAnswer]]:
    channel, fence = claimed.channel, claimed.answer.fence
    reason = None if word.reason is None else _printable(word.reason)
    if word.kind == "release":
        back = ReleaseRun(fence=fence, reason=reason or "No reason was given.")
        return lambda: channel.release(back)
    end = FinishRun(fence=fence, outcome=word.kind, reason=reason, units_total=units_total)
    return lambda: channel.finish(end)


def _printable(reason: str) -> str:
    """As the results service takes it: no control characters, and not too long."""
    return "".join(max(character, " ") for character in reason)[:_LONGEST_REASON]
