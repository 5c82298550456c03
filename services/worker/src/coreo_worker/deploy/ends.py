"""How a change that was begun ended, told to the ledger: with outputs, or with the first cause of what went wrong."""

from dataclasses import dataclass, replace

from coreo_shared.contracts.deploys import Checkpoint, DeployAction, Outputs, StackEvent
from coreo_worker.aws.stacks import Stack, StackRefusalError
from coreo_worker.deploy.operation import Operation, first_cause, is_of_stack
from coreo_worker.deploy.problems import Problem, of_refusal
from coreo_worker.deploy.protocol import Ended
from coreo_worker.deploy.run import DeployRun, events_since
from coreo_worker.deploy.statuses import DELETED, ended_badly, is_rolled_back, is_success


@dataclass(frozen=True)
class Ends:
    """The end of the run's operation on the stack."""

    run: DeployRun
    checkpoint: Checkpoint
    stack_arn: str

    async def over(self, status: str, stack: Stack | None) -> Ended:
        """The operation has ended with this status. Raises StackTroubleError and StackRefusalError."""
        is_destroy = self.run.spec.action is DeployAction.DESTROY
        if is_destroy and status == DELETED:
            return Ended(outcome="completed")
        if not is_destroy and is_success(status):
            return await self._succeeded(status, stack)
        return await self._failed(status)

    async def protected(self, stack: Stack | None) -> Ended:
        """Termination protection as the plan has it, where that is all there is to change. Raises StackTroubleError."""
        if stack is None or stack.status == DELETED:
            return await self.run.fail(ended_badly(DELETED), self.checkpoint, DELETED)
        problem = await self._protect(stack)
        if problem is not None:
            return await self.run.fail(problem, self.checkpoint, stack.status)
        return await self._store_outputs(stack.status, stack)

    def must_protect(self, stack: Stack) -> bool:
        """Whether the stack's termination protection is not as the plan has it."""
        return self.run.spec.termination_protection not in {None, stack.is_protected}

    async def _succeeded(self, status: str, stack: Stack | None) -> Ended:
        problem = None if stack is None else await self._protect(stack)
        reason = None
        if problem is not None:
            reason = f"The stack is as it should be, but not its termination protection. {problem.reason}"
        return await self._store_outputs(status, stack, reason)

    async def _store_outputs(self, status: str, stack: Stack | None, reason: str | None = None) -> Ended:
        outputs = list(stack.outputs) if stack is not None else []
        await self.run.voice.store(Outputs(stack_arn=self.stack_arn, stack_status=status, outputs=outputs))
        return Ended(outcome="completed", reason=reason)

    async def _protect(self, stack: Stack) -> Problem | None:
        """Termination protection as the plan has it; why it could not be done."""
        if not self.must_protect(stack):
            return None
        try:
            await self.run.stacks.protect(stack.arn, on=bool(self.run.spec.termination_protection))
        except StackRefusalError as refused:
            return of_refusal(refused)
        return None

    async def _failed(self, status: str) -> Ended:
        """Why, from the operation's first failure on; the stack's state decides how the run ends."""
        run = self.run
        events = await run.stacks.events(self.stack_arn, after=None, since=events_since(self.checkpoint, run.clock()))
        _, events = Operation().follow(events, stack_arn=self.stack_arn, token=run.run_id)
        cause = first_cause([*events, *await self._validation_errors(events)], self.stack_arn)
        if is_rolled_back(status):
            undone = self._why_undone()
            await run.store_failure(cause if undone is None else replace(cause, reason=undone), self.checkpoint, status)
            text = undone or f"AWS rolled the stack back ({status}): {cause.reason}"
            return Ended(outcome="rolled_back", reason=text)
        bad = ended_badly(status)
        if status == DELETED:
            return await run.fail(bad, self.checkpoint, status)
        problem = replace(cause, reason=f"{bad.reason} {cause.reason}", advice=(*cause.advice, *bad.advice))
        return await run.fail(problem, self.checkpoint, status)

    async def _validation_errors(self, events: list[StackEvent]) -> list[StackEvent]:
        """What AWS would not even begin with, where no resource's own failure says it."""
        if any(event.status.endswith("_FAILED") and not is_of_stack(event, self.stack_arn) for event in events):
            return []
        since = events_since(self.checkpoint, self.run.clock())
        try:
            return await self.run.stacks.validation_errors(self.stack_arn, since=since)
        except StackRefusalError:
            return []  # the stack's own events say at least that there are some

    def _why_undone(self) -> str | None:
        """Why an update was rolled back that did not fail."""
        facts = self.checkpoint.facts
        if not facts.get("undone"):
            return None
        if facts.get("late"):
            minutes = self.run.spec.timeout_minutes
            return f"It took longer than the plan's {minutes} minutes: AWS rolled the update back."
        return "Canceled on request: AWS rolled the update back."
