"""The run's state machine: its table row by row, and its promises over any sequence of words."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreo_results.ledger import states
from coreo_results.ledger.errors import RunBusyError, RunOverError, StaleFenceError
from coreo_results.ledger.run import Run, RunIdentity
from coreo_results.ledger.transitions import Change, TransitionError, next_state
from coreo_shared.contracts.results import Counts, FinishRun
from coreo_shared.contracts.terms import FindingStatus, Pool, RunState
from coreo_shared.ids import new_id

Q, C, R = RunState.QUEUED, RunState.CLAIMED, RunState.RUNNING
W, A, U = RunState.AWAITING_APPROVAL, RunState.APPLYING, RunState.OUTCOME_UNKNOWN
ALLOWED = {
    (Q, Change.CLAIM): C,
    (C, Change.CLAIM): C,
    (R, Change.CLAIM): C,
    (C, Change.PROGRESS): R,
    (R, Change.PROGRESS): R,
    (C, Change.RELEASE): Q,
    (R, Change.RELEASE): Q,
    (C, Change.COMPLETE): RunState.SUCCEEDED,
    (R, Change.COMPLETE): RunState.SUCCEEDED,
    (C, Change.COMPLETE_WITH_GAPS): RunState.PARTIAL,
    (R, Change.COMPLETE_WITH_GAPS): RunState.PARTIAL,
    (Q, Change.FAIL): RunState.FAILED,
    (C, Change.FAIL): RunState.FAILED,
    (R, Change.FAIL): RunState.FAILED,
    (Q, Change.CANCEL): RunState.CANCELED,
    (C, Change.CANCEL): RunState.CANCELED,
    (R, Change.CANCEL): RunState.CANCELED,
    (Q, Change.EXPIRE): RunState.EXPIRED,
    # Deploys: before anything was begun,
    (C, Change.PARK): R,
    (R, Change.PARK): R,
    (Q, Change.NUDGE): Q,
    (R, Change.NUDGE): R,
    (C, Change.AWAIT): W,
    (R, Change.AWAIT): W,
    (W, Change.APPROVE): Q,
    (W, Change.CANCEL): RunState.CANCELED,
    (W, Change.EXPIRE): RunState.EXPIRED,
    (C, Change.BEGIN): A,
    (R, Change.BEGIN): A,
    # while AWS may be changing something,
    (A, Change.CLAIM): A,
    (A, Change.PROGRESS): A,
    (A, Change.PARK): A,
    (A, Change.RELEASE): A,
    (A, Change.NUDGE): A,
    (A, Change.COMPLETE): RunState.SUCCEEDED,
    (A, Change.FAIL): RunState.FAILED,
    (A, Change.ROLL_BACK): RunState.ROLLED_BACK,
    (A, Change.CANCEL): RunState.CANCELED,
    (A, Change.LOSE): U,
    # and when nobody knows what became of that.
    (U, Change.RECONCILE): A,
    (U, Change.COMPLETE): RunState.SUCCEEDED,
    (U, Change.FAIL): RunState.FAILED,
    (U, Change.ROLL_BACK): RunState.ROLLED_BACK,
}
NEW = Run(RunIdentity(new_id(), new_id(), new_id(), 1, new_id(), "123456789012", Pool.AUDIT))


def finish(run: Run, fence: int, outcome: states.Outcome, *, reason: str | None, units_total: int | None) -> Run:
    return states.finish(run, FinishRun(fence=fence, outcome=outcome, reason=reason, units_total=units_total))


def held(**fields: Any) -> Run:
    run = states.claim(NEW, worker_id="w1", lease_seconds=60, max_attempts=5)
    return replace(run, **fields)


@pytest.mark.parametrize(("state", "change"), list(product(RunState, Change)))
def test_only_the_transitions_of_the_table_are_possible(state: RunState, change: Change) -> None:
    if (state, change) in ALLOWED:
        assert next_state(state, change) is ALLOWED[state, change]
    else:
        with pytest.raises(TransitionError):
            next_state(state, change)


def test_a_claim_gives_a_new_fence_and_counts_the_attempt() -> None:
    first = held()
    second = states.claim(replace(first, lease_left=-1.0), worker_id="w2", lease_seconds=60, max_attempts=5)

    assert (first.fence, first.attempt, first.worker_id) == (1, 1, "w1")
    assert (second.fence, second.attempt, second.worker_id, second.state) == (2, 2, "w2", C)


@pytest.mark.parametrize("worker_id", ["w1", "w2"])
def test_a_live_lease_is_busy_also_for_its_own_worker(worker_id: str) -> None:
    with pytest.raises(RunBusyError) as refused:
        states.claim(held(lease_left=0.4), worker_id=worker_id, lease_seconds=60, max_attempts=5)
    assert refused.value.headers == {"Retry-After": "1"}


def test_one_claim_more_than_allowed_fails_the_run_and_names_the_last_worker() -> None:
    ended = states.claim(held(lease_left=-1.0, attempt=5), worker_id="w2", lease_seconds=60, max_attempts=5)
    assert ended.state is RunState.FAILED
    assert "5 attempts" in str(ended.reason)
    assert "w1" in str(ended.reason)


def test_a_claim_of_a_run_that_shall_be_canceled_cancels_it() -> None:
    lapsed = held(lease_left=-1.0, cancel_reason="asked")
    ended = states.claim(lapsed, worker_id="w2", lease_seconds=60, max_attempts=5)
    assert (ended.state, ended.reason) == (RunState.CANCELED, "asked")


def test_a_fence_is_stale_once_the_run_is_released_or_claimed_again() -> None:
    released = states.release(held(), 1, "draining")
    again = states.claim(released, worker_id="w1", lease_seconds=60, max_attempts=5)
    for run in (released, again):
        with pytest.raises(StaleFenceError):
            states.progress(run, 1)
        with pytest.raises(StaleFenceError):
            states.heartbeat(run, 1, lease_seconds=60, units_total=None)
        with pytest.raises(StaleFenceError):
            finish(run, 1, "completed", reason=None, units_total=0)


def test_a_release_said_twice_is_said_once() -> None:
    released = states.release(held(), 1, "draining")
    assert states.release(released, 1, "draining") is released
    assert released.state is Q
    assert "draining" in str(released.reason)


def test_a_release_of_a_run_that_shall_be_canceled_cancels_it() -> None:
    assert states.release(held(cancel_reason="asked"), 1, "draining").state is RunState.CANCELED


def test_a_finish_said_twice_is_said_once_and_another_outcome_is_refused() -> None:
    ended = finish(held(), 1, "completed", reason=None, units_total=0)
    assert finish(ended, 1, "completed", reason=None, units_total=0) is ended
    with pytest.raises(RunOverError):
        finish(ended, 1, "failed", reason="no", units_total=None)
    with pytest.raises(RunOverError):
        finish(ended, 2, "completed", reason=None, units_total=0)


@pytest.mark.parametrize(
    ("counts", "done", "total", "state"),
    [
        ({FindingStatus.PASS: 3, FindingStatus.FAIL: 2}, 4, 4, RunState.SUCCEEDED),
        ({FindingStatus.NOT_EVALUATED: 1}, 4, 4, RunState.PARTIAL),
        ({}, 3, 4, RunState.PARTIAL),
        ({}, 4, None, RunState.PARTIAL),
        ({}, 0, 0, RunState.SUCCEEDED),
    ],
)
def test_what_was_stored_decides_between_succeeded_and_partial(
    counts: dict[FindingStatus, int], done: int, total: int | None, state: RunState
) -> None:
    run = held(counts=Counts(by_status=counts), units_done=done)
    ended = finish(run, 1, "completed", reason=None, units_total=total)
    assert ended.state is state
    assert (ended.reason is None) == (state is RunState.SUCCEEDED)


def test_a_cancel_ends_what_nobody_holds_and_marks_what_somebody_holds() -> None:
    assert states.cancel(NEW, "asked").state is RunState.CANCELED
    assert states.cancel(states.release(held(), 1, "x"), "asked").state is RunState.CANCELED
    marked = states.cancel(held(), "asked")
    assert (marked.state, marked.cancel_reason) == (C, "asked")
    assert states.cancel(marked, "again") is marked


def test_an_expiry_does_not_touch_a_run_that_somebody_took() -> None:
    assert states.expire(NEW, "late").state is RunState.EXPIRED
    taken = held()
    assert states.expire(taken, "late") is taken


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({"lease_left": 5.0, "cancel_reason": "asked"}, C),
        ({"lease_left": -0.1, "cancel_reason": "asked"}, RunState.CANCELED),
        ({"lease_left": -899.0}, C),
        ({"lease_left": -901.0}, RunState.FAILED),
        ({"lease_left": -901.0, "state": Q, "reason": "Given back"}, RunState.FAILED),
        ({"lease_left": None, "state": Q}, Q),
    ],
)
def test_the_sweeper_ends_what_is_due_and_nothing_else(fields: dict[str, Any], state: RunState) -> None:
    swept = states.sweep(held(**fields), abandon_after_seconds=900)
    assert swept.state is state
    if state is RunState.FAILED:
        assert "start the run again" in str(swept.reason)


WORDS = st.one_of(
    st.tuples(st.just("claim"), st.sampled_from(["w1", "w2"])),
    st.tuples(
        st.sampled_from(["progress", "heartbeat", "release", "completed", "failed", "canceled"]), st.integers(0, 4)
    ),
    st.tuples(st.sampled_from(["unit", "lapse", "cancel", "expire", "sweep"]), st.just(0)),
)


def say(run: Run, word: str, argument: int | str) -> Run:  # noqa: PLR0911  one line per word
    fence = argument if isinstance(argument, int) else 0
    match word:
        case "claim":
            return states.claim(run, worker_id=str(argument), lease_seconds=60, max_attempts=3)
        case "progress":
            return states.progress(run, fence)
        case "heartbeat":
            return states.heartbeat(run, fence, lease_seconds=60, units_total=3)
        case "release":
            return states.release(run, fence, "x")
        case "completed" | "failed" | "canceled":
            return finish(run, fence, word, reason="x", units_total=None)
        case "unit":
            return states.unit_stored(run, Counts()) if run.is_held else run
        case "lapse":
            return run if run.lease_left is None else replace(run, lease_left=-1000.0)
        case "cancel":
            return states.cancel(run, "asked")
        case "expire":
            return states.expire(run, "late")
    return states.sweep(run, abandon_after_seconds=900)


@given(st.lists(WORDS, max_size=30))
def test_over_any_words_ends_are_final_fences_grow_and_attempts_are_bounded(words: list[tuple[str, int | str]]) -> None:
    run = NEW
    for word, argument in words:
        try:
            after = say(run, word, argument)
        except (RunBusyError, RunOverError, StaleFenceError):
            continue
        if run.state.is_final:
            assert after is run
        assert after.fence - run.fence in ({0, 1} if word == "claim" else {0})
        assert after.attempt == after.fence <= 3
        assert after.units_done >= run.units_done
        assert after.units_total is None or after.units_total >= after.units_done
        assert after.state.is_final <= (after.lease_left is None)
        assert not after.state.is_final or after.state is RunState.SUCCEEDED or after.reason
        run = after
