"""What is said of deploys alone, as changes of a run: see `ledger.transitions`.

Between its jobs a deploy is parked: no worker has it, and the feed tells when the next job is due and under which
ticket. Who may have AWS change something is decided here, by what people approved, whatever workers and api believe.
"""

from dataclasses import replace
from typing import Any, Final

import msgspec

from coreo_results.ledger.errors import HashDiffersError, NotPossibleError, RequesterMayNotApproveError
from coreo_results.ledger.run import DeployState, Run
from coreo_results.ledger.transitions import Change, check_holder, end, moved, parked, was_parked
from coreo_shared.contracts.deploys import (
    ApproveRun,
    BeginApply,
    DeployTerms,
    ParkRun,
    PutEvents,
    RefuseCancel,
    SettleRun,
)
from coreo_shared.contracts.terms import RunState

MAX_PARKS: Final = 20_000  # of one run: a week of polls, twice a minute
MAX_NUDGES: Final = 4  # of a run that no worker takes; more where `_patience` is longer
_CHANGE_OF_OUTCOME: Final = {
    "SUCCEEDED": Change.COMPLETE,
    "ROLLED_BACK": Change.ROLL_BACK,
    "FAILED": Change.FAIL,
}
_SETTLE: Final = "Look at the stack in AWS, then have the run reconciled, or settle it by what you saw."


def park(run: Run, word: ParkRun) -> Run:
    """The run out of its worker's hands, waiting for its next job or for people. Said twice is said once.

    It is ended instead if somebody asked for that before anything was begun, or if it was parked too often.

    Raises StaleFenceError, RunOverError, NotPossibleError.
    """
    state, terms = deploy_of(run)
    if was_parked(run, word.fence):
        return run
    check_holder(run, word.fence)
    if run.cancel_reason is not None and run.state is not RunState.APPLYING:
        return end(run, Change.CANCEL, run.cancel_reason)
    if word.resume_seconds is None:
        return _await(run, word.reason, state, terms)
    if state.parks >= MAX_PARKS:
        return _given_up(run, f"This run was parked {state.parks} times without coming to an end.")
    seconds, parks = word.resume_seconds, state.parks + 1
    return replace(parked(run, Change.PARK, seconds=seconds, reason=word.reason, parks=parks), attempt=0)


def approve(run: Run, word: ApproveRun) -> Run:
    """The run with an approval more; open to its next job once there are enough. Said twice is said once.

    Raises NotPossibleError, HashDiffersError, RequesterMayNotApproveError.
    """
    state, terms = deploy_of(run)
    if word.approver_id in state.approved_by and word.hash == state.preview_hash:
        return run
    if run.state is not RunState.AWAITING_APPROVAL:
        raise NotPossibleError(f"This run waits for nobody's approval: it is {run.state}.", "not_awaiting_approval")
    if run.approval_left is None or run.approval_left <= 0:
        raise NotPossibleError("The time to approve this run has passed. Start it again.", "approval_expired")
    if word.hash != state.preview_hash:
        raise HashDiffersError
    if not terms.requester_may_approve and word.approver_id == terms.requested_by:
        raise RequesterMayNotApproveError
    approved_by = (*state.approved_by, word.approver_id)
    if len(approved_by) < terms.approvals:
        return replace(run, deploy=msgspec.structs.replace(state, approved_by=approved_by))
    return _approved(run, state, approved_by)


def reject(run: Run, reason: str) -> Run:
    """The run ended as somebody does not want it. Raises NotPossibleError."""
    deploy_of(run)
    if run.state is not RunState.AWAITING_APPROVAL:
        raise NotPossibleError(f"This run waits for nobody's approval: it is {run.state}.", "not_awaiting_approval")
    return end(run, Change.CANCEL, f"Rejected: {reason}")


def begin_apply(run: Run, word: BeginApply) -> Run:
    """The run about to change something in AWS. Said twice is said once.

    Raises StaleFenceError, RunOverError, NotPossibleError.
    """
    check_holder(run, word.fence)
    if run.state is RunState.APPLYING:
        return run
    state, terms = _changing(run)
    if run.cancel_reason is not None:
        raise NotPossibleError("Somebody asked that this run end. End it as canceled.", "cancel_requested")
    if word.hash != state.preview_hash or (terms.approvals > 0 and word.hash != state.approved_hash):
        raise NotPossibleError("Nobody has approved this; no preview with that hash, or not enough.", "not_approved")
    return moved(run, Change.BEGIN)


def refuse_cancel(run: Run, word: RefuseCancel) -> Run:
    """The run going on though somebody asked that it end: AWS does not allow that. Raises as `begin_apply`."""
    check_holder(run, word.fence)
    state, _ = deploy_of(run)
    if run.state is not RunState.APPLYING:
        raise NotPossibleError("Nothing was begun, so nothing stands against a cancel. End the run as canceled.")
    if run.cancel_reason is None:
        return run
    return replace(run, cancel_reason=None, deploy=msgspec.structs.replace(state, cancel_refused=word.reason))


def document_stored(run: Run, fence: int, name: str, preview_hash: str | None) -> Run:
    """The run at work with a document more. A preview of another hash takes approvals with it.

    Raises StaleFenceError, RunOverError, NotPossibleError.
    """
    run, state = _at_work(run, fence)
    documents = {**state.documents, name: state.documents.get(name, 0) + 1}
    fields: dict[str, Any] = {"documents": documents}
    if preview_hash is not None and preview_hash != state.preview_hash:
        if run.state is RunState.APPLYING:
            raise NotPossibleError("What is being applied was approved. Its preview stays.")
        fields |= {"preview_hash": preview_hash, "approved_hash": None, "approved_by": ()}
    return replace(run, deploy=msgspec.structs.replace(state, **fields))


def events_stored(run: Run, word: PutEvents) -> Run:
    """The run at work with a part more of its stack events, and its progress. Raises as `document_stored`."""
    run, state = _at_work(run, word.fence)
    events = state.documents.get("events", 0) + len(word.events)
    state = msgspec.structs.replace(state, parts=state.parts + 1, documents={**state.documents, "events": events})
    done = max(run.units_done, word.done or 0)
    total = run.units_total if word.total is None else word.total
    return replace(run, deploy=state, units_done=done, units_total=None if total is None else max(total, done))


def reconcile(run: Run) -> Run:
    """The run of unknown outcome open to a job that looks again. Raises NotPossibleError."""
    deploy_of(run)
    if run.state is RunState.APPLYING:
        return run
    if run.state is not RunState.OUTCOME_UNKNOWN:
        raise _not_unknown(run)
    again = parked(run, Change.RECONCILE, seconds=0.0, reason="A worker will look what became of it.", nudges=0)
    return replace(again, attempt=0)


def settle(run: Run, word: SettleRun) -> Run:
    """The run of unknown outcome ended by the word of a person. Raises NotPossibleError."""
    deploy_of(run)
    if run.state == word.outcome:
        return run
    if run.state is not RunState.OUTCOME_UNKNOWN:
        raise _not_unknown(run)
    return end(run, _CHANGE_OF_OUTCOME[word.outcome], f"Settled by a person: {word.reason}")


def sweep(run: Run, *, abandon_after_seconds: float) -> Run:
    """The run sent to a worker again, ended, or of unknown outcome, if it waited too long; else unchanged."""
    if run.state is RunState.AWAITING_APPROVAL:
        if run.approval_left is None or run.approval_left > 0:
            return run
        return end(run, Change.EXPIRE, "Nobody approved this run in time. Start it again.")
    waits_since = run.resume_left if run.is_parked else run.lease_left if run.state is RunState.APPLYING else None
    if run.deploy is None or waits_since is None or -waits_since <= abandon_after_seconds:
        return run
    nudges = run.deploy.nudges
    waited = (nudges + 1) * abandon_after_seconds
    if nudges < MAX_NUDGES or waited < _patience(run):
        return parked(run, Change.NUDGE, seconds=0.0, reason=run.reason, nudges=nudges + 1)
    return _given_up(
        run,
        f"No deploy worker has taken this run within {waited:g} s. Check that workers of the pool are running and that "
        "the run's cloud account is CONNECTED.",
    )


def deploy_of(run: Run) -> tuple[DeployState, DeployTerms]:
    """What is special of a deploy. Raises NotPossibleError for a run of another pool."""
    if run.deploy is None or run.identity.terms is None:
        raise NotPossibleError("This is no run of the deploy pool.")
    return run.deploy, run.identity.terms


def _changing(run: Run) -> tuple[DeployState, DeployTerms]:
    state, terms = deploy_of(run)
    if not terms.action.changes_stack:
        raise NotPossibleError(f"A run that is for {terms.action} alone changes nothing.")
    return state, terms


def _at_work(run: Run, fence: int) -> tuple[Run, DeployState]:
    check_holder(run, fence)
    state, _ = deploy_of(run)
    return moved(run, Change.PROGRESS), state


def _await(run: Run, reason: str | None, state: DeployState, terms: DeployTerms) -> Run:
    _changing(run)
    if run.state is RunState.APPLYING:
        raise NotPossibleError("This run is being applied. There is nothing left to approve.")
    if state.preview_hash is None:
        raise NotPossibleError("There is no preview that anybody could approve.", "no_preview")
    state = msgspec.structs.replace(
        state, ticket=state.ticket + 1, parks=state.parks + 1, approved_hash=None, approved_by=()
    )
    waiting = moved(
        run,
        Change.AWAIT,
        reason=reason or "Waiting for approval.",
        attempt=0,
        lease_left=None,
        approval_left=float(terms.approval_seconds),
        deploy=state,
    )
    return waiting if terms.approvals > 0 else _approved(waiting, state, ())


def _approved(run: Run, state: DeployState, approved_by: tuple[Any, ...]) -> Run:
    reason = "Approved; waiting for a worker." if approved_by else "Waiting for a worker; the plan needs no approval."
    hash_ = state.preview_hash
    return parked(run, Change.APPROVE, seconds=0.0, reason=reason, approved_hash=hash_, approved_by=approved_by)


def _patience(run: Run) -> float:
    """How many seconds a run waits for a worker in any case: what is approved may have to wait for others' ends, and
    nothing is lost by it, for as long as an approval is good for.
    """
    _, terms = deploy_of(run)
    return float(terms.approval_seconds) if run.state is RunState.QUEUED else 0.0


def _given_up(run: Run, why: str) -> Run:
    match run.state:
        case RunState.APPLYING:
            return end(run, Change.LOSE, f"{why} {_SETTLE}")
        case RunState.QUEUED:
            return end(run, Change.EXPIRE, f"{why} Nothing was changed. Start the run again.")
        case _:
            return end(run, Change.FAIL, f"{why} Nothing was changed. Start the run again.")


def _not_unknown(run: Run) -> NotPossibleError:
    return NotPossibleError(f"The outcome of this run is not unknown: it is {run.state}.", "not_unknown")
