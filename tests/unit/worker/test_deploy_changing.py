"""The part of a deploy that changes the stack: AWS is told once, whatever is lost, and the run ends as it truly did."""

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from msgspec.structs import replace as changed

from coreo_shared.contracts.deploys import Change, ChangeDetail, DeployAction, Failure, Gate, Outputs, StackEvent
from coreo_worker.aws.stacks import StackDeniedError
from coreo_worker.deploy.deciding import CREATE_GOES_ON, DELETE_GOES_ON, SETTLE_SECONDS, UPDATE_IS_DONE
from coreo_worker.deploy.run import stamp
from tests.support.deploy_story import RUN_ID, START, Story
from tests.support.memory_stacks import MemoryStacks, modify, refused

APPLY, DESTROY = DeployAction.APPLY, DeployAction.DESTROY
DENIED = StackDeniedError("cloudformation:X", "AccessDenied", "not authorized to perform: cloudformation:X")


async def approved(action: DeployAction = APPLY, *, is_new: bool = True, **more: Any) -> Story:
    """A run that people approved."""
    story = Story(MemoryStacks(**more.pop("aws", {})), action, more.pop("fields", {}), **more)
    if not is_new or action is DESTROY:
        story.stacks.add()
    if not is_new:
        story.stacks.changes = (modify(),)
    await story.approve()
    story.stacks.calls.clear()
    return story


def told(story: Story) -> list[str]:
    """The tokens of what took effect."""
    done = story.stacks.deleted if story.action is DESTROY else story.stacks.executed
    return [token for _, token in done]


async def to_the_end(story: Story, *, finish: bool = True) -> Any:
    """Parts until the run ends, with the operation brought to its end in between."""
    for number in range(60):
        ended = await story.apply()
        if ended.outcome != "parked":
            return ended
        story.now += ended.seconds
        if finish and number == 0 and told(story):
            story.stacks.finish()
    raise AssertionError("it never ends")


@pytest.mark.parametrize("hold_seconds", [0.0, 20.0])
@pytest.mark.parametrize("is_new", [True, False])
async def test_approved_change_is_executed_and_its_outputs_kept(hold_seconds: float, *, is_new: bool) -> None:
    story = await approved(is_new=is_new, hold_seconds=hold_seconds)

    ended = await to_the_end(story, finish=False)

    assert (ended.outcome, ended.reason) == ("completed", None)
    assert told(story) == [RUN_ID]
    outputs = story.documents["outputs"]
    assert isinstance(outputs, Outputs)
    assert [output.value for output in outputs.outputs] == ["arn:topic"]
    assert outputs.stack_status == ("CREATE_COMPLETE" if is_new else "UPDATE_COMPLETE")
    assert [event.token for event in story.events] == [RUN_ID] * 3
    assert story.progress[-1] == (1, 1)
    assert "failure" not in story.documents


async def test_hours_cost_a_look_every_two_minutes() -> None:
    story = await approved(aws={"instant": False})
    parks = []
    for _ in range(20):
        ended = await story.apply()
        parks.append(ended.seconds)
        story.now += 600
    story.stacks.finish()

    assert (await story.apply()).outcome == "completed"
    assert parks[0] == 10
    assert set(parks[3:]) == {120}
    assert told(story) == [RUN_ID]


@pytest.mark.parametrize("applying", [False, True])
@pytest.mark.parametrize("fault", ["lost", "trouble", "lost, trouble"])
@pytest.mark.parametrize("action", [APPLY, DESTROY])
async def test_lost_answer_is_looked_for_not_asked_again(action: DeployAction, fault: str, *, applying: bool) -> None:
    story = await approved(action)
    method = "delete" if action is DESTROY else "execute"
    story.stacks.faults[method] = list(fault.split(", "))  # type: ignore[arg-type]
    if applying:  # another worker had the ledger's word, and no more is known of it
        assert story.checkpoint is not None
        assert await story.may_begin(story.preview.hash, story.checkpoint) is None

    ended = await to_the_end(story)

    assert ended.outcome == "completed"
    assert told(story) == [RUN_ID]


@pytest.mark.parametrize("action", [APPLY, DESTROY])
@pytest.mark.parametrize("at", range(12))
async def test_death_at_any_call_executes_nothing_twice(action: DeployAction, at: int) -> None:
    story = await approved(action)

    class DeadError(BaseException):
        pass

    def die(_: str) -> None:
        if len(story.stacks.calls) == at:
            raise DeadError

    story.stacks.before = die
    with suppress(DeadError):
        await story.apply()
    story.stacks.before = lambda _: None
    if not story.applying:
        assert told(story) == []

    ended = await to_the_end(story)

    assert ended.outcome == "completed"
    assert told(story) == [RUN_ID]


@pytest.mark.parametrize("action", [APPLY, DESTROY])
async def test_nothing_is_told_to_aws_before_the_ledger_has_it(action: DeployAction) -> None:
    story = await approved(action)
    story.refuse_begin = "target_busy"

    ended = await story.apply()

    assert (ended.outcome, told(story)) == ("parked", [])
    assert ended.reason == "Another run is changing this stack."
    story.refuse_begin = "not_approved"
    ended = await story.apply()
    assert (ended.outcome, story.failure.code, told(story)) == ("failed", "not_approved", [])


@pytest.mark.parametrize("action", [APPLY, DESTROY])
async def test_canceled_before_it_begins_changes_nothing(action: DeployAction) -> None:
    for refuse, cancel in ((None, True), ("cancel_requested", False)):
        story = await approved(action)
        story.refuse_begin = refuse

        ended = await story.apply(cancel=cancel)

        assert (ended.outcome, told(story), story.stacks.sets) == ("canceled", [], {})


@pytest.mark.parametrize(
    "change", ["updated", "busy", "gone", "other", "change set gone", "obsolete", "executed", "executing"]
)
async def test_stack_changed_since_the_preview_is_left_alone(change: str) -> None:
    story = await approved(is_new=False)
    (kept,) = story.stacks.kept.values()
    match change:
        case "updated":
            story.stacks.set_status(kept, "UPDATE_IN_PROGRESS", "other")
            story.stacks.finish(token="other")
        case "busy":
            story.stacks.set_status(kept, "UPDATE_IN_PROGRESS", "other")
        case "gone":
            story.stacks.set_status(kept, "DELETE_COMPLETE", "other")
        case "other":
            story.stacks.set_status(kept, "DELETE_COMPLETE", "other")
            story.stacks.add()
        case "change set gone":
            story.stacks.sets.clear()
        case "obsolete":
            story.stacks.set_change_set(execution="OBSOLETE")
        case "executing":  # by somebody in the console: AWS does not let it be deleted now
            story.stacks.set_change_set(execution="EXECUTE_IN_PROGRESS")
            story.stacks.set_status(kept, "UPDATE_IN_PROGRESS", "other")
        case _:
            story.stacks.set_change_set(execution="EXECUTE_COMPLETE")

    ended = await story.apply()

    assert (ended.outcome, story.failure.code) == ("failed", "stack_changed")
    assert (told(story), story.applying) == ([], False)


async def test_new_stack_that_somebody_else_made_meanwhile_is_left_alone() -> None:
    story = await approved()
    (kept,) = story.stacks.kept.values()
    story.stacks.set_status(kept, "CREATE_COMPLETE", "other")

    assert (await story.apply()).outcome == "failed"
    assert story.failure.code == "stack_changed"


@pytest.mark.parametrize("change", ["another resource", "updated", "busy", "gone"])
async def test_stack_that_is_not_as_approved_is_not_deleted(change: str) -> None:
    story = await approved(DESTROY)
    (kept,) = story.stacks.kept.values()
    match change:
        case "another resource":
            (only,) = kept.resources.values()
            kept.resources["Other"] = replace(only, logical_id="Other")
        case "updated":
            story.stacks.set_status(kept, "UPDATE_IN_PROGRESS", "other")
            story.stacks.finish(token="other")
        case "busy":
            story.stacks.set_status(kept, "UPDATE_IN_PROGRESS", "other")
        case _:
            story.stacks.set_status(kept, "DELETE_COMPLETE", "other")

    ended = await story.apply()

    assert (ended.outcome, story.failure.code, told(story)) == ("failed", "stack_changed", [])


@pytest.mark.parametrize(
    ("change", "code"), [("updated", "stack_changed"), ("resource", "stack_changed"), ("protected", "stack_protected")]
)
async def test_stack_that_changed_before_another_worker_took_over_is_not_deleted(change: str, code: str) -> None:
    story = await approved(DESTROY)
    assert story.checkpoint is not None
    await story.may_begin(story.preview.hash, story.checkpoint)  # whoever had this died before AWS was told
    (kept,) = story.stacks.kept.values()
    match change:
        case "updated":
            story.stacks.set_status(kept, "UPDATE_IN_PROGRESS", "other")
            story.stacks.finish(token="other")
        case "resource":
            (only,) = kept.resources.values()
            kept.resources["Other"] = replace(only, logical_id="Other")
        case _:
            await story.stacks.protect(kept.stack.arn, on=True)

    ended = await to_the_end(story)

    assert (ended.outcome, story.failure.code, told(story)) == ("failed", code, [])
    assert story.now - START >= SETTLE_SECONDS  # until then it may have been told after all


async def test_protected_stack_is_not_deleted() -> None:
    story = Story(action=DESTROY)
    story.stacks.add(is_protected=True)
    ended = await story.part()
    assert (ended.outcome, story.failure.code) == ("failed", "stack_protected")

    story = await approved(DESTROY)
    (kept,) = story.stacks.kept.values()
    await story.stacks.protect(kept.stack.arn, on=True)
    ended = await story.apply()
    assert (ended.outcome, story.failure.code, told(story)) == ("failed", "stack_protected", [])


async def test_rollback_names_the_first_cause_and_keeps_it_out_of_the_clear() -> None:
    failures = (
        ("Later", "Resource creation cancelled"),
        ("First", "bucket customer-secret already exists"),
        ("Other", "Resource handler returned message: other"),
        ("Followed", "Resource update cancelled"),
    )
    story = await approved(is_new=False, aws={"outcome": "UPDATE_ROLLBACK_COMPLETE", "failures": failures})

    ended = await to_the_end(story, finish=False)

    assert ended.outcome == "rolled_back"
    assert "First (AWS::SNS::Topic) was the first to fail, with UPDATE_FAILED" in (ended.reason or "")
    assert "customer-secret" not in (ended.reason or "")
    failure = story.failure
    assert (failure.code, failure.stack_status) == ("resource_failed", "UPDATE_ROLLBACK_COMPLETE")
    assert failure.message == "bucket customer-secret already exists"
    assert failure.first is not None
    assert failure.first.logical_id == "First"
    assert [event.logical_id for event in failure.others] == ["Other", "Later", "Followed"]
    assert "outputs" not in story.documents


@pytest.mark.parametrize(
    "said",
    [
        "User: arn:aws:sts::1:assumed-role/x is not authorized to perform: sns:CreateTopic on resource: arn:y",
        "API: sns:CreateTopic Access Denied",
        'Resource handler returned message: "User is not authorized to perform: sns:CreateTopic"',
    ],
)
async def test_denied_action_of_a_resource_is_named(said: str) -> None:
    story = await approved(aws={"outcome": "ROLLBACK_COMPLETE", "failures": (("Topic", said),)})

    ended = await to_the_end(story, finish=False)

    assert ended.outcome == "rolled_back"
    assert "AWS did not allow sns:CreateTopic" in (ended.reason or "")
    assert "arn:" not in (ended.reason or "")
    assert (story.failure.code, story.failure.denied_action) == ("access_denied", "sns:CreateTopic")


@pytest.mark.parametrize("status", ["UPDATE_ROLLBACK_FAILED", "UPDATE_FAILED"])
async def test_stack_that_is_left_half_way_is_a_failure_with_what_to_do(status: str) -> None:
    failures = (("First", "no"),)
    story = await approved(is_new=False, aws={"outcome": status, "failures": failures})

    ended = await to_the_end(story, finish=False)

    assert ended.outcome == "failed"
    assert status in (ended.reason or "")
    assert story.failure.advice
    assert story.failure.first is not None


async def test_what_aws_finds_wrong_before_it_begins_is_the_cause() -> None:
    story = await approved(aws={"outcome": "ROLLBACK_COMPLETE", "failures": (("web", "Call DescribeEvents"),)})
    invalid = StackEvent(
        event_id="v1",
        at="2026-01-02",
        logical_id="Bucket",
        type="AWS::S3::Bucket",
        status="VALIDATION_FAILED",
        reason="the name customer-secret is taken",
    )
    story.stacks.invalid = (invalid,)

    ended = await to_the_end(story, finish=False)

    assert ended.outcome == "rolled_back"
    assert "Bucket (AWS::S3::Bucket) was the first to fail, with VALIDATION_FAILED" in (ended.reason or "")
    assert "customer-secret" not in (ended.reason or "")
    assert (story.failure.first, story.failure.message) == (invalid, "the name customer-secret is taken")
    story = await approved(aws={"outcome": "ROLLBACK_COMPLETE", "failures": (("web", "Call DescribeEvents"),)})
    story.stacks.faults["validation_errors"] = [DENIED]
    assert (await to_the_end(story, finish=False)).outcome == "rolled_back"
    assert story.failure.message == "Call DescribeEvents"


async def test_deletion_that_fails_says_what_kept_it() -> None:
    failures = (("Bucket", "The bucket you tried to delete is not empty"),)
    story = await approved(DESTROY, aws={"outcome": "DELETE_FAILED", "failures": failures})

    ended = await to_the_end(story, finish=False)

    assert ended.outcome == "failed"
    assert "Bucket (AWS::SNS::Topic)" in (ended.reason or "")
    assert story.failure.message == "The bucket you tried to delete is not empty"


async def test_stack_deleted_under_way_is_said() -> None:
    story = await approved(aws={"instant": False})
    await story.apply()
    (kept,) = story.stacks.kept.values()
    story.stacks.set_status(kept, "DELETE_IN_PROGRESS", "other")
    assert (await story.apply()).outcome == "parked"
    story.stacks.set_status(kept, "DELETE_COMPLETE", "other")

    ended = await story.apply()

    assert (ended.outcome, story.failure.code) == ("failed", "stack_deleted")


async def test_deletion_by_somebody_else_is_what_was_wanted() -> None:
    story = await approved(DESTROY)
    (kept,) = story.stacks.kept.values()
    assert story.checkpoint is not None
    await story.may_begin(story.preview.hash, story.checkpoint)
    story.stacks.set_status(kept, "DELETE_COMPLETE", "other")

    assert (await story.apply()).outcome == "completed"
    assert told(story) == []


@pytest.mark.parametrize("is_later", [False, True])
async def test_deletion_that_aws_took_is_not_called_canceled_before_it_shows(*, is_later: bool) -> None:
    story = await approved(DESTROY, aws={"instant": False}, hold_seconds=0.0)
    if is_later:  # AWS was not told until long after the ledger had it
        assert story.checkpoint is not None
        await story.may_begin(story.preview.hash, story.checkpoint)
        story.now += 2 * SETTLE_SECONDS
    (kept,) = story.stacks.kept.values()
    find, events, before = story.stacks.find, story.stacks.events, kept.stack

    async def stale_find(_: str) -> Any:
        return before

    async def stale_events(*_: Any, **__: Any) -> list[StackEvent]:
        return []

    story.stacks.find, story.stacks.events = stale_find, stale_events  # type: ignore[assignment, method-assign]
    assert (await story.apply()).outcome == "parked"
    assert told(story) == [RUN_ID]

    assert (await story.apply(cancel=True)).outcome == "parked"
    story.stacks.find, story.stacks.events = find, events  # type: ignore[method-assign]
    assert (await story.apply(cancel=True)).outcome == "parked"
    assert story.no_cancels == [DELETE_GOES_ON]


async def test_cancel_that_meets_a_deletion_in_the_same_hands_is_not_called_done() -> None:
    story = await approved(DESTROY, aws={"instant": False})
    (kept,) = story.stacks.kept.values()
    delete, before = story.stacks.delete, kept.stack

    async def stale_find(_: str) -> Any:
        return before

    async def stale_events(*_: Any, **__: Any) -> list[StackEvent]:
        return []

    async def cancel_meanwhile(*arguments: Any) -> None:
        await delete(*arguments)
        assert story.run is not None
        story.run.canceled.set()
        story.stacks.find, story.stacks.events = stale_find, stale_events  # type: ignore[assignment, method-assign]

    story.stacks.delete = cancel_meanwhile  # type: ignore[assignment, method-assign]

    assert (await story.apply()).outcome == "parked"
    assert told(story) == [RUN_ID]


async def test_refusal_after_a_lost_answer_is_no_proof_that_nothing_was_executed() -> None:
    story = await approved(aws={"instant": False}, hold_seconds=4.0)
    ((_, made),) = story.stacks.sets.values()
    execute = story.stacks.execute
    seen = [made, made, made]  # AWS's answers are late, and then the change set is gone

    async def change_set(*_: Any) -> Any:
        return seen.pop() if seen else None

    async def gone_after(*arguments: Any) -> None:
        try:
            await execute(*arguments)
        finally:
            story.stacks.sets.clear()

    async def no_events(*_: Any, **__: Any) -> list[StackEvent]:
        return []

    story.stacks.faults["execute"] = ["lost"]
    events = story.stacks.events
    story.stacks.change_set, story.stacks.execute = change_set, gone_after  # type: ignore[assignment, method-assign]
    story.stacks.events = no_events  # type: ignore[method-assign]

    assert (await story.apply()).outcome == "parked"
    assert (told(story), seen) == ([RUN_ID], [])
    story.stacks.events = events  # type: ignore[method-assign]
    assert (await story.apply()).outcome == "parked"
    assert "failure" not in story.documents
    assert [event.status for event in story.events] == ["CREATE_IN_PROGRESS"]


async def test_update_is_canceled_where_aws_allows_it() -> None:
    story = await approved(is_new=False, aws={"instant": False})
    assert (await story.apply()).outcome == "parked"

    assert (await story.apply(cancel=True)).outcome == "parked"
    assert story.stacks.calls.count("cancel_update") == 1
    assert (await story.apply(cancel=True)).outcome == "parked"
    assert story.stacks.calls.count("cancel_update") == 1
    story.stacks.outcome = "UPDATE_ROLLBACK_COMPLETE"
    story.stacks.finish()
    ended = await story.apply(cancel=True)

    assert (ended.outcome, ended.reason) == ("rolled_back", "Canceled on request: AWS rolled the update back.")
    assert story.no_cancels == []
    assert any(event.token == f"{RUN_ID}-cancel" for event in story.events)


@pytest.mark.parametrize(
    ("action", "is_new", "status", "reason"),
    [
        (APPLY, True, "CREATE_IN_PROGRESS", CREATE_GOES_ON),
        (APPLY, False, "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS", UPDATE_IS_DONE),
        (APPLY, False, "UPDATE_ROLLBACK_IN_PROGRESS", "AWS is rolling the stack back already."),
        (DESTROY, False, "DELETE_IN_PROGRESS", DELETE_GOES_ON),
    ],
)
async def test_cancel_that_aws_does_not_allow_is_refused_with_the_reason(
    action: DeployAction, status: str, reason: str, *, is_new: bool
) -> None:
    story = await approved(action, is_new=is_new, aws={"instant": False})
    await story.apply()
    kept = list(story.stacks.kept.values())[-1]
    if kept.stack.status != status:
        story.stacks.set_status(kept, status, RUN_ID)

    ended = await story.apply(cancel=True)

    assert (ended.outcome, story.no_cancels) == ("parked", [reason])
    assert "cancel_update" not in story.stacks.calls


async def test_cancel_that_comes_too_late_is_refused() -> None:
    story = await approved(is_new=False, aws={"instant": False})
    await story.apply()
    story.stacks.faults["cancel_update"] = [
        refused(said="CancelUpdateStack cannot be called from current stack status")
    ]

    ended = await story.apply(cancel=True)

    assert (ended.outcome, story.no_cancels) == ("parked", ["AWS does not let this update be canceled now."])


@pytest.mark.parametrize("cancel", [False, True])
async def test_time_out_before_aws_took_anything_is_not_called_a_request(*, cancel: bool) -> None:
    story = await approved(fields={"timeout_minutes": 30})
    assert story.checkpoint is not None
    began = changed(story.checkpoint, applied_at=stamp(story.now))
    await story.may_begin(story.preview.hash, began)
    story.now += 31 * 60

    ended = await story.apply(cancel=cancel)

    assert (ended.outcome, told(story), story.stacks.sets) == ("canceled", [], {})
    assert ("on request" in (ended.reason or "")) is cancel
    assert ("30 minutes" in (ended.reason or "")) is not cancel


@pytest.mark.parametrize("is_new", [True, False])
async def test_time_out_of_the_plan(*, is_new: bool) -> None:
    story = await approved(is_new=is_new, aws={"instant": False}, fields={"timeout_minutes": 30})
    await story.apply()
    story.now += 31 * 60

    ended = await story.apply()

    assert "longer than the plan's time-out of 30 minutes" in (ended.reason or "")
    assert story.stacks.calls.count("cancel_update") == (0 if is_new else 1)
    assert story.no_cancels == []  # nobody asked
    story.stacks.outcome = "CREATE_COMPLETE" if is_new else "UPDATE_ROLLBACK_COMPLETE"
    story.stacks.finish()
    ended = await story.apply()
    assert ended.outcome == ("completed" if is_new else "rolled_back")
    if not is_new:
        assert "30 minutes" in (ended.reason or "")


@pytest.mark.parametrize("wanted", [True, False])
async def test_termination_protection_is_as_the_plan_says(*, wanted: bool) -> None:
    story = await approved(is_new=False, fields={"termination_protection": wanted})
    (kept,) = story.stacks.kept.values()
    await story.stacks.protect(kept.stack.arn, on=not wanted)

    assert (await story.apply()).outcome == "completed"
    assert kept.stack.is_protected is wanted
    story = await approved(is_new=False, fields={"termination_protection": True})
    story.stacks.faults["protect"] = [DENIED]
    ended = await story.apply()
    assert ended.outcome == "completed"
    assert "not its termination protection" in (ended.reason or "")


@pytest.mark.parametrize("action", [APPLY, DESTROY])
async def test_denied_execution_ends_with_nothing_done(action: DeployAction) -> None:
    story = await approved(action)
    story.stacks.faults["delete" if action is DESTROY else "execute"] = [DENIED]

    ended = await story.apply()

    assert (ended.outcome, story.failure.code, told(story)) == ("failed", "access_denied", [])
    assert story.stacks.sets == {}


async def test_gone_without_a_trace_is_unknown_not_failed() -> None:
    story = await approved(is_new=False)
    assert story.checkpoint is not None
    await story.may_begin(story.preview.hash, story.checkpoint)  # by a worker that died there, or a moment later
    story.stacks.sets.clear()

    assert (await story.apply()).outcome == "parked"
    story.now += SETTLE_SECONDS
    ended = await story.apply()

    assert (ended.outcome, told(story)) == ("unknown", [])
    failure = story.failure
    assert isinstance(failure, Failure)
    assert (failure.code, failure.stack_arn) == ("outcome_unknown", story.preview.stack_arn)
    assert any("CloudTrail" in line for line in failure.advice)
    assert any("reconcile" in line for line in failure.advice)


async def test_reconciled_run_ends_as_it_did_once_the_trace_shows() -> None:
    story = await approved(is_new=False)
    await story.apply()
    events = [event for kept in story.stacks.kept.values() for event in kept.events]
    story = await approved(is_new=False)
    assert story.checkpoint is not None
    await story.may_begin(story.preview.hash, story.checkpoint)
    story.stacks.sets.clear()
    story.now += 1_000
    assert (await story.apply()).outcome == "unknown"

    (kept,) = story.stacks.kept.values()
    arn = kept.stack.arn
    kept.events += [changed(one, physical_id=arn) if one.logical_id == "web" else one for one in events]
    assert (await story.apply()).outcome == "completed"
    assert told(story) == []


async def test_one_refusal_after_an_outage_is_not_the_last_of_many() -> None:
    story = await approved(aws={"instant": False})
    await story.apply()
    faults: list[Any] = [*["trouble"] * 5, DENIED, "trouble"]
    ends = []
    for fault in faults:
        story.stacks.faults["events"] = [fault]
        ends.append((await story.apply()).outcome)

    assert ends == ["parked"] * 7


async def test_silence_while_applying_is_waited_out_and_then_said_to_be_unknown() -> None:
    story = await approved(aws={"instant": False})
    await story.apply()
    for _ in range(3):
        story.stacks.faults["events"] = ["trouble"]
        ended = await story.apply()
        assert ended.outcome == "parked"
        assert "did not answer" in (ended.reason or "")
    assert (await story.apply()).outcome == "parked"  # AWS answers again: it counts anew
    ends = []
    for _ in range(4):
        story.stacks.faults["events"] = [DENIED]
        ends.append((await story.apply()).outcome)

    assert ends == ["parked", "parked", "parked", "unknown"]
    assert story.failure.code == "outcome_unknown"
    story.stacks.finish()
    assert (await story.apply()).outcome == "completed"  # once people let it look again


async def test_many_events_come_in_parts_and_each_once() -> None:
    story = await approved(aws={"instant": False})
    await story.apply()
    (kept,) = story.stacks.kept.values()
    for number in range(1_200):
        story.stacks.tell(kept, f"R{number}", "CREATE_IN_PROGRESS", token=RUN_ID)
    await story.apply()
    await story.apply()
    story.stacks.finish()
    await story.apply()

    ids = [event.event_id for event in story.events]
    assert len(ids) == len(set(ids)) == 1 + 1_200 + 2
    assert ids == [event.event_id for event in kept.events]


async def test_destroy_shows_what_goes_and_what_stays() -> None:
    story = Story(action=DESTROY)
    kept = story.stacks.add()
    (topic,) = kept.resources.values()
    for name in ("Kept", "Snapped"):
        kept.resources[name] = replace(topic, logical_id=name)
    kept.template = """{"Resources": {"Topic": {"Type": "T"}, "Kept": {"Type": "T", "DeletionPolicy": "Retain"},
        "Snapped": {"Type": "T", "DeletionPolicy": "Snapshot"}}}"""

    ended = await story.part()

    assert ended.outcome == "prepared"
    found = [(change.logical_id, change.action, change.policy_action) for change in story.preview.changes]
    assert found == [("Kept", "Retain", "Retain"), ("Snapped", "Remove", "Snapshot"), ("Topic", "Remove", None)]
    assert story.preview.notes == []


async def test_destroy_of_what_is_not_there_is_success() -> None:
    story = Story(action=DESTROY)
    ended = await story.part()
    assert (ended.outcome, ended.no_change) == ("completed", True)

    story.stacks.add(status="REVIEW_IN_PROGRESS")  # a name alone: that can go
    await story.approve()
    assert (await story.apply()).outcome == "completed"
    assert story.preview.changes == []


async def test_destroy_with_gates() -> None:
    gates = [Gate(resource_type="AWS::SNS::*", refuse=["remove"])]
    story = Story(action=DESTROY, fields={"gates": gates})
    kept = story.stacks.add()

    assert (await story.part()).outcome == "failed"
    assert story.failure.code == "gate_refused"
    kept.template = '{"Resources": {"Topic": {"Type": "T", "DeletionPolicy": "Retain"}}}'
    assert (await story.part()).outcome == "prepared"


async def test_stack_that_needs_more_than_a_preview_can_hold_is_shown_without_details() -> None:
    detail = ChangeDetail(attribute="Properties", name="P", before="x" * 5_000, after="y" * 5_000)
    changes = tuple(Change(action="Add", logical_id=f"R{n}", type="T", details=[detail] * 4) for n in range(400))
    story = Story(MemoryStacks(changes=changes))

    assert (await story.part()).outcome == "prepared"
    assert len(story.preview.changes) == 400
    assert not any(change.details for change in story.preview.changes)
    assert any("details are left out" in note for note in story.preview.notes)
