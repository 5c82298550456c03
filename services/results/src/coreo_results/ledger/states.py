"""The run's state machine: every change of a run is made by a function of this module, and nothing else writes a state.

All functions are pure: they take the run as stored and give the run as it shall be stored (the same object when nothing
changes), or raise the refusal. A run that has ended never changes again.
"""

from dataclasses import replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Literal

from coreo_results.ledger.errors import RunBusyError, RunOverError, StaleFenceError
from coreo_results.ledger.run import Run
from coreo_shared.contracts.results import Counts, FinishRun
from coreo_shared.contracts.terms import FindingStatus, RunState

Outcome = Literal["completed", "failed", "canceled"]


class Change(StrEnum):
    """What can happen to a run."""

    CLAIM = "claim"  # a worker takes it, for the first time or over from one whose lease ran out
    PROGRESS = "progress"  # its worker stored something or knows the number of units
    RELEASE = "release"  # its worker gives it back
    COMPLETE = "complete"  # everything was evaluated
    COMPLETE_WITH_GAPS = "complete_with_gaps"  # some of it could not be
    FAIL = "fail"
    CANCEL = "cancel"
    EXPIRE = "expire"  # nobody took it in time


_WAITING = (RunState.QUEUED,)
_HELD = (RunState.CLAIMED, RunState.RUNNING)
_ALIVE = _WAITING + _HELD
TRANSITIONS = MappingProxyType(
    {(state, Change.CLAIM): RunState.CLAIMED for state in _ALIVE}
    | {(state, Change.PROGRESS): RunState.RUNNING for state in _HELD}
    | {(state, Change.RELEASE): RunState.QUEUED for state in _HELD}
    | {(state, Change.COMPLETE): RunState.SUCCEEDED for state in _HELD}
    | {(state, Change.COMPLETE_WITH_GAPS): RunState.PARTIAL for state in _HELD}
    | {(state, Change.FAIL): RunState.FAILED for state in _ALIVE}
    | {(state, Change.CANCEL): RunState.CANCELED for state in _ALIVE}
    | {(state, Change.EXPIRE): RunState.EXPIRED for state in _WAITING}
)
_STATES_OF_OUTCOME: dict[Outcome, frozenset[RunState]] = {
    "completed": frozenset({RunState.SUCCEEDED, RunState.PARTIAL}),
    "failed": frozenset({RunState.FAILED}),
    "canceled": frozenset({RunState.CANCELED}),
}
_CANCELED = "Canceled on request."


class TransitionError(Exception):
    """The table has no such transition: a bug in the caller."""


def next_state(state: RunState, change: Change) -> RunState:
    """Where the change leads. Raises TransitionError."""
    try:
        return TRANSITIONS[state, change]
    except KeyError:
        raise TransitionError(f"{change} is not possible in state {state}") from None


def claim(run: Run, *, worker_id: str, lease_seconds: float, max_attempts: int) -> Run:
    """The run in the worker's hands under a new fence, or ended: canceled as asked, or failed for too many attempts.

    Raises RunBusyError, RunOverError.
    """
    if run.state.is_final:
        raise RunOverError
    if run.lease_left is not None and run.lease_is_live:
        raise RunBusyError(run.lease_left)
    if run.cancel_reason is not None:
        return _end(run, Change.CANCEL, run.cancel_reason)
    if run.attempt >= max_attempts:
        return _end(run, Change.FAIL, _too_many_attempts(run))
    return _moved(
        run,
        Change.CLAIM,
        reason=None,
        fence=run.fence + 1,
        attempt=run.attempt + 1,
        worker_id=worker_id,
        lease_left=lease_seconds,
    )


def heartbeat(run: Run, fence: int, *, lease_seconds: float, units_total: int | None) -> Run:
    """The run with its lease renewed. Raises StaleFenceError, RunOverError."""
    _check_holder(run, fence)
    if units_total is None:
        return replace(run, lease_left=lease_seconds)
    return _moved(run, Change.PROGRESS, lease_left=lease_seconds, units_total=max(units_total, run.units_done))


def progress(run: Run, fence: int) -> Run:
    """The run at work: its worker stored something. Raises StaleFenceError, RunOverError."""
    _check_holder(run, fence)
    return _moved(run, Change.PROGRESS)


def unit_stored(run: Run, counts: Counts) -> Run:
    """The run with one more unit done, whose findings are `counts`."""
    done = run.units_done + 1
    total = None if run.units_total is None else max(run.units_total, done)
    return _moved(run, Change.PROGRESS, units_done=done, units_total=total, counts=add_counts(run.counts, counts))


def release(run: Run, fence: int, reason: str) -> Run:
    """The run given back, open to the next claim at once; ended if someone asked for that. Said twice is said once.

    Raises StaleFenceError, RunOverError.
    """
    if run.state is RunState.QUEUED and run.fence == fence and fence > 0:
        return run
    _check_holder(run, fence)
    if run.cancel_reason is not None:
        return _end(run, Change.CANCEL, run.cancel_reason)
    return _moved(run, Change.RELEASE, reason=f"Given back by its worker: {reason}", lease_left=0.0)


def finish(run: Run, end: FinishRun) -> Run:
    """The run ended as its worker says; for "completed" what was stored decides, or the report where there are no
    units. Said twice is said once.

    Raises StaleFenceError, RunOverError.
    """
    if run.state in _STATES_OF_OUTCOME[end.outcome] and run.fence == end.fence:
        return run
    _check_holder(run, end.fence)
    if end.units_total is not None:
        run = replace(run, units_total=max(end.units_total, run.units_done))
    if end.outcome == "failed":
        return _end(run, Change.FAIL, end.reason)
    if end.outcome == "canceled":
        return _end(run, Change.CANCEL, end.reason or run.cancel_reason or _CANCELED)
    if end.report is not None:
        return replace(_end(run, Change.COMPLETE, None), report=end.report)
    gaps = _gaps(run)
    return _end(run, Change.COMPLETE_WITH_GAPS, gaps) if gaps else _end(run, Change.COMPLETE, None)


def cancel(run: Run, reason: str) -> Run:
    """The run ended if no worker has it; else marked, for its worker, the next claim or the sweeper to end."""
    if run.state.is_final:
        return run
    if run.is_held:
        return run if run.cancel_reason is not None else replace(run, cancel_reason=reason)
    return _end(replace(run, cancel_reason=reason), Change.CANCEL, reason)


def expire(run: Run, reason: str) -> Run:
    """The run ended because nobody took it in time; one that a worker has taken meanwhile goes on."""
    if run.state.is_final or run.is_held:
        return run
    return _end(run, Change.EXPIRE, reason)


def sweep(run: Run, *, abandon_after_seconds: float) -> Run:
    """The run ended if its lease ran out and a cancel is waiting, or if it ran out too long ago; else unchanged."""
    if run.state.is_final or run.lease_left is None or run.lease_left >= 0:
        return run
    if run.cancel_reason is not None:
        return _end(run, Change.CANCEL, run.cancel_reason)
    if -run.lease_left <= abandon_after_seconds:
        return run
    return _end(run, Change.FAIL, _lost(run, abandon_after_seconds))


def add_counts(left: Counts, right: Counts) -> Counts:
    """The sum of both."""
    return Counts(
        by_status=_sum(left.by_status, right.by_status),
        failed_by_severity=_sum(left.failed_by_severity, right.failed_by_severity),
    )


def _check_holder(run: Run, fence: int) -> None:
    if run.state.is_final:
        raise RunOverError
    if not run.is_held or run.fence != fence:
        raise StaleFenceError


def _moved(run: Run, change: Change, **fields: Any) -> Run:
    return replace(run, state=next_state(run.state, change), **fields)


def _end(run: Run, change: Change, reason: str | None) -> Run:
    return _moved(run, change, reason=reason, lease_left=None)


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
    return (
        f"No worker finished this run in {run.attempt} attempts; the last was {run.worker_id}. "
        "Look for what stopped it in that worker's log, then start the run again."
    )


def _lost(run: Run, seconds: float) -> str:
    if run.is_held:
        what = f"Worker {run.worker_id} stopped reporting, and no other took the run over within {seconds:g} s."
    else:
        what = f"The run was given back and no worker took it within {seconds:g} s. ({run.reason})"
    return what + " Check that the worker pool is running, then start the run again."


def _sum(left: dict[Any, int], right: dict[Any, int]) -> dict[Any, int]:
    return {key: left.get(key, 0) + right.get(key, 0) for key in left.keys() | right.keys()}
