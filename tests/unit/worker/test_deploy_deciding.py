"""What to do with a change that was begun: never done again where it left a trace, never failed where it left none."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreo_shared.contracts.deploys import DeployAction, StackEvent
from coreo_worker.deploy.deciding import (
    SETTLE_SECONDS,
    CallOff,
    Look,
    NotDone,
    Over,
    Refuse,
    Tell,
    Undo,
    Unknown,
    Wait,
    next_of_apply,
    next_of_destroy,
)
from coreo_worker.deploy.operation import Operation, first_cause
from coreo_worker.deploy.pacing import Hold, Park, after_trouble, next_look
from coreo_worker.deploy.problems import Problem
from coreo_worker.deploy.statuses import is_busy, is_end, is_there, obstacle

STATUSES = [
    *(
        f"{verb}_{end}"
        for verb in ("CREATE", "UPDATE", "DELETE", "ROLLBACK", "UPDATE_ROLLBACK", "IMPORT", "IMPORT_ROLLBACK")
        for end in ("IN_PROGRESS", "COMPLETE", "FAILED")
    ),
    "REVIEW_IN_PROGRESS",
    "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS",
    "UPDATE_ROLLBACK_COMPLETE_CLEANUP_IN_PROGRESS",
]
EXECUTIONS = ["UNAVAILABLE", "AVAILABLE", "EXECUTE_IN_PROGRESS", "EXECUTE_COMPLETE", "EXECUTE_FAILED", "OBSOLETE"]
REFUSAL = Problem("access_denied", "no")
looks = st.builds(
    Look,
    operation=st.builds(
        Operation,
        started=st.booleans(),
        status=st.none() | st.sampled_from(STATUSES),
        ended=st.none() | st.sampled_from([status for status in STATUSES if is_end(status)]),
        is_sure=st.booleans(),
    ).map(lambda found: replace(found, started=found.started or found.ended is not None)),
    change_set=st.none() | st.sampled_from(EXECUTIONS),
    stack=st.none() | st.sampled_from(STATUSES),
    since=st.floats(0, 1_000),
    alone=st.booleans(),
    refusal=st.none() | st.just(REFUSAL),
    cancel=st.booleans(),
    told=st.booleans(),
)


@given(looks)
def test_change_set_is_executed_only_while_aws_calls_it_available_and_nothing_began(look: Look) -> None:
    step = next_of_apply(look)

    if isinstance(step, Tell | CallOff):
        assert look.change_set == "AVAILABLE"
        assert not look.operation.started
    if isinstance(step, Tell):
        assert not look.cancel
        assert look.refusal is None
    if isinstance(step, NotDone):
        assert not look.operation.started
        assert look.change_set not in {"EXECUTE_IN_PROGRESS", "EXECUTE_COMPLETE", "EXECUTE_FAILED"}
    if isinstance(step, Unknown):
        assert look.since >= SETTLE_SECONDS
        assert not look.operation.started
    if isinstance(step, Over):
        assert look.operation.ended or look.change_set in {"EXECUTE_COMPLETE", "EXECUTE_FAILED"}
    if isinstance(step, Undo | Refuse):
        assert look.cancel
        assert not look.told


@given(looks)
def test_stack_is_deleted_only_while_it_is_there_and_nothing_works_on_it(look: Look) -> None:
    step = next_of_destroy(look)

    assert not isinstance(step, Unknown | Undo)
    if isinstance(step, Tell | CallOff | NotDone):
        assert not look.operation.started
        assert look.stack not in {None, "DELETE_COMPLETE"}
        assert not is_busy(look.stack or "")
    if isinstance(step, Tell):
        assert not look.cancel
        assert look.refusal is None
    if isinstance(step, CallOff | NotDone):
        assert look.alone or look.since >= SETTLE_SECONDS
    if isinstance(step, Over):
        assert look.operation.ended or look.stack in {None, "DELETE_COMPLETE"}


@pytest.mark.parametrize(
    ("look", "step"),
    [
        (Look(Operation(), "AVAILABLE"), Tell()),
        (Look(Operation(), "AVAILABLE", refusal=REFUSAL), NotDone(REFUSAL)),
        (Look(Operation(), "AVAILABLE", cancel=True), CallOff()),
        (Look(Operation(), "EXECUTE_IN_PROGRESS", "UPDATE_IN_PROGRESS"), Wait()),
        (Look(Operation(), "EXECUTE_IN_PROGRESS", "UPDATE_IN_PROGRESS", cancel=True), Undo()),
        (Look(Operation(), "EXECUTE_COMPLETE", "UPDATE_COMPLETE", since=1), Wait()),
        (Look(Operation(), "EXECUTE_COMPLETE", "UPDATE_COMPLETE", since=200), Over("UPDATE_COMPLETE")),
        (Look(Operation(), "EXECUTE_FAILED", "UPDATE_ROLLBACK_COMPLETE", since=200), Over("UPDATE_ROLLBACK_COMPLETE")),
        (Look(Operation(), "EXECUTE_FAILED", "UPDATE_IN_PROGRESS", since=200), Wait()),
        (Look(Operation(), "EXECUTE_COMPLETE", None, since=200), Unknown()),
        (Look(Operation(), None, "UPDATE_COMPLETE", since=1), Wait()),
        (Look(Operation(), None, "UPDATE_COMPLETE", since=200), Unknown()),
        (Look(Operation(), None, None, since=200), Unknown()),
        (Look(Operation(), None, None, refusal=REFUSAL, alone=True), NotDone(REFUSAL)),
        (Look(Operation(started=True, status="UPDATE_IN_PROGRESS"), None, "UPDATE_IN_PROGRESS", since=999), Wait()),
        (Look(Operation(started=True, ended="UPDATE_COMPLETE", is_sure=True), "AVAILABLE"), Over("UPDATE_COMPLETE")),
        (Look(Operation(started=True, ended="CREATE_FAILED"), None, "CREATE_FAILED"), Over("CREATE_FAILED")),
        (Look(Operation(started=True, ended="CREATE_FAILED"), None, "ROLLBACK_IN_PROGRESS"), Wait()),
        (Look(Operation(started=True, ended="CREATE_FAILED"), None, "ROLLBACK_COMPLETE"), Wait()),
    ],
)
def test_table_of_applies(look: Look, step: object) -> None:
    assert next_of_apply(look) == step


def test_obsolete_change_set_was_not_executed() -> None:
    step = next_of_apply(Look(Operation(), "OBSOLETE", "UPDATE_COMPLETE"))

    assert isinstance(step, NotDone)
    assert step.problem.code == "stack_changed"


def event(number: int, logical_id: str, status: str, token: str | None = "run", **more: str) -> StackEvent:
    is_whole = logical_id == "web"
    kind, physical = ("AWS::CloudFormation::Stack", "arn") if is_whole else ("AWS::SNS::Topic", None)
    at = f"2026-01-01T00:00:{number:02}.000+00:00"
    names = {"event_id": f"e{number}", "logical_id": logical_id, "physical_id": physical, "type": kind}
    return StackEvent(**names, at=at, status=status, token=token, **more)  # type: ignore[arg-type]


EVENTS = [
    event(1, "web", "UPDATE_COMPLETE", "before"),
    event(2, "web", "UPDATE_IN_PROGRESS"),
    event(3, "A", "UPDATE_COMPLETE"),
    event(4, "B", "CREATE_COMPLETE"),
    event(5, "web", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"),
    event(6, "A", "DELETE_COMPLETE"),
    event(7, "web", "UPDATE_COMPLETE"),
    event(8, "web", "UPDATE_IN_PROGRESS", "after"),
    event(9, "web", "UPDATE_ROLLBACK_COMPLETE", "after"),
]


@pytest.mark.parametrize("cuts", [(), (1,), (3,), (2, 5), (1, 2, 3, 4, 5, 6, 7, 8)])
def test_operation_is_followed_in_whatever_parts_its_events_come(cuts: tuple[int, ...]) -> None:
    operation, kept = Operation(), []
    edges = [0, *cuts, len(EVENTS)]
    for start, end in pairwise(edges):
        if operation.ended is None:
            operation, more = operation.follow(EVENTS[start:end], stack_arn="arn", token="run")
            kept += more

    assert (operation.started, operation.ended, operation.status) == (True, "UPDATE_COMPLETE", "UPDATE_COMPLETE")
    assert [one.event_id for one in kept] == ["e2", "e3", "e4", "e5", "e6", "e7"]


def test_operation_that_others_end_has_ended() -> None:
    taken_over = [
        event(1, "web", "CREATE_IN_PROGRESS"),
        event(2, "web", "DELETE_IN_PROGRESS", "other"),
        event(3, "web", "DELETE_COMPLETE", "other"),
    ]

    operation, kept = Operation().follow(taken_over, stack_arn="arn", token="run")

    assert (operation.ended, len(kept)) == ("DELETE_COMPLETE", 3)
    assert Operation().follow(taken_over[1:], stack_arn="arn", token="run") == (Operation(), [])


def test_failure_before_anything_was_made_is_rolled_back_all_the_same() -> None:
    events = [
        event(1, "web", "CREATE_IN_PROGRESS"),
        event(2, "web", "CREATE_FAILED", reason="Validation failed with 1 error(s). Call DescribeEvents"),
        event(3, "web", "ROLLBACK_IN_PROGRESS"),
        event(4, "web", "ROLLBACK_COMPLETE"),
    ]

    middle, _ = Operation().follow(events[:2], stack_arn="arn", token="run")
    assert (middle.ended, middle.is_sure) == ("CREATE_FAILED", False)
    for operation, _ in (
        middle.follow(events[2:], stack_arn="arn", token="run"),
        Operation().follow(events, stack_arn="arn", token="run"),
    ):
        assert (operation.ended, operation.is_sure) == ("ROLLBACK_COMPLETE", True)
    other = event(3, "web", "ROLLBACK_IN_PROGRESS", "other")
    operation, kept = middle.follow([other], stack_arn="arn", token="run")
    assert (operation.ended, operation.is_sure, kept) == ("CREATE_FAILED", True, [])


def test_alarm_that_rolls_back_is_the_cause() -> None:
    events = [
        event(1, "web", "UPDATE_IN_PROGRESS"),
        event(2, "web", "UPDATE_ROLLBACK_IN_PROGRESS", reason="Alarm arn:x went to ALARM"),
        event(3, "web", "UPDATE_ROLLBACK_COMPLETE"),
    ]

    cause = first_cause(events, "arn")

    assert (cause.code, cause.said) == ("operation_failed", "Alarm arn:x went to ALARM")
    assert "arn:x" not in cause.reason
    assert first_cause([], "arn").reason


@given(st.sampled_from(STATUSES) | st.text(max_size=30))
def test_every_status_has_one_meaning(status: str) -> None:
    assert not (is_busy(status) and is_end(status))
    for action in DeployAction:
        problem = obstacle(action, status)
        if problem is not None:
            assert problem.code.startswith("stack_")
            assert problem.reason
        elif is_busy(status):
            raise AssertionError("nothing is done to a stack that AWS works on")
    if not is_there(status):
        assert obstacle(DeployAction.APPLY, status) is None


@given(st.floats(0, 100), st.floats(0, 100), st.floats(0.1, 120), st.floats(0, 1e6), st.integers(0, 1_000))
def test_waiting_holds_a_place_for_a_while_and_then_costs_little(
    held: float, hold: float, park: float, waited: float, looks_so_far: int
) -> None:
    step = next_look(held=held, hold_seconds=hold, park_seconds=park, waited=waited, looks=looks_so_far)

    if isinstance(step, Hold):
        assert 0 < step.seconds <= 5
        assert held + step.seconds <= hold
    else:
        assert isinstance(step, Park)
        assert park <= step.seconds <= 120


@given(st.integers(0, 10_000))
def test_trouble_is_given_time(troubles: int) -> None:
    assert 10 <= after_trouble(troubles) <= 900
