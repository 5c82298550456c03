"""Termination protection that the plan states: a change like others, seen and approved, even where it is alone."""

from typing import Any

import pytest

from coreo_shared.contracts.deploys import Change, DeployAction, Outputs
from coreo_worker.aws.stacks import StackDeniedError
from coreo_worker.deploy.pacing import MAX_TROUBLES
from tests.support.deploy_story import Story
from tests.support.memory_stacks import Kept, MemoryStacks, modify

NOTHING: dict[str, Any] = {"making": "FAILED", "reason": "No updates are to be performed.", "changes": ()}
DENIED = StackDeniedError(
    "cloudformation:UpdateTerminationProtection", "AccessDenied", "is not authorized to perform: it"
)


def story_of(*, wanted: bool | None, before: bool, **more: Any) -> tuple[Story, Kept]:
    """A run whose change set is empty, and its stack."""
    story = Story(MemoryStacks(**NOTHING), fields={"termination_protection": wanted}, **more)
    return story, story.stacks.add(is_protected=before)


def shown(change: Change) -> tuple[str, str, str | None, str | None]:
    (detail,) = change.details
    return change.type, detail.attribute, detail.before, detail.after


@pytest.mark.parametrize("wanted", [True, False])
async def test_it_is_approved_and_set_where_nothing_else_changes(*, wanted: bool) -> None:
    story, kept = story_of(wanted=wanted, before=not wanted)
    await story.approve()
    before, after = ("false", "true") if wanted else ("true", "false")
    assert [shown(one) for one in story.preview.changes] == [
        ("AWS::CloudFormation::Stack", "EnableTerminationProtection", before, after)
    ]
    assert (story.preview.operation, story.preview.change_set_arn, story.stacks.sets) == ("update", None, {})
    assert kept.stack.is_protected is not wanted

    ended = await story.apply()

    assert (ended.outcome, ended.no_change, ended.reason) == ("completed", False, None)
    assert kept.stack.is_protected is wanted
    assert story.stacks.executed == []
    assert isinstance(story.documents["outputs"], Outputs)


@pytest.mark.parametrize(("wanted", "before"), [(None, True), (None, False), (True, True), (False, False)])
async def test_where_it_is_as_stated_there_is_nothing_to_do(wanted: Any, *, before: bool) -> None:
    story, kept = story_of(wanted=wanted, before=before)

    ended = await story.part()

    assert (ended.outcome, ended.no_change, story.preview.changes) == ("completed", True, [])
    assert kept.stack.is_protected is before
    assert "protect" not in story.stacks.calls


async def test_preview_alone_shows_it_and_sets_nothing() -> None:
    story, kept = story_of(wanted=True, before=False, action=DeployAction.PREVIEW)

    ended = await story.part()

    assert (ended.outcome, ended.no_change, len(story.preview.changes)) == ("completed", False, 1)
    assert not kept.stack.is_protected


async def test_it_is_shown_beside_other_changes_and_counts_as_no_resource() -> None:
    story = Story(MemoryStacks(changes=(modify(),)), fields={"termination_protection": True})
    story.stacks.add()
    await story.approve()

    assert [change.logical_id for change in story.preview.changes] == ["Topic", "web"]
    assert story.preview.notes == []
    assert story.checkpoint is not None
    assert story.checkpoint.facts["total"] == 1


async def test_another_worker_shows_the_same_and_takes_over_at_any_call() -> None:
    story, _ = story_of(wanted=True, before=False)
    await story.approve()
    story.checkpoint = None
    await story.part()
    assert story.preview.hash == story.approved

    for fault in ("lost", "trouble"):
        story, kept = story_of(wanted=True, before=False)
        await story.approve()
        story.stacks.faults["protect"] = [fault]
        ended = await story.apply()
        assert ended.outcome == "parked"
        assert (await story.apply()).outcome == "completed"
        assert kept.stack.is_protected


async def test_another_stack_of_the_name_is_not_protected() -> None:
    story = Story(MemoryStacks(instant=False), fields={"termination_protection": True})
    await story.approve()
    assert (await story.apply()).outcome == "parked"
    story.stacks.finish()
    (kept,) = story.stacks.kept.values()
    story.stacks.set_status(kept, "DELETE_COMPLETE", "other")
    other = story.stacks.add()

    assert (await story.apply()).outcome == "completed"
    assert not other.stack.is_protected


async def test_canceled_or_changed_in_between_it_is_left_alone() -> None:
    story, kept = story_of(wanted=True, before=False)
    await story.approve()
    assert (await story.apply(cancel=True)).outcome == "canceled"

    story, kept = story_of(wanted=True, before=False)
    await story.approve()
    story.applying = True  # begun by a worker that is gone
    assert (await story.apply(cancel=True)).outcome == "canceled"
    assert not kept.stack.is_protected

    story, kept = story_of(wanted=True, before=False)
    await story.approve()
    story.stacks.set_status(kept, "UPDATE_IN_PROGRESS")
    assert ((await story.apply()).outcome, story.failure.code) == ("failed", "stack_changed")
    assert not kept.stack.is_protected


async def test_silence_of_aws_is_waited_out_and_then_said_to_be_unknown() -> None:
    story, _ = story_of(wanted=True, before=False)
    await story.approve()
    for _ in range(MAX_TROUBLES):
        story.stacks.faults["protect"] = ["trouble"]
        ended = await story.apply()
    assert ended.outcome == "unknown"
    assert "Whether AWS set the stack's termination protection is not known" in (ended.reason or "")
    assert any("UpdateTerminationProtection" in words for words in story.failure.advice)


async def test_what_aws_refuses_is_a_failure_that_says_so() -> None:
    story, _ = story_of(wanted=True, before=False)
    await story.approve()
    story.stacks.faults["protect"] = [DENIED]

    ended = await story.apply()

    assert (ended.outcome, story.failure.code) == ("failed", "access_denied")
    assert story.failure.denied_action == "cloudformation:UpdateTerminationProtection"

    story, kept = story_of(wanted=True, before=False)
    await story.approve()
    story.applying = True
    story.stacks.set_status(kept, "DELETE_COMPLETE")
    assert ((await story.apply()).outcome, story.failure.code) == ("failed", "stack_deleted")
