"""The first part of a destroy: what would go, and what is kept. And whether that is still so."""

from dataclasses import dataclass

import msgspec

from coreo_shared.cloudformation.reading import TemplateTextError, read_template
from coreo_shared.contracts.deploys import Checkpoint, Preview
from coreo_worker.aws.stacks import Stack, StackRefusalError
from coreo_worker.deploy.previews import Subject, preview_of_removal, refusal
from coreo_worker.deploy.problems import Problem, ProblemError
from coreo_worker.deploy.protocol import Ended
from coreo_worker.deploy.run import DeployRun
from coreo_worker.deploy.statuses import DELETED, REVIEW, obstacle


@dataclass
class Removal:
    """Makes the preview of a destroy."""

    run: DeployRun

    async def execute(self) -> Ended:
        """Raises StackTroubleError and StackRefusalError."""
        run = self.run
        checkpoint = run.claim.checkpoint or Checkpoint(step="listing", began_at=run.now)
        stack = await run.stacks.find(run.spec.stack_name)
        if stack is None or stack.status == DELETED:
            return Ended(outcome="completed", no_change=True, reason="NO_CHANGE: there is no such stack.")
        problem = obstacle(run.spec.action, stack.status) or _protected(stack)
        if problem is not None:
            return await run.fail(problem, checkpoint, stack.status)
        preview = await preview_of(run, stack)
        facts = checkpoint.facts | {"total": len(preview.changes), "operation": preview.operation}
        checkpoint = msgspec.structs.replace(
            checkpoint, step="prepared", stack_arn=stack.arn, hash=preview.hash, facts=facts
        )
        await run.voice.store(preview, checkpoint)
        problem = refusal(preview, run.spec)
        if problem is not None:
            return await run.fail(problem, checkpoint, stack.status)
        if run.canceled.is_set():
            return Ended(outcome="canceled")
        return Ended(outcome="prepared", checkpoint=checkpoint)


async def preview_of(run: DeployRun, stack: Stack) -> Preview:
    """What deleting this stack would do."""
    resources = [] if stack.status == REVIEW else await run.stacks.resources(stack.arn)
    template = None
    if stack.status != REVIEW:
        try:
            template = read_template(await run.stacks.template(stack.arn))
        except (StackRefusalError, TemplateTextError):
            template = None  # the preview says so
    return preview_of_removal(
        Subject(run.account_id, run.spec, stack),
        [resource for resource in resources if resource.status != DELETED],
        template if template is not None or resources else {},
        made_at=run.now,
    )


async def still_to_remove(run: DeployRun, checkpoint: Checkpoint) -> bool:
    """Whether the stack is as people saw it when they approved that it be deleted."""
    stack = await run.stacks.find(checkpoint.stack_arn or run.spec.stack_name)
    if stack is None or obstacle(run.spec.action, stack.status) is not None or stack.status == DELETED:
        return False
    problem = _protected(stack)
    if problem is not None:
        raise ProblemError(problem)
    return (await preview_of(run, stack)).hash == checkpoint.hash


def _protected(stack: Stack) -> Problem | None:
    if not stack.is_protected:
        return None
    return Problem(
        code="stack_protected",
        reason="The stack's termination protection is on. Apply the plan with it off first, then destroy.",
    )
