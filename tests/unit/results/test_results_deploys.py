"""Deploys' part of the run's state machine: what each word does where, and what holds over any sequence of words."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreo_results.ledger import deploys, states
from coreo_results.ledger.errors import JobSupersededError, RunOverError, StaleFenceError
from coreo_results.ledger.run import DeployState, Run, RunIdentity
from coreo_shared.contracts.deploys import (
    ApproveRun,
    BeginApply,
    Checkpoint,
    DeployAction,
    DeployTerms,
    ParkRun,
    PutEvents,
    RefuseCancel,
    SettleRun,
    StackEvent,
)
from coreo_shared.contracts.results import FinishRun
from coreo_shared.contracts.terms import Pool, RunState
from coreo_shared.ids import new_id
from coreo_shared.web import Problem

HASH, OTHER = "a" * 64, "b" * 64
ANN, BEN, CAT = UUID(int=1), UUID(int=2), UUID(int=3)
CHECKPOINT = Checkpoint(step="x")
EVENT = StackEvent(event_id="e", at="x", logical_id="Bucket", type="AWS::S3::Bucket", status="CREATE_COMPLETE")


def new(**terms: Any) -> Run:
    known: dict[str, Any] = {"action": DeployAction.APPLY, "target_id": UUID(int=9), "requested_by": ANN}
    identity = RunIdentity(new_id(), new_id(), new_id(), 1, new_id(), "123456789012", Pool.DEPLOY)
    return Run(replace(identity, terms=DeployTerms(**{**known, **terms})), deploy=DeployState())


def state_of(run: Run) -> DeployState:
    assert run.deploy is not None
    return run.deploy


def claimed(run: Run, **options: Any) -> Run:
    """By whoever has the newest job."""
    ticket = state_of(run).ticket
    known: dict[str, Any] = {"worker_id": "w", "lease_seconds": 60, "max_attempts": 3, "ticket": ticket}
    return states.claim(run, **{**known, **options})


def previewed(run: Run, hash_: str = HASH) -> Run:
    return deploys.document_stored(run, run.fence, "preview", hash_)


def park(run: Run, seconds: float | None = 30.0, fence: int | None = None) -> Run:
    word = ParkRun(
        fence=run.fence if fence is None else fence,
        resume_seconds=seconds,
        await_approval=seconds is None,
        checkpoint=CHECKPOINT,
        reason="Waiting.",
    )
    return deploys.park(run, word)


def waiting(**terms: Any) -> Run:
    return park(previewed(claimed(new(**terms))), None)


def approve(run: Run, by: UUID = BEN, hash_: str = HASH) -> Run:
    return deploys.approve(run, ApproveRun(hash=hash_, approver_id=by, author="x"))


def begin(run: Run, hash_: str = HASH) -> Run:
    return deploys.begin_apply(run, BeginApply(fence=run.fence, hash=hash_, checkpoint=CHECKPOINT))


def applying(**terms: Any) -> Run:
    return begin(claimed(approve(waiting(**terms))))


def finish(run: Run, outcome: states.Outcome, *, no_change: bool = False) -> Run:
    return states.finish(run, FinishRun(fence=run.fence, outcome=outcome, reason="why", no_change=no_change))


def unknown() -> Run:
    return finish(applying(), "unknown")


def settle(run: Run, outcome: Any = "FAILED") -> Run:
    return deploys.settle(run, SettleRun(outcome=outcome, author="x", reason="seen"))


def sweep(run: Run, seconds: float = 900) -> Run:
    """As the sweeper does."""
    after = states.sweep(run, abandon_after_seconds=seconds)
    return deploys.sweep(run, abandon_after_seconds=seconds) if after is run else after


def later(run: Run, seconds: float = 1_000_000) -> Run:
    """The run after so much time."""

    def pass_by(left: float | None) -> float | None:
        return None if left is None else left - seconds

    return replace(
        run,
        lease_left=pass_by(run.lease_left),
        resume_left=pass_by(run.resume_left),
        approval_left=pass_by(run.approval_left),
    )


@contextmanager
def refused(code: str) -> Iterator[None]:
    """A block that raises a Problem with this code."""
    with pytest.raises(Problem) as raised:
        yield
    assert raised.value.code == code


def test_the_whole_way_of_an_apply() -> None:
    run = park(claimed(new()))
    assert (run.state, run.is_held, run.resume_left, state_of(run).ticket) == (RunState.RUNNING, False, 30.0, 1)
    run = park(previewed(claimed(run)), None)
    assert (run.state, run.approval_left, run.resume_left) == (RunState.AWAITING_APPROVAL, 86_400.0, None)
    run = approve(run)
    assert (run.state, run.approval_left, run.resume_left) == (RunState.QUEUED, None, 0.0)
    run = begin(claimed(run))
    assert (run.state, state_of(run).approved_by) == (RunState.APPLYING, (BEN,))
    for _ in range(50):  # hours: no claim of them is a failed one
        run = claimed(park(run))
        assert (run.state, run.attempt) == (RunState.APPLYING, 1)
    ended = finish(run, "completed")
    assert (ended.state, ended.reason, ended.lease_left, ended.resume_left) == (RunState.SUCCEEDED, "why", None, None)


def test_a_job_of_an_older_ticket_is_refused_wherever_the_run_is() -> None:
    for run in (park(claimed(new())), claimed(park(claimed(new()))), later(claimed(park(claimed(new()))))):
        with pytest.raises(JobSupersededError):
            claimed(run, ticket=0)
    for run in (waiting(), unknown()):  # a job for these there is none
        with pytest.raises(JobSupersededError):
            claimed(run)
    with pytest.raises(RunOverError):
        claimed(settle(unknown()), ticket=0)
    early = claimed(park(claimed(new()), 3600.0))
    assert early.is_held  # the newest job may come early: nobody compares clocks


def test_a_park_said_twice_is_said_once_and_another_worker_can_say_none() -> None:
    for run in (park(claimed(new())), waiting(), waiting(approvals=0), park(applying())):
        assert park(run) is run
        assert park(run, None) is run
        with pytest.raises(StaleFenceError):
            park(run, fence=run.fence - 1)
    for run in (unknown(), states.release(claimed(new()), 1, "x")):  # whose message must come back
        with pytest.raises(StaleFenceError):
            park(run)
    with pytest.raises(RunOverError):
        park(finish(applying(), "completed"))


def test_what_is_approved_is_the_stored_preview_and_nothing_else() -> None:
    with refused("no_preview"):
        park(claimed(new()), None)
    with refused("hash_differs"):
        approve(waiting(), hash_=OTHER)
    run = previewed(claimed(approve(waiting())), OTHER)
    assert (state_of(run).approved_hash, state_of(run).approved_by) == (None, ())
    for hash_ in (HASH, OTHER):
        with refused("not_approved"):
            begin(run, hash_)
    again = approve(park(run, None), hash_=OTHER)
    assert begin(claimed(again), OTHER).state is RunState.APPLYING
    with refused("not_approved"):
        begin(claimed(again), HASH)
    with refused("not_possible"):
        previewed(applying(), OTHER)
    assert previewed(applying()).state is RunState.APPLYING


def test_an_approval_has_its_time() -> None:
    for seconds in (86_400.0, 86_401.0):
        late = later(waiting(), seconds)
        with refused("approval_expired"):
            approve(late)
        swept = sweep(late)
        assert (swept.state, swept.reason) == (RunState.EXPIRED, "Nobody approved this run in time. Start it again.")
    intime = later(waiting(), 86_399.0)
    assert sweep(intime) is intime
    assert approve(intime).state is RunState.QUEUED


def test_a_second_approver_is_another_token() -> None:
    run = approve(waiting(approvals=2), BEN)
    assert (run.state, state_of(run).approved_hash) == (RunState.AWAITING_APPROVAL, None)
    assert approve(run, BEN) is run
    both = approve(run, CAT)
    assert (both.state, state_of(both).approved_by) == (RunState.QUEUED, (BEN, CAT))
    assert approve(both, BEN) is both
    with refused("not_awaiting_approval"):
        approve(both, ANN)
    with refused("requester_may_not_approve"):
        approve(waiting(requester_may_approve=False), ANN)
    assert approve(waiting(), ANN).state is RunState.QUEUED


def test_an_approval_that_comes_again_while_the_run_is_applied_changes_nothing() -> None:
    run = applying()
    assert approve(run) is run
    with refused("not_awaiting_approval"):
        approve(run, CAT)


def test_nothing_begins_without_approval_unless_the_plan_needs_none() -> None:
    run = previewed(claimed(new()))
    with refused("not_approved"):
        begin(run)
    automatic = previewed(claimed(new(approvals=0)))
    assert begin(automatic).state is RunState.APPLYING
    parked = park(automatic, None)
    assert (parked.state, parked.resume_left, state_of(parked).approved_hash) == (RunState.QUEUED, 0.0, HASH)
    with refused("not_approved"):
        begin(automatic, OTHER)
    with refused("not_approved"):
        begin(claimed(new(approvals=0)))


@pytest.mark.parametrize("action", [DeployAction.PREVIEW, DeployAction.DRIFT])
def test_a_run_that_changes_nothing_cannot_begin_to(action: DeployAction) -> None:
    run = previewed(claimed(new(action=action, approvals=0)))
    with refused("not_possible"):
        begin(run)
    with refused("not_possible"):
        park(run, None)
    assert finish(run, "completed").state is (
        RunState.SUCCEEDED if action is DeployAction.PREVIEW else RunState.PARTIAL  # units were not told
    )


def test_an_end_says_no_more_than_can_be() -> None:
    before = claimed(new())
    for outcome in ("completed", "rolled_back", "unknown"):
        with refused("not_applying"):
            finish(before, outcome)
    nothing = finish(before, "completed", no_change=True)
    assert (nothing.state, state_of(nothing).no_change) == (RunState.SUCCEEDED, True)
    ends = {"completed": "SUCCEEDED", "failed": "FAILED", "canceled": "CANCELED", "rolled_back": "ROLLED_BACK"}
    for outcome, state in ends.items():
        ended = finish(applying(), outcome)  # type: ignore[arg-type]
        assert ended.state == state
        assert states.finish(ended, FinishRun(fence=ended.fence, outcome=outcome, reason="x")) is ended  # type: ignore[arg-type]
    lost = unknown()
    assert (lost.state, lost.state.is_final, lost.lease_left, lost.resume_left) == (
        "OUTCOME_UNKNOWN",
        False,
        None,
        None,
    )
    assert states.finish(lost, FinishRun(fence=lost.fence, outcome="unknown", reason="x")) is lost


def test_a_cancel_ends_what_was_not_begun_and_is_a_wish_after() -> None:
    for run in (new(), park(claimed(new())), waiting(), approve(waiting())):
        assert states.cancel(run, "asked").state is RunState.CANCELED
    held = states.cancel(claimed(approve(waiting())), "asked")
    with refused("cancel_requested"):
        begin(held)
    assert park(held).state is RunState.CANCELED
    run = states.cancel(applying(), "asked")
    assert (run.state, run.is_held, park(run).state) == (RunState.APPLYING, True, RunState.APPLYING)
    parked = park(applying())
    asked = states.cancel(parked, "asked")  # its next job comes at once
    assert (asked.resume_left, state_of(asked).ticket) == (0.0, state_of(parked).ticket + 1)
    assert states.cancel(asked, "again") is asked
    assert claimed(asked).cancel_reason == "asked"
    lost = unknown()
    assert states.cancel(lost, "asked") is lost


def test_aws_may_not_allow_a_cancel() -> None:
    word = RefuseCancel(fence=2, reason="It is being created.")
    run = deploys.refuse_cancel(states.cancel(applying(), "asked"), word)
    assert (run.cancel_reason, state_of(run).cancel_refused) == (None, "It is being created.")
    assert deploys.refuse_cancel(run, word) is run
    again = states.cancel(run, "asked again")
    assert (again.cancel_reason, state_of(again).cancel_refused) == ("asked again", None)
    with refused("not_possible"):
        deploys.refuse_cancel(states.cancel(claimed(new()), "asked"), RefuseCancel(fence=1, reason="x"))


def test_a_reject_ends_only_what_waits_for_approval() -> None:
    ended = deploys.reject(waiting(), "not today")
    assert (ended.state, ended.reason) == (RunState.CANCELED, "Rejected: not today")
    for run in (claimed(new()), approve(waiting()), applying(), unknown()):
        with refused("not_awaiting_approval"):
            deploys.reject(run, "x")


def test_what_was_begun_is_never_failed_for_lack_of_workers() -> None:
    run = later(applying(), 961)
    for nudges in range(1, deploys.MAX_NUDGES + 1):
        ticket = state_of(run).ticket
        run = sweep(run)
        assert (run.state, run.resume_left, state_of(run).nudges) == (RunState.APPLYING, 0.0, nudges)
        assert state_of(run).ticket == ticket + 1
        assert sweep(later(run, 900)) == later(run, 900)
        run = later(run, 901)
    taken = claimed(run)
    assert (taken.state, state_of(taken).nudges) == (RunState.APPLYING, 0)
    lost = sweep(run)
    assert lost.state is RunState.OUTCOME_UNKNOWN
    assert "4500 s" in str(lost.reason)
    assert "settle" in str(lost.reason)
    crashing = applying()
    for _ in range(2):
        crashing = claimed(later(crashing))
    lost = claimed(later(crashing))
    assert lost.state is RunState.OUTCOME_UNKNOWN
    assert "3 attempts" in str(lost.reason)


def test_what_was_not_begun_ends_when_no_worker_takes_it() -> None:
    for run, state, nudges in (
        (park(claimed(new())), RunState.FAILED, deploys.MAX_NUDGES),
        (approve(waiting(approval_seconds=60)), RunState.EXPIRED, deploys.MAX_NUDGES),
        (approve(waiting()), RunState.EXPIRED, 86_400 // 900 - 1),  # its approval is good for a day
    ):
        swept = run
        for _ in range(nudges + 1):
            assert not swept.state.is_final
            swept = sweep(later(swept))
        assert swept.state is state
        assert "Nothing was changed" in str(swept.reason)
    assert states.expire(new(), "late").state is RunState.EXPIRED
    for run in (park(claimed(new())), approve(waiting()), waiting(), park(applying()), unknown()):
        assert states.expire(run, "late") is run  # the api's clock for first jobs is not theirs


def test_a_worker_that_gives_back_what_was_begun_leaves_it_to_another_job() -> None:
    run = states.release(applying(), 2, "draining")
    assert (run.state, run.resume_left, run.attempt) == (RunState.APPLYING, 0.0, 1)
    assert states.release(run, 2, "draining") is run
    with pytest.raises(JobSupersededError):
        claimed(run, ticket=state_of(run).ticket - 1)
    before = states.release(claimed(new()), 1, "draining")
    assert (before.state, state_of(before).ticket) == (RunState.QUEUED, 0)  # its message comes back


def test_a_run_cannot_be_parked_for_ever() -> None:
    for run, state in ((applying(), RunState.OUTCOME_UNKNOWN), (claimed(new()), RunState.FAILED)):
        worn = replace(run, deploy=msgspec.structs.replace(state_of(run), parks=deploys.MAX_PARKS))
        assert park(worn).state is state


def test_an_unknown_outcome_ends_by_another_look_or_by_a_person() -> None:
    lost = unknown()
    assert sweep(later(lost)) == later(lost)
    again = deploys.reconcile(lost)
    assert (again.state, again.resume_left, again.attempt) == (RunState.APPLYING, 0.0, 0)
    assert deploys.reconcile(again) is again
    assert finish(claimed(again), "completed").state is RunState.SUCCEEDED
    for outcome in ("SUCCEEDED", "ROLLED_BACK", "FAILED"):
        ended = settle(lost, outcome)
        assert (ended.state, ended.reason) == (outcome, "Settled by a person: seen")
        assert settle(ended, outcome) is ended
    for run in (waiting(), applying(), again, settle(lost)):
        with refused("not_unknown"):
            settle(run, "SUCCEEDED")
    for run in (waiting(), settle(lost)):
        with refused("not_unknown"):
            deploys.reconcile(run)


def test_stack_events_count_and_tell_how_far_it_is() -> None:
    word = PutEvents(fence=2, part=0, events=[EVENT, EVENT], checkpoint=CHECKPOINT, done=3, total=7)
    run = deploys.events_stored(applying(), word)
    assert (state_of(run).documents["events"], state_of(run).parts) == (2, 1)
    assert (run.units_done, run.units_total) == (3, 7)
    back = deploys.events_stored(
        run, PutEvents(fence=2, part=1, events=[EVENT], checkpoint=CHECKPOINT, done=1, total=2)
    )
    assert (back.units_done, back.units_total, state_of(back).documents["events"]) == (3, 3, 3)


def test_other_pools_have_none_of_this() -> None:
    identity = RunIdentity(new_id(), new_id(), new_id(), 1, new_id(), "123456789012", Pool.AUDIT)
    audit = states.claim(Run(identity), worker_id="w", lease_seconds=60, max_attempts=3)
    for word in (park, begin, previewed, approve, deploys.reconcile, settle):
        with refused("not_possible"):
            word(audit)


FENCES, PEOPLE, HASHES = st.integers(0, 6), st.sampled_from([ANN, BEN, CAT]), st.sampled_from([HASH, OTHER])
WORDS = st.one_of(
    st.tuples(st.sampled_from(["claim", "preview", "park", "await", "begin", "work", "release"]), st.none()),
    st.tuples(st.sampled_from(["completed", "failed", "canceled", "rolled_back", "unknown"]), st.none()),
    st.tuples(
        st.sampled_from(["cancel", "refuse", "expire", "reject", "reconcile", "settle", "later", "sweep"]), st.none()
    ),
    st.tuples(st.just("old claim"), FENCES),
    st.tuples(st.just("stale park"), FENCES),
    st.tuples(st.just("approve"), st.tuples(PEOPLE, HASHES)),
    st.tuples(st.just("preview"), HASHES),
)


def say(run: Run, word: str, argument: Any) -> Run:  # noqa: PLR0911, PLR0912, C901  one line per word
    match word:
        case "claim":
            return claimed(run)
        case "old claim":
            return claimed(run, ticket=argument)
        case "preview":
            return previewed(run, argument or HASH)
        case "park":
            return park(run)
        case "stale park":
            return park(run, fence=argument)
        case "await":
            return park(run, None)
        case "begin":
            return begin(run, state_of(run).preview_hash or HASH)
        case "work":
            return states.heartbeat(run, run.fence, lease_seconds=60, units_total=3)
        case "release":
            return states.release(run, run.fence, "x")
        case "cancel":
            return states.cancel(run, "asked")
        case "refuse":
            return deploys.refuse_cancel(run, RefuseCancel(fence=run.fence, reason="x"))
        case "expire":
            return states.expire(run, "late")
        case "approve":
            return approve(run, *argument)
        case "reject":
            return deploys.reject(run, "x")
        case "reconcile":
            return deploys.reconcile(run)
        case "settle":
            return settle(run)
        case "later":
            return later(run, 1000)
        case "sweep":
            return sweep(run)
    return finish(run, word)  # type: ignore[arg-type]


BEGUN = {RunState.APPLYING, RunState.OUTCOME_UNKNOWN}
ENDS_OF_BEGUN = {RunState.SUCCEEDED, RunState.FAILED, RunState.ROLLED_BACK, RunState.CANCELED}


USUAL: list[tuple[str, Any]] = [
    *(("claim", None), ("preview", HASH), ("await", None), ("approve", (BEN, HASH)), ("approve", (CAT, HASH))),
    *(("claim", None), ("begin", None), ("park", None), ("claim", None), ("unknown", None)),
]
TERMS = st.fixed_dictionaries(
    {"approvals": st.integers(0, 2), "requester_may_approve": st.booleans(), "approval_seconds": st.just(3600)}
)
# The usual way with words left out and others put in: what words by chance alone would hardly come to.
WAYS = st.tuples(
    st.sets(st.integers(0, len(USUAL) - 1), max_size=3),
    st.lists(st.tuples(st.integers(0, len(USUAL)), WORDS), max_size=6),
).map(lambda drawn: way(*drawn))


def way(left_out: set[int], put_in: list[tuple[int, tuple[str, Any]]]) -> list[tuple[str, Any]]:
    words = [(at, 1, word) for at, word in enumerate(USUAL) if at not in left_out]
    words += [(at, 0, word) for at, word in put_in]
    return [word for _, _, word in sorted(words, key=lambda each: each[:2])]


@settings(max_examples=400)
@given(TERMS, WAYS, st.lists(WORDS, max_size=10))
def test_over_any_words_nothing_is_begun_twice_or_unapproved_and_all_ends_or_waits_for_a_person(
    terms: dict[str, Any], usual: list[tuple[str, Any]], more: list[tuple[str, Any]]
) -> None:
    run = new(**terms)
    for word, argument in [*usual, *more]:
        try:
            after = say(run, word, argument)
        except Problem:
            continue
        check_step(run, word, argument, after)
        run = after
    # Whatever was said: without workers it ends, or waits for a person, or for the first job's time to run out.
    for _ in range(deploys.MAX_NUDGES + 2):
        after = sweep(later(run))
        check_step(run, "sweep", None, after)
        run = after
    assert run.state.is_final or run.state is RunState.OUTCOME_UNKNOWN or states.expire(run, "late").state.is_final


def check_step(run: Run, word: str, argument: Any, after: Run) -> None:
    before, now = state_of(run), state_of(after)
    if run.state.is_final:
        assert after == run
        return
    assert after.fence - run.fence in ({0, 1} if "claim" in word else {0})
    assert after.attempt <= 3
    assert now.ticket >= before.ticket
    # One of: ended, a worker's, parked with a ticket of its own, people's, or waiting for the message there is.
    assert after.is_held + after.is_parked <= 1
    assert after.is_parked <= (after.lease_left is None)
    assert (after.approval_left is not None) == (after.state is RunState.AWAITING_APPROVAL)
    if after.is_parked and not run.is_parked:
        assert now.ticket > before.ticket
    if word == "old claim" and after.fence > run.fence:
        assert argument >= before.ticket
    # What may have been changed is not begun anew, and only its worker or a person ends it.
    if run.state in BEGUN:
        assert after.state in BEGUN | ENDS_OF_BEGUN
        if after.state.is_final:
            assert word in {"completed", "failed", "canceled", "rolled_back", "settle"}
    elif after.state in BEGUN:
        assert word == "begin"
        assert run.cancel_reason is None
        terms = after.identity.terms
        assert terms is not None
        assert before.preview_hash is not None
        assert before.preview_hash == before.approved_hash or terms.approvals == 0
        assert len(set(before.approved_by)) >= terms.approvals
        assert terms.requester_may_approve or ANN not in before.approved_by
    if after.state.is_final and after.state is not RunState.SUCCEEDED:
        assert after.reason
