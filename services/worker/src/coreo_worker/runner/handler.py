"""One message from its first look to its fate: verify, claim, run, tell the ledger."""

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import structlog

from coreo_shared.contracts.deploys import DeployAction, DeploySpec, ParkRun
from coreo_shared.contracts.jobs import AuditSpec, Job
from coreo_shared.contracts.results import ClaimAnswer, FinishRun, ReleaseRun, RunAnswer
from coreo_shared.observability.logs import get_logger
from coreo_worker.aws.queue import ReceivedMessage
from coreo_worker.deploy.terms import DRIFT_RULE
from coreo_worker.runner import planning
from coreo_worker.runner.gate import JobGate, JobRefusedError
from coreo_worker.runner.keeper import MessageKeeper
from coreo_worker.runner.patience import persistently
from coreo_worker.runner.planning import Canceled, Delivery, Ending, Failed, Keep, MessageFate, Return, Word
from coreo_worker.runner.results import (
    Results,
    ResultsRefusedError,
    ResultsUnavailableError,
    RunBusyError,
    RunChannel,
    RunOverError,
    RunSupersededError,
    StaleFenceError,
)
from coreo_worker.runner.stopping import Stopping
from coreo_worker.runner.tasks import first_of
from coreo_worker.runner.work import ClaimedRun, Trades, ending_of

_log = get_logger(__name__)
_LONGEST_REASON: Final = 2_000  # of the results service
_OTHER_WORKER_SECONDS: Final = 1
_LEASE_MARGIN: Final = 2  # seconds: a message comes back after its run's lease
_LAST_WORDS_SECONDS: Final = 5.0  # for the ledger, once the worker's time is up


@dataclass(frozen=True)
class Terms:
    """What every message is handled under. `max_receives` is the queue's, see runner.planning.

    `patience_seconds`: how long a run waits for a results service that is down. `takes`: whether this worker can do
    the job; if not, the message is given back for another one before the run is claimed.
    """

    max_receives: int
    patience_seconds: float
    takes: Callable[[Job], bool] = lambda _: True


class JobHandler:
    """Sees messages through, any number at the same time. `trades` are the kinds of work it knows how to do."""

    def __init__(
        self, worker_id: str, *, gate: JobGate, results: Results, trades: Trades, stopping: Stopping, terms: Terms
    ) -> None:
        self._worker_id = worker_id
        self._gate = gate
        self._results = results
        self._trades = trades
        self._stopping = stopping
        self._terms = terms
        self._current: set[UUID] = set()

    @property
    def current_runs(self) -> list[UUID]:
        """The runs claimed by this worker now."""
        return sorted(self._current)

    async def handle(self, message: ReceivedMessage, keeper: MessageKeeper) -> MessageFate:
        """Does what the message asks for, and says what shall become of it."""
        number = message.receive_count
        delivery = Delivery(number, self._terms.max_receives, random.random())  # noqa: S311  spreads retries, hides nothing
        try:
            job = self._gate.admit(message.body, message_id=message.id)
        except JobRefusedError as refused:
            return planning.after_unclaimed(delivery) if refused.may_be_ours else Keep.DELETE
        if self._stopping.draining.is_set():
            return Return(0)
        if not self._terms.takes(job):
            _log.info("job_of_another_worker", run_id=str(job.run_id), delivery=delivery.number)
            return Return(_OTHER_WORKER_SECONDS)
        channel = self._results.run(job.run_id, job.run_token)
        with structlog.contextvars.bound_contextvars(team_id=str(job.team_id), run_id=str(job.run_id)):
            claim = await first_of(self._claim(channel, job, delivery), self._too_late(Return(0)))
            if not isinstance(claim, ClaimAnswer):
                return claim
            keeper.outlast(math.ceil(claim.lease_seconds) + _LEASE_MARGIN)
            self._current.add(job.run_id)
            claimed = ClaimedRun(job, claim, channel, self._terms.patience_seconds)
            try:
                return await self._see_through(claimed, delivery)
            finally:
                self._current.discard(job.run_id)

    async def _claim(self, channel: RunChannel, job: Job, delivery: Delivery) -> ClaimAnswer | MessageFate:
        """The claim, or the fate of a message whose run cannot be had."""
        patience = self._terms.patience_seconds
        rules = _rules_of(job)
        try:
            claim = await persistently(lambda: channel.claim(self._worker_id, rules), patience=patience, what="claim")
        except RunBusyError as busy:
            fate = planning.after_busy(busy.retry_after, delivery)
            _log.info("run_busy", retry_after=busy.retry_after, delivery=delivery.number, dropped=fate is Keep.DELETE)
            return fate
        except (RunOverError, RunSupersededError) as error:
            _log.info("run_over", delivery=delivery.number, superseded=isinstance(error, RunSupersededError))
            return Keep.DELETE
        except (ResultsUnavailableError, ResultsRefusedError) as error:
            _log.error("run_not_claimed", problem=str(error), delivery=delivery.number)
            return planning.after_unclaimed(delivery)
        _log.info("run_claimed", attempt=claim.attempt, fence=claim.fence, units_done=len(claim.units_done))
        return claim

    async def _see_through(self, run: ClaimedRun, delivery: Delivery) -> MessageFate:
        try:
            ending = Canceled() if run.may_end_at_once else await self._work(run)
        except Exception as error:  # noqa: BLE001  whatever it is, the ledger must hear of it
            ending = ending_of(error)
            _log.warning("run_stopped", ending=type(ending).__name__, exc_info=error)
        return await self._settle(ending, run, delivery)

    async def _work(self, run: ClaimedRun) -> Ending:
        begin = self._trades.get(type(run.job.work))
        if begin is None:
            kind = run.job.work.__struct_config__.tag
            return Failed(
                f"The worker that took this job cannot do work of the kind {kind}. Bring the workers of its pool up to "
                "date, then start it again."
            )
        return await begin(run, run.job.work).execute(self._stopping.giving_back)

    async def _settle(self, ending: Ending, run: ClaimedRun, delivery: Delivery) -> MessageFate:
        """Tells the ledger how the run ended, and decides on the message."""
        planned = planning.after_run(ending, delivery)
        _log.info("run_ended", ending=type(ending).__name__, word=planned.word and planned.word.kind)
        if planned.word is None:
            return planned.message
        untold = planning.after_unclaimed(delivery)
        told = self._tell(run, planned.word, told=planned.message, untold=untold)
        return await first_of(told, self._too_late(untold, _LAST_WORDS_SECONDS))

    async def _tell(self, run: ClaimedRun, word: Word, *, told: MessageFate, untold: MessageFate) -> MessageFate:
        try:
            answer = await persistently(_call(run, word), patience=run.patience_seconds, what=word.kind)
        except StaleFenceError:
            return Keep.LEAVE
        except RunOverError:
            return Keep.DELETE
        except (ResultsUnavailableError, ResultsRefusedError) as error:
            _log.error("ledger_not_told", word=word.kind, problem=str(error))
            return untold
        _log.info("ledger_told", word=word.kind, state=answer.state)
        return told

    async def _too_late(self, fate: MessageFate, after_seconds: float = 0) -> MessageFate:
        """The fate of a message whose worker has no time left for it."""
        await self._stopping.giving_back.wait()
        await asyncio.sleep(after_seconds)
        return fate


def _rules_of(job: Job) -> list[str] | None:
    """The rules whose findings the run will bring."""
    if isinstance(job.work, AuditSpec):
        return job.work.rules
    is_drift = isinstance(job.work, DeploySpec) and job.work.action is DeployAction.DRIFT
    return [DRIFT_RULE] if is_drift else None


def _call(run: ClaimedRun, word: Word) -> Callable[[], Awaitable[RunAnswer]]:
    fence = run.claim.fence
    reason = None if word.reason is None else _printable(word.reason)
    if word.kind == "park":
        assert word.parked is not None  # noqa: S101  planning gives one with the other
        parking = ParkRun(
            fence=fence,
            resume_seconds=word.parked.resume_seconds,
            await_approval=word.parked.resume_seconds is None,
            checkpoint=word.parked.checkpoint,
            reason=reason,
        )
        return lambda: run.channel.park(parking)
    if word.kind == "release":
        back = ReleaseRun(fence=fence, reason=reason or "No reason was given.")
        return lambda: run.channel.release(back)
    end = FinishRun(
        fence=fence,
        outcome=word.kind,
        reason=reason,
        units_total=run.units_total,
        report=word.report,
        no_change=word.no_change,
    )
    return lambda: run.channel.finish(end)


def _printable(reason: str) -> str:
    """As the results service takes it: no control characters, and not too long."""
    return "".join(max(character, " ") for character in reason)[:_LONGEST_REASON]
