"""What is said of runs of all pools, as changes of a run: see `ledger.transitions`.

What is said of deploys alone is in `ledger.deploys`.
"""

from dataclasses import replace
from typing import Any, Literal

import msgspec

from coreo_results.ledger.errors import (
    JobSupersededError,
    NotPossibleError,
    RunBusyError,
    RunOverError,
)
from coreo_results.ledger.run import Run
from coreo_results.ledger.transitions import Change, check_holder, end, moved, parked, was_parked
from coreo_shared.contracts.deploys import DeployAction
from coreo_shared.contracts.results import Counts, FinishRun
from coreo_shared.contracts.terms import FindingStatus, RunState

Outcome = Literal["completed", "failed", "canceled", "rolled_back", "unknown"]

_STATES_OF_OUTCOME: dict[Outcome, frozenset[RunState]] = {
    "completed": frozenset({RunState.SUCCEEDED, RunState.PARTIAL}),
    "failed": frozenset({RunState.FAILED}),
    "canceled": frozenset({RunState.CANCELED}),
    "rolled_back": frozenset({RunState.ROLLED_BACK}),
    "unknown": frozenset({RunState.OUTCOME_UNKNOWN}),
}
_UNCLAIMABLE = frozenset({RunState.AWAITING_APPROVAL, RunState.OUTCOME_UNKNOWN})
_BEFORE_BEGIN = frozenset({RunState.QUEUED, RunState.CLAIMED, RunState.RUNNING})
_CANCELED = "Canceled on request."


def claim(run: Run, *, worker_id: str, lease_seconds: float, max_attempts: int, ticket: int = 0) -> Run:
    """The run in the worker's hands under a new fence, or ended: canceled as asked, or failed for too many attempts.

    One that is APPLYING is neither canceled nor failed so: the worker must look first, and after too many attempts a
    person. `ticket`: the job's. Raises RunBusyError, RunOverError, JobSupersededError.
    """
    if run.state.is_final:
        raise RunOverError
    if (run.deploy is not None and ticket < run.deploy.ticket) or run.state in _UNCLAIMABLE:
        raise JobSupersededError
    if run.lease_left is not None and run.lease_is_live:
        raise RunBusyError(run.lease_left)
    applying = run.state is RunState.APPLYING
    if run.cancel_reason is not None and not applying:
        return end(run, Change.CANCEL, run.cancel_reason)
    if run.attempt >= max_attempts:
        return end(run, Change.LOSE if applying else Change.FAIL, _too_many_attempts(run))
    return moved(
        run,
        Change.CLAIM,
        deploy=None if run.deploy is None else msgspec.structs.replace(run.deploy, nudges=0),
        resume_left=None,
        reason=None,
        fence=run.fence + 1,
        attempt=run.attempt + 1,
        worker_id=worker_id,
        lease_left=lease_seconds,
    )


def heartbeat(run: Run, fence: int, *, lease_seconds: float, units_total: int | None) -> Run:
    """The run with its lease renewed. Raises StaleFenceError, RunOverError."""
    check_holder(run, fence)
    if units_total is None:
        return replace(run, lease_left=lease_seconds)
    return moved(run, Change.PROGRESS, lease_left=lease_seconds, units_total=max(units_total, run.units_done))


def progress(run: Run, fence: int) -> Run:
    """The run at work: its worker stored something. Raises StaleFenceError, RunOverError."""
    check_holder(run, fence)
    return moved(run, Change.PROGRESS)


def unit_stored(run: Run, counts: Counts) -> Run:
    """The run with one more unit done, whose findings are `counts`."""
    done = run.units_done + 1
    total = None if run.units_total is None else max(run.units_total, done)
    return moved(run, Change.PROGRESS, units_done=done, units_total=total, counts=add_counts(run.counts, counts))


def release(run: Run, fence: int, reason: str) -> Run:
    """The run given back, open to the next claim at once; ended if someone asked for that. Said twice is said once.

    One that is APPLYING is not ended so, and goes on with another job, as this one's message may be lost. Raises
    StaleFenceError, RunOverError.
    """
    if was_parked(run, fence) or (run.state is RunState.QUEUED and run.fence == fence and fence > 0):
        return run
    check_holder(run, fence)
    reason = f"Given back by its worker: {reason}"
    if run.state is RunState.APPLYING:
        return parked(run, Change.RELEASE, seconds=0.0, reason=reason)
    if run.cancel_reason is not None:
        return end(run, Change.CANCEL, run.cancel_reason)
    return moved(run, Change.RELEASE, reason=reason, lease_left=0.0)


def finish(run: Run, word: FinishRun) -> Run:
    """The run ended as its worker says; for "completed" what was stored decides, or the report where there are no
    units. Said twice is said once.

    Raises StaleFenceError, RunOverError, NotPossibleError.
    """
    if run.state in _STATES_OF_OUTCOME[word.outcome] and run.fence == word.fence:
        return run
    check_holder(run, word.fence)
    _check_began(run, word)
    if word.units_total is not None:
        run = replace(run, units_total=max(word.units_total, run.units_done))
    match word.outcome:
        case "failed":
            return end(run, Change.FAIL, word.reason)
        case "rolled_back":
            return end(run, Change.ROLL_BACK, word.reason)
        case "unknown":
            return end(run, Change.LOSE, word.reason)
        case "canceled":
            return end(run, Change.CANCEL, word.reason or run.cancel_reason or _CANCELED)
    return _completed(run, word)


def cancel(run: Run, reason: str) -> Run:
    """The run ended if no worker has it; else marked, for its worker, the next claim or the sweeper to end.

    One that is APPLYING is only ever marked, and goes on with another job at once if no worker has it. Of one whose
    outcome is unknown nothing is left to cancel.
    """
    if run.state.is_final or run.state is RunState.OUTCOME_UNKNOWN:
        return run
    if run.is_held or run.state is RunState.APPLYING:
        return run if run.cancel_reason is not None else _marked(run, reason)
    return end(replace(run, cancel_reason=reason), Change.CANCEL, reason)


def expire(run: Run, reason: str) -> Run:
    """The run ended because nobody took it in time; one that a worker has taken meanwhile goes on.

    So does one that is parked, approved, or waits for people: the sweeper sees to these.
    """
    if run.state is not RunState.QUEUED or run.is_parked:
        return run
    return end(run, Change.EXPIRE, reason)


def sweep(run: Run, *, abandon_after_seconds: float) -> Run:
    """The run ended if its lease ran out and a cancel is waiting, or if it ran out too long ago; else unchanged.

    Of deploys, those in a state of their own are for `deploys.sweep`.
    """
    if run.state not in _BEFORE_BEGIN or run.lease_left is None or run.lease_left >= 0:
        return run
    if run.cancel_reason is not None:
        return end(run, Change.CANCEL, run.cancel_reason)
    if -run.lease_left <= abandon_after_seconds:
        return run
    return end(run, Change.FAIL, _lost(run, abandon_after_seconds))


def add_counts(left: Counts, right: Counts) -> Counts:
    """The sum of both."""
    return Counts(
        by_status=_sum(left.by_status, right.by_status),
        failed_by_severity=_sum(left.failed_by_severity, right.failed_by_severity),
    )


def _marked(run: Run, reason: str) -> Run:
    """The run whose worker shall hear that somebody wants it ended; the next one, and soon, if it is parked."""
    run = replace(run, cancel_reason=reason)
    if run.deploy is None:
        return run
    run = replace(run, deploy=msgspec.structs.replace(run.deploy, cancel_refused=None))
    return parked(run, Change.NUDGE, seconds=0.0, reason=run.reason) if run.is_parked else run


def _check_began(run: Run, word: FinishRun) -> None:
    """Refuses an end that says more than can be: what was not begun cannot be rolled back, unknown, or done."""
    if run.state is RunState.APPLYING:
        return
    changes = run.identity.terms is not None and run.identity.terms.action.changes_stack
    done = word.outcome == "completed" and changes and not word.no_change
    if done or word.outcome in {"rolled_back", "unknown"}:
        raise NotPossibleError("This run has not begun to change anything.", "not_applying")


def _completed(run: Run, word: FinishRun) -> Run:
    if word.report is not None:
        return replace(end(run, Change.COMPLETE, None), report=word.report)
    terms = run.identity.terms
    if run.deploy is not None and terms is not None:
        run = replace(run, deploy=msgspec.structs.replace(run.deploy, no_change=word.no_change))
        if terms.action is not DeployAction.DRIFT:  # which alone has units
            return end(run, Change.COMPLETE, word.reason)
    gaps = _gaps(run)
    return end(run, Change.COMPLETE_WITH_GAPS, gaps) if gaps else end(run, Change.COMPLETE, None)


def _gaps(run: Run) -> str | None:
    """What keeps a completed run from SUCCEEDED, or None. Unknown is never pass."""
    gaps = []
    skipped = run.counts.by_status.get(FindingStatus.NOT_EVALUATED, 0)
    if skipped:
        gaps.append(f"{skipped} findings are NOT_EVALUATED: each names the missing permission or the error.")
    if run.units_total is None:
        gaps.append("The worker did not say how many units there were, so some may be missing.")
    elif run.units_done < run.units_total:
        missing = run.units_total - run.units_done
        gaps.append(f"{missing} of {run.units_total} units were not evaluated. Start the run again.")
    return " ".join(gaps) or None


def _too_many_attempts(run: Run) -> str:
    began = run.state is RunState.APPLYING
    return (
        f"No worker finished this run in {run.attempt} attempts; the last was {run.worker_id}. "
        "Look for what stopped it in that worker's log, then "
        + ("have it reconciled, or settle it by what you see in AWS." if began else "start the run again.")
    )


def _lost(run: Run, seconds: float) -> str:
    if run.is_held:
        what = f"Worker {run.worker_id} stopped reporting, and no other took the run over within {seconds:g} s."
    else:
        what = f"The run was given back and no worker took it within {seconds:g} s. ({run.reason})"
    return what + " Check that the worker pool is running, then start the run again."


def _sum(left: dict[Any, int], right: dict[Any, int]) -> dict[Any, int]:
    return {key: left.get(key, 0) + right.get(key, 0) for key in left.keys() | right.keys()}
