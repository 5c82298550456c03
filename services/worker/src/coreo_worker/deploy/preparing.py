"""The first part of an apply, and all of a preview: a change set is made, shown and judged. Nothing is executed.

Every step may be done again by another worker. A run has one change set, found again by its name.
"""

from dataclasses import dataclass, replace
from typing import Final

import msgspec

from coreo_shared.cloudformation.permissions import template_object
from coreo_shared.cloudformation.resolving import Place
from coreo_shared.contracts.deploys import Checkpoint, DeployAction, DeploySpec, Preview
from coreo_shared.templates import TemplateError, unpack
from coreo_worker.aws.stacks import (
    ChangeSet,
    ChangeSetOrder,
    Stack,
    StackRefusalError,
    StackTroubleError,
)
from coreo_worker.deploy.operation import first_cause
from coreo_worker.deploy.plain_secrets import check_no_plain_secret
from coreo_worker.deploy.previews import Judged, Subject, preview_of_changes, refusal
from coreo_worker.deploy.problems import Problem, ProblemError, of_refusal, template_unreadable
from coreo_worker.deploy.protocol import Ended
from coreo_worker.deploy.run import DeployRun, parked, seconds_of
from coreo_worker.deploy.statuses import obstacle, operation_for

PREPARED: Final = "prepared"
MAKING: Final = "making"
_MADE: Final = "CREATE_COMPLETE"
_FAILED: Final = "FAILED"
_GOING: Final = frozenset({"CREATE_PENDING", "CREATE_IN_PROGRESS"})
# AWS's ways to say that a change set is empty; there is no code for it.
_NOTHING: Final = ("didn't contain changes", "no updates are to be performed")


@dataclass
class Preparation:
    """Makes the preview of `run`."""

    run: DeployRun

    async def execute(self) -> Ended:
        """Raises StackTroubleError."""
        run = self.run
        checkpoint = run.claim.checkpoint or Checkpoint(step=MAKING, began_at=run.now)
        before = await run.stacks.find(run.spec.stack_name)
        status = None if before is None else before.status
        problem = obstacle(run.spec.action, status)
        if problem is not None:
            return await run.fail(problem, checkpoint, status)
        try:
            return await self._prepare(before, checkpoint)
        except (ProblemError, StackRefusalError) as error:
            problem = error.problem if isinstance(error, ProblemError) else of_refusal(error)
            await run.forget(run.change_set_name)
            return await run.fail(problem, checkpoint, status)

    async def _prepare(self, before: Stack | None, checkpoint: Checkpoint) -> Ended:
        run = self.run
        made = await self._change_set(before)
        waiting = run.waiting(seconds_of(checkpoint.began_at or run.now))
        while made.status in _GOING:
            if run.canceled.is_set():
                return await self._call_off()
            seconds = await waiting.pause()
            if seconds is not None:
                checkpoint = _with(checkpoint, made)
                return parked(checkpoint, seconds, "CloudFormation is making the change set.")
            made = await self._found()
        return await self._judge(before, made, _with(checkpoint, made))

    async def _change_set(self, before: Stack | None) -> ChangeSet:
        """The run's change set: the one there is, or a new one."""
        run = self.run
        found = await run.stacks.change_set(run.spec.stack_name, run.change_set_name)
        if found is not None:
            return found
        if before is not None and run.spec.action is DeployAction.APPLY:
            await self._tidy()
        order = self._order(before)
        for tries in range(3):
            try:
                await run.stacks.make_change_set(order)
            except StackTroubleError:
                found = await run.stacks.change_set(run.spec.stack_name, run.change_set_name)
                if found is not None:  # the answer was lost, not the request
                    return found
                if tries == 2:
                    raise
                continue
            except StackRefusalError as refused:
                found = await run.stacks.change_set(run.spec.stack_name, run.change_set_name)
                if found is None:
                    raise ProblemError(_in_words(refused, run.spec)) from None
                return found
            return await self._found()
        raise AssertionError("the last try returns or raises")

    async def _found(self) -> ChangeSet:
        found = await self.run.stacks.change_set(self.run.spec.stack_name, self.run.change_set_name)
        if found is None:
            raise ProblemError(
                Problem(
                    "change_set_gone",
                    "Somebody deleted the run's change set, or the stack that it was for. Start the run again.",
                )
            )
        return found

    async def _tidy(self) -> None:
        """Drops change sets of this cloud account's earlier runs, which nobody will execute any more.

        Changes of a stack come one after the other, so that an earlier one has ended, however. A preview must leave
        them: it passes by an apply that waits for people, and that one's change set is what they approve.
        """
        run = self.run
        mine = _description(run)
        for one in await run.stacks.change_sets(run.spec.stack_name):
            if one.name.startswith("coreo-") and one.description == mine and one.name != run.change_set_name:
                await run.stacks.drop_change_set(run.spec.stack_name, one.arn)

    def _order(self, before: Stack | None) -> ChangeSetOrder:
        run, spec = self.run, self.run.spec
        if spec.template_url is not None and template_object(spec.template_url, run.partition) is None:
            raise ProblemError(Problem("template_unreadable", "The template's URL is not that of an object in S3."))
        return ChangeSetOrder(
            stack_name=spec.stack_name,
            name=run.change_set_name,
            token=run.run_id,
            description=_description(run),
            is_update=operation_for(None if before is None else before.status) == "update",
            template=self._template(),
            template_url=spec.template_url,
            parameters=spec.parameters,
            capabilities=spec.capabilities,
            tags=spec.tags,
            role_arn=spec.service_role_arn,
            triggers=spec.rollback_triggers,
            monitoring_minutes=spec.monitoring_minutes,
        )

    def _template(self) -> str | None:
        spec = self.run.spec
        if spec.template is None:
            return None
        try:
            text = unpack(spec.template)
        except TemplateError as error:
            raise ProblemError(Problem("template_invalid", f"The plan's template cannot be used: {error}.")) from None
        check_no_plain_secret(text, spec.parameters)
        return text

    async def _judge(self, before: Stack | None, made: ChangeSet, checkpoint: Checkpoint) -> Ended:
        """What to do with a change set that AWS has finished, one way or the other."""
        run = self.run
        is_empty = made.status == _FAILED and any(words in made.reason.lower() for words in _NOTHING)
        if made.status != _MADE and not is_empty:
            problem = await self._why_not_made(made)
            await run.forget(run.change_set_name)
            return await run.fail(problem, checkpoint, None if before is None else before.status)
        preview = await self._preview(before, made, is_empty=is_empty)
        checkpoint = _prepared(checkpoint, preview, is_empty=is_empty)
        await run.voice.store(preview, checkpoint)
        if is_empty:
            await self._drop()
        if not preview.changes and is_empty:
            return Ended(outcome="completed", no_change=True, reason="NO_CHANGE: the stack is as the plan says.")
        refused = refusal(preview, run.spec)
        if refused is not None:
            await run.forget(run.change_set_name)
            return await run.fail(refused, checkpoint, preview.stack_status)
        if run.canceled.is_set():
            return await self._call_off()
        if run.spec.action is DeployAction.PREVIEW:
            await self._drop()
            return Ended(outcome="completed")
        return Ended(outcome="prepared", checkpoint=checkpoint)

    async def _why_not_made(self, made: ChangeSet) -> Problem:
        problem = of_refusal(StackRefusalError("cloudformation:CreateChangeSet", "ValidationError", made.reason))
        try:
            errors = await self.run.stacks.validation_errors(made.stack_arn, since="", change_set=made.arn)
        except StackRefusalError:
            errors = []  # AWS's reason says at least that there are some
        if not errors:
            return problem
        return replace(first_cause(errors, made.stack_arn), code="template_invalid")

    async def _preview(self, before: Stack | None, made: ChangeSet, *, is_empty: bool) -> Preview:
        run = self.run
        # What a URL leads to only CloudFormation can tell; a template that came with the job was looked at already.
        needs_template = run.spec.rules or run.spec.template is None
        judged = await self._judged(made) if needs_template else Judged()
        return preview_of_changes(
            Subject(run.account_id, run.spec, before),
            stack_arn=made.stack_arn,
            change_set_arn=None if is_empty else made.arn,
            changes=made.changes,
            judged=judged,
            made_at=run.now,
        )

    async def _judged(self, made: ChangeSet) -> Judged:
        """By the template as CloudFormation works with it, or else as the plan has it."""
        run, spec = self.run, self.run.spec
        place = Place(run.account_id, spec.region, run.partition, spec.stack_name, made.stack_arn)
        try:
            text = await run.stacks.template(spec.stack_name, made.arn)
        except StackRefusalError:
            own = self._template()
            if own is None:  # nobody can say whether one of the parameters is secret
                raise
            text = own
        check_no_plain_secret(text, spec.parameters)
        if not spec.rules:
            return Judged()
        from coreo_worker.deploy.judging import TemplateJudge  # noqa: PLC0415  the rules take a while to load

        return TemplateJudge(spec).judge(text, place)

    async def _call_off(self) -> Ended:
        await self._drop()
        return Ended(outcome="canceled")

    async def _drop(self) -> None:
        await self.run.stacks.drop_change_set(self.run.spec.stack_name, self.run.change_set_name)


def _description(run: DeployRun) -> str:
    return f"Made by Coreo for cloud account {run.cloud_account_id}"


def _with(checkpoint: Checkpoint, made: ChangeSet) -> Checkpoint:
    return msgspec.structs.replace(checkpoint, stack_arn=made.stack_arn, change_set_arn=made.arn)


def _prepared(checkpoint: Checkpoint, preview: Preview, *, is_empty: bool) -> Checkpoint:
    facts = checkpoint.facts | {
        "operation": preview.operation,
        "stack_updated_at": preview.stack_updated_at,
        "total": sum(change.physical_id != preview.stack_arn for change in preview.changes),  # what has events
        "protects_alone": is_empty,
    }
    arn = None if is_empty else checkpoint.change_set_arn
    return msgspec.structs.replace(checkpoint, step=PREPARED, change_set_arn=arn, hash=preview.hash, facts=facts)


def _in_words(refused: StackRefusalError, spec: DeploySpec) -> Problem:
    if refused.code.startswith("AlreadyExists"):
        return Problem(
            "stack_name_taken",
            "Somebody made a stack of this name meanwhile. Start the run again for a preview of what it would change.",
        )
    problem = of_refusal(refused)
    if problem.code == "template_unreadable" and spec.template_url is not None:
        return template_unreadable(problem, spec.template_url)
    return problem
