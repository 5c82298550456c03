"""The table of a run's transitions, and how one is made. Nothing else writes a state.

All functions here, in `ledger.states` and in `ledger.deploys` are pure: they take the run as stored and give the run as
it shall be stored (the same object when nothing changes), or raise the refusal. A run that has ended never changes.
"""

from dataclasses import replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any

import msgspec

from coreo_results.ledger.errors import RunOverError, StaleFenceError
from coreo_results.ledger.run import Run
from coreo_shared.contracts.terms import RunState


class Change(StrEnum):
    """What can happen to a run."""

    CLAIM = "claim"  # a worker takes it, for the first time or over from one whose lease ran out
    PROGRESS = "progress"  # its worker stored something or knows the number of units
    RELEASE = "release"  # its worker gives it back
    COMPLETE = "complete"  # everything was evaluated
    COMPLETE_WITH_GAPS = "complete_with_gaps"  # some of it could not be
    FAIL = "fail"
    CANCEL = "cancel"
    EXPIRE = "expire"  # nobody took it in time, or approved it
    # Of deploys alone:
    PARK = "park"  # its worker lets go of it; another job goes on with it later
    NUDGE = "nudge"  # another job goes on with it now
    AWAIT = "await"  # its worker lets go of it until people have approved what is to be changed
    APPROVE = "approve"  # enough of them have
    BEGIN = "begin"  # its worker is about to have AWS change something
    ROLL_BACK = "roll_back"  # AWS has taken back what it began
    LOSE = "lose"  # nobody can say what became of it
    RECONCILE = "reconcile"  # somebody wants a worker to look again


_WAITING = (RunState.QUEUED,)
_HELD = (RunState.CLAIMED, RunState.RUNNING)
_ALIVE = _WAITING + _HELD
_APPROVAL, _APPLYING, _UNKNOWN = RunState.AWAITING_APPROVAL, RunState.APPLYING, RunState.OUTCOME_UNKNOWN
# What may have been changed in AWS ends by what AWS says, or a person: nothing in these rows is a guess.
_AFTER_BEGIN = {
    (_APPLYING, Change.CLAIM): _APPLYING,
    (_APPLYING, Change.PROGRESS): _APPLYING,
    (_APPLYING, Change.PARK): _APPLYING,
    (_APPLYING, Change.RELEASE): _APPLYING,
    (_APPLYING, Change.NUDGE): _APPLYING,
    (_APPLYING, Change.COMPLETE): RunState.SUCCEEDED,
    (_APPLYING, Change.FAIL): RunState.FAILED,
    (_APPLYING, Change.ROLL_BACK): RunState.ROLLED_BACK,
    (_APPLYING, Change.CANCEL): RunState.CANCELED,  # by its worker alone, which knows that AWS did nothing
    (_APPLYING, Change.LOSE): _UNKNOWN,
    (_UNKNOWN, Change.RECONCILE): _APPLYING,
    (_UNKNOWN, Change.COMPLETE): RunState.SUCCEEDED,
    (_UNKNOWN, Change.FAIL): RunState.FAILED,
    (_UNKNOWN, Change.ROLL_BACK): RunState.ROLLED_BACK,
}
TRANSITIONS = MappingProxyType(
    {(state, Change.CLAIM): RunState.CLAIMED for state in _ALIVE}
    | {(state, Change.PROGRESS): RunState.RUNNING for state in _HELD}
    | {(state, Change.RELEASE): RunState.QUEUED for state in _HELD}
    | {(state, Change.COMPLETE): RunState.SUCCEEDED for state in _HELD}
    | {(state, Change.COMPLETE_WITH_GAPS): RunState.PARTIAL for state in _HELD}
    | {(state, Change.FAIL): RunState.FAILED for state in _ALIVE}
    | {(state, Change.CANCEL): RunState.CANCELED for state in (*_ALIVE, _APPROVAL)}
    | {(state, Change.EXPIRE): RunState.EXPIRED for state in (*_WAITING, _APPROVAL)}
    | {(state, Change.PARK): RunState.RUNNING for state in _HELD}
    | {(state, Change.NUDGE): state for state in (RunState.QUEUED, RunState.RUNNING)}
    | {(state, Change.AWAIT): _APPROVAL for state in _HELD}
    | {(_APPROVAL, Change.APPROVE): RunState.QUEUED}
    | {(state, Change.BEGIN): _APPLYING for state in _HELD}
    | _AFTER_BEGIN
)


class TransitionError(Exception):
    """The table has no such transition: a bug in the caller."""


def next_state(state: RunState, change: Change) -> RunState:
    """Where the change leads. Raises TransitionError."""
    try:
        return TRANSITIONS[state, change]
    except KeyError:
        raise TransitionError(f"{change} is not possible in state {state}") from None


def check_holder(run: Run, fence: int) -> None:
    """Raises StaleFenceError, RunOverError where the fence is not that of the worker that has the run."""
    if run.state.is_final:
        raise RunOverError
    if not run.is_held or run.fence != fence:
        raise StaleFenceError


def was_parked(run: Run, fence: int) -> bool:
    """Whether the worker with this fence has let go of the run for a later job, and nobody has taken it since."""
    return (run.is_parked or run.state is RunState.AWAITING_APPROVAL) and run.fence == fence


def moved(run: Run, change: Change, **fields: Any) -> Run:
    """The run after the change, with these fields. Raises TransitionError."""
    return replace(run, state=next_state(run.state, change), **fields)


def end(run: Run, change: Change, reason: str | None) -> Run:
    """The run after a change that leaves nothing for workers or the sweeper to do."""
    return moved(run, change, reason=reason, lease_left=None, resume_left=None, approval_left=None)


def parked(run: Run, change: Change, *, seconds: float, reason: str | None, **deploy: Any) -> Run:
    """A deploy's run that no worker has, to go on with a job of a new ticket in so many seconds."""
    if run.deploy is None:
        raise TransitionError("only deploys are parked")
    state = msgspec.structs.replace(run.deploy, ticket=run.deploy.ticket + 1, **deploy)
    return moved(run, change, reason=reason, deploy=state, lease_left=None, resume_left=seconds, approval_left=None)
