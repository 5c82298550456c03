"""The second part of an apply or destroy: what people approved is done, once, and followed to its end.

AWS is told only after the ledger has it that this begins. From then on each worker first looks what there is, and
`deciding` says what that means.
"""

from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from coreo_shared.contracts.deploys import (
    MAX_EVENTS_OF_PART,
    Checkpoint,
    DeployAction,
    StackEvent,
)
from coreo_worker.aws.stacks import Stack, StackRefusalError, StackTroubleError
from coreo_worker.deploy import deciding
from coreo_worker.deploy.deciding import SETTLE_SECONDS, CallOff, Look, NotDone, Over, Refuse, Step, Tell, Undo, Wait
from coreo_worker.deploy.ends import Ends
from coreo_worker.deploy.operation import Operation, cancel_token
from coreo_worker.deploy.pacing import after_trouble
from coreo_worker.deploy.problems import Problem, ProblemError, of_refusal
from coreo_worker.deploy.protocol import Ended
from coreo_worker.deploy.removal import still_to_remove
from coreo_worker.deploy.run import DeployRun, applied_at, events_since, parked, seconds_of
from coreo_worker.deploy.statuses import DELETED, is_busy, is_there
from coreo_worker.deploy.unknown import outcome_unknown

APPLYING: Final = "applying"
_BUSY_SECONDS: Final = 60.0
_MINUTE: Final = 60.0
_RACE: Final = frozenset({"InvalidChangeSetStatus", "InvalidChangeSetStatusException", "TokenAlreadyExistsException"})
_WAITS: Final = "CloudFormation is at work."


@dataclass
class Changing:
    """Does what was approved."""

    run: DeployRun
    checkpoint: Checkpoint = field(init=False)
    _operation: Operation = field(default_factory=Operation)
    _refusal: Problem | None = None
    _alone: bool = False
    _is_compared: bool = False
    is_applying: bool = False

    def __post_init__(self) -> None:
        known = self.run.claim.checkpoint
        self.checkpoint = known or Checkpoint(step=APPLYING, began_at=self.run.now)
        facts = self.checkpoint.facts
        status, ended = facts.get("status"), facts.get("ended")
        self._operation = Operation(
            started=bool(facts.get("started")),
            status=None if status is None else str(status),
            ended=None if ended is None else str(ended),
            is_sure=bool(facts.get("sure")),
            done=int(facts.get("done") or 0),
        )

    async def execute(self) -> Ended:
        """Raises StackTroubleError."""
        self.is_applying = self.run.claim.applying
        if not self.is_applying:
            ended = await self._begin()
            if ended is not None:
                return ended
            self.is_applying = self._alone = self._is_compared = True
        if self.checkpoint.protects_alone:
            return await self._protect()
        return await self._follow()

    async def after_trouble(self, cause: str, *, limit: int, kind: Literal["troubles", "refusals"]) -> Ended:
        """AWS cannot be asked what became of the change: later again, and after so many of a kind by people.

        They are counted until a look succeeds.
        """
        troubles = int(self.checkpoint.facts.get(kind) or 0) + 1
        self._remember(**{kind: troubles})
        if troubles < limit:
            return parked(self.checkpoint, after_trouble(troubles), f"{cause} Coreo looks again.")
        problem = outcome_unknown(self.run.spec.action, self.checkpoint, cause=cause)
        await self.run.store_failure(problem, self.checkpoint)
        return Ended(outcome="unknown", reason=problem.reason)

    @property
    def _is_destroy(self) -> bool:
        return self.run.spec.action is DeployAction.DESTROY

    @property
    def _stack(self) -> str:
        """What AWS is asked of: the stack that was previewed, not another one of its name."""
        return self.checkpoint.stack_arn or self.run.spec.stack_name

    @property
    def _change_set(self) -> str:
        return self.checkpoint.change_set_arn or self.run.change_set_name

    async def _begin(self) -> Ended | None:
        """None once the ledger has it that AWS is told; else how the run ends without."""
        run = self.run
        if run.canceled.is_set():
            return await self._call_off_first()
        problem = await self._changed()
        if problem is not None:
            await self._forget()
            return await run.fail(problem, self.checkpoint)
        digest = self.checkpoint.hash or ""
        applying = msgspec.structs.replace(self.checkpoint, step=APPLYING, applied_at=run.now)
        code = await run.voice.may_begin(digest, applying)
        if code is None:
            self.checkpoint = applying
            return None
        if code == "cancel_requested":
            return await self._call_off_first()
        if code == "target_busy":
            return parked(self.checkpoint, _BUSY_SECONDS, "Another run is changing this stack.")
        await self._forget()
        problem = Problem(
            "not_approved", "The change is not, or not any more, one that people approved. Nothing was done."
        )
        return await run.fail(problem, self.checkpoint)

    async def _call_off_first(self) -> Ended:
        """Before AWS was told anything. Who executes the run's change set all the same is not Coreo."""
        return await self._call_off() or await self.run.fail(deciding.stack_changed(), self.checkpoint)

    async def _changed(self) -> Problem | None:
        """Whether the stack is another one than people saw."""
        run, facts = self.run, self.checkpoint.facts
        if self._is_destroy:
            return None if await still_to_remove(run, self.checkpoint) else deciding.stack_changed()
        stack = await run.stacks.find(self._stack)
        before = facts.get("stack_updated_at")
        now = stack.updated_at if stack is not None and is_there(stack.status) else None
        if now != before or stack is None or stack.status == DELETED or is_busy(stack.status):
            return deciding.stack_changed()
        if self.checkpoint.protects_alone:
            return None
        made = await run.stacks.change_set(run.spec.stack_name, self._change_set)
        return None if made is not None and made.execution == "AVAILABLE" else deciding.stack_changed()

    async def _protect(self) -> Ended:
        """Sets it. Whoever takes the run over does it again: that changes nothing more, so no trace is looked for."""
        stack = await self.run.stacks.find(self._stack)
        if self.run.canceled.is_set() and stack is not None and self._ends.must_protect(stack):
            return Ended(outcome="canceled", reason="Canceled on request, before anything was changed.")
        return await self._ends.protected(stack)

    @property
    def _ends(self) -> Ends:
        return Ends(self.run, self.checkpoint, self._stack)

    async def _follow(self) -> Ended:
        """Looks and does what that asks for, until the operation is over or the run gives up its place."""
        run = self.run
        waiting = run.waiting(applied_at(self.checkpoint, run.clock()))
        while True:
            look, stack = await self._look()
            self._remember(troubles=0, refusals=0)
            step = (deciding.next_of_destroy if self._is_destroy else deciding.next_of_apply)(look)
            ended = await self._take(step, stack)
            if ended is not None:
                return ended
            if isinstance(step, Undo | Refuse):
                continue  # and see what came of it
            seconds = await waiting.pause()
            if seconds is not None:
                return parked(self.checkpoint, seconds, self._waits_for())

    async def _look(self) -> tuple[Look, Stack | None]:
        """What there is to see, with the new events stored."""
        run = self.run
        await self._read_events()
        stack = await run.stacks.find(self._stack)
        execution = None
        if not self._is_destroy and not self._operation.started:
            made = await run.stacks.change_set(run.spec.stack_name, self._change_set)
            execution = None if made is None else made.execution
        facts = self.checkpoint.facts
        look = Look(
            operation=self._operation,
            change_set=execution,
            stack=None if stack is None else stack.status,
            since=self._told_seconds,
            alone=self._alone,
            refusal=self._refusal,
            cancel=run.canceled.is_set() or (self._is_late() and not facts.get("late_refused")),
            told=bool(facts.get("undone")),
        )
        return look, stack

    @property
    def _told_seconds(self) -> float:
        """How long ago AWS was told, as far as that is known, or else may first have been."""
        now = self.run.clock()
        return now - max(applied_at(self.checkpoint, now), float(self.checkpoint.facts.get("told_at") or 0.0))

    async def _read_events(self) -> None:
        run = self.run
        since = events_since(self.checkpoint, run.clock())
        after = self.checkpoint.newest_event if self._operation.started else None
        events = await run.stacks.events(self._stack, after=after, since=since)
        while events:
            batch, events = events[:MAX_EVENTS_OF_PART], events[MAX_EVENTS_OF_PART:]
            self._operation, kept = self._operation.follow(batch, stack_arn=self._stack, token=run.run_id)
            if kept:
                await self._store(kept)
            if self._operation.is_sure:
                return

    async def _store(self, events: list[StackEvent]) -> None:
        """The events with the checkpoint that goes with them."""
        operation = self._operation
        self._remember(
            started=operation.started,
            status=operation.status,
            ended=operation.ended,
            sure=operation.is_sure,
            done=operation.done,
        )
        self.checkpoint = msgspec.structs.replace(
            self.checkpoint, newest_event=events[-1].event_id, parts=self.checkpoint.parts + 1
        )
        total = int(self.checkpoint.facts.get("total") or 0)
        done = min(operation.done, total)
        await self.run.voice.store_events(events, self.checkpoint, done=done, total=total)

    def _remember(self, **facts: Any) -> None:
        self.checkpoint = msgspec.structs.replace(self.checkpoint, facts=self.checkpoint.facts | facts)

    async def _take(self, step: Step, stack: Stack | None) -> Ended | None:
        """Does the step; how the run ends, if it does."""
        match step:
            case Tell():
                problem = await self._not_as_approved()
                if problem is None:
                    await self._tell()
                elif self._told_seconds >= SETTLE_SECONDS:
                    return await self._not_done(problem, stack)
            case Undo():
                await self._undo()
            case Refuse(reason):
                await self._refuse(reason)
            case CallOff():
                return await self._call_off()
            case NotDone(problem):
                return await self._not_done(problem, stack)
            case Over(status):
                return await self._ends.over(status, stack)
            case Wait():
                pass
            case _:
                problem = outcome_unknown(self.run.spec.action, self.checkpoint)
                await self.run.store_failure(problem, self.checkpoint, None if stack is None else stack.status)
                return Ended(outcome="unknown", reason=problem.reason)
        return None

    async def _not_as_approved(self) -> Problem | None:
        """Why a stack must not be deleted by who has not compared it himself; AWS knows of change sets, not of this."""
        if not self._is_destroy or self._is_compared:
            return None
        try:
            self._is_compared = await still_to_remove(self.run, self.checkpoint)
        except ProblemError as error:
            return error.problem
        return None if self._is_compared else deciding.stack_changed()

    async def _tell(self) -> None:
        """Whether AWS did it, the next look shows: also where its answer is lost."""
        run = self.run
        try:
            if self._is_destroy:
                await run.stacks.delete(self._stack, run.run_id, run.spec.service_role_arn)
            else:
                await run.stacks.execute(run.spec.stack_name, self._change_set, run.run_id)
        except StackRefusalError as refused:
            if refused.code not in _RACE:
                self._refusal = of_refusal(refused)
            return
        except StackTroubleError:
            await run.sleep(1.0)
        self._alone = False  # what AWS took, or may have, need not show yet
        self._remember(told_at=run.clock())

    async def _undo(self) -> None:
        try:
            await self.run.stacks.cancel_update(self._stack, cancel_token(self.run.run_id))
        except StackRefusalError as refused:
            problem = of_refusal(refused)
            reason = problem.reason if problem.denied_action else "AWS does not let this update be canceled now."
            await self._refuse(reason)
            return
        except StackTroubleError:
            await self.run.sleep(1.0)
            return
        self._remember(undone=True, late=self._is_late() and not self.run.canceled.is_set())

    async def _refuse(self, reason: str) -> None:
        """Says that it cannot be canceled: to who asked for it, each time."""
        if self._is_late():
            self._remember(late_refused=True)
        if self.run.canceled.is_set():
            self.run.canceled.clear()
            await self.run.voice.no_cancel(reason)

    def _is_late(self) -> bool:
        minutes = self.run.spec.timeout_minutes
        applied = self.checkpoint.applied_at
        return (
            minutes is not None and applied is not None and self.run.clock() > seconds_of(applied) + minutes * _MINUTE
        )

    def _waits_for(self) -> str:
        if self._is_late():
            return f"{_WAITS} It takes longer than the plan's time-out of {self.run.spec.timeout_minutes} minutes."
        return _WAITS

    async def _call_off(self) -> Ended | None:
        """Ends the run, once it is sure that nothing will be executed."""
        try:
            await self._drop()
        except StackRefusalError as refused:
            if refused.code in _RACE:
                return None  # it is being executed
            return await self.run.fail(of_refusal(refused), self.checkpoint)
        if self.is_applying and self._is_late() and not self.run.canceled.is_set():
            minutes = self.run.spec.timeout_minutes
            return Ended(outcome="canceled", reason=f"The plan's {minutes} minutes passed before anything was changed.")
        return Ended(outcome="canceled", reason="Canceled on request, before anything was changed.")

    async def _not_done(self, problem: Problem, stack: Stack | None) -> Ended | None:
        """Ends the run: nothing was executed, and nothing will be."""
        try:
            await self._drop()
        except StackRefusalError as refused:
            if refused.code in _RACE:
                self._refusal = None
                return None
        return await self.run.fail(problem, self.checkpoint, None if stack is None else stack.status)

    async def _drop(self) -> None:
        if not self._is_destroy:
            await self.run.stacks.drop_change_set(self.run.spec.stack_name, self._change_set)

    async def _forget(self) -> None:
        if not self._is_destroy:
            await self.run.forget(self._change_set)
