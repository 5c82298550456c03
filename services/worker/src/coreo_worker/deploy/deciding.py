"""What to do next with a change that people approved: pure functions from what AWS says to one step.

AWS executes a change set at most once, so that asking for it again does no harm; still nobody asks while there is any
trace that it was. A trace is an event with the run's token, or the change set's own execution status. Where both are
gone nobody can say what happened, and that is said.
"""

from dataclasses import dataclass
from typing import Final

from coreo_worker.deploy.operation import Operation
from coreo_worker.deploy.problems import Problem
from coreo_worker.deploy.statuses import DELETED, REVIEW, is_busy, is_end

SETTLE_SECONDS: Final = 120.0  # until what AWS was told shows everywhere in its answers
_AVAILABLE: Final = "AVAILABLE"
_EXECUTING: Final = "EXECUTE_IN_PROGRESS"
_EXECUTED: Final = frozenset({"EXECUTE_COMPLETE", "EXECUTE_FAILED"})

CREATE_GOES_ON: Final = (
    "AWS cannot cancel the creation of a stack: it goes on to its end. Destroy the stack afterwards if it is not "
    "wanted."
)
DELETE_GOES_ON: Final = "AWS cannot cancel the deletion of a stack: it goes on to its end."
UPDATE_IS_DONE: Final = "The stack's resources are updated already; AWS is cleaning up. It is too late to cancel."
ROLLS_BACK: Final = "AWS is rolling the stack back already."


@dataclass(frozen=True)
class Look:
    """What there is to see. `change_set`: its execution status; `stack`: its status; None: there is none (any more).

    `since`: seconds since AWS was told, as far as that is known, or else may first have been. `alone`: nobody can have
    told it so far: this worker began the change, and AWS took none of its calls. `refusal`: AWS would not do it when
    this worker asked. `cancel`: somebody, or the plan's time-out, wants it
    undone; `told`: AWS was asked to do so.
    """

    operation: Operation
    change_set: str | None = None
    stack: str | None = None
    since: float = 0.0
    alone: bool = False
    refusal: Problem | None = None
    cancel: bool = False
    told: bool = False


@dataclass(frozen=True)
class Tell:
    """AWS is to execute the change set, or to delete the stack."""


@dataclass(frozen=True)
class CallOff:
    """Nothing was executed, and nothing shall be."""


@dataclass(frozen=True)
class Undo:
    """AWS is to cancel the update."""


@dataclass(frozen=True)
class Refuse:
    """It cannot be canceled any more."""

    reason: str


@dataclass(frozen=True)
class Wait:
    """AWS is at work, or what it did does not show yet."""


@dataclass(frozen=True)
class Over:
    """The operation ended with this status of the stack."""

    status: str


@dataclass(frozen=True)
class NotDone:
    """Nothing was executed, and this is why it will not be."""

    problem: Problem


@dataclass(frozen=True)
class Unknown:
    """Nobody can say whether it was executed."""


Step = Tell | CallOff | Undo | Refuse | Wait | Over | NotDone | Unknown


def next_of_apply(look: Look) -> Step:  # noqa: PLR0911  one for each thing that there may be to see
    """The next step of an apply that the ledger has as APPLYING."""
    if look.operation.ended is not None and (look.operation.is_sure or look.stack == look.operation.ended):
        return Over(look.operation.ended)
    if look.operation.started or look.change_set == _EXECUTING:
        return _while_applying(look)
    if look.change_set == _AVAILABLE:
        return _not_yet(look)
    if look.change_set in _EXECUTED:
        return _without_events(look)
    if look.change_set is not None:  # OBSOLETE, UNAVAILABLE: AWS will not execute it any more, and has not
        return NotDone(stack_changed())
    if look.alone and look.refusal is not None:
        return NotDone(look.refusal)
    return Wait() if look.since < SETTLE_SECONDS else Unknown()


def next_of_destroy(look: Look) -> Step:
    """The next step of a destroy that the ledger has as APPLYING."""
    if look.operation.ended is not None:
        return Over(look.operation.ended)
    if look.stack in {None, DELETED}:  # by whomever: there is no stack
        return Over(DELETED)
    if look.operation.started or is_busy(look.stack or ""):
        return Refuse(DELETE_GOES_ON) if look.cancel and look.operation.started else Wait()
    if not look.alone and look.since < SETTLE_SECONDS and (look.cancel or look.refusal is not None):
        return Wait()  # what AWS was told may still show
    return _not_yet(look)


def stack_changed() -> Problem:
    """The preview that people approved is not of this stack any more."""
    return Problem(
        code="stack_changed",
        reason="The stack was changed since the preview that was approved, so nothing was done. Start the run again "
        "for a new preview.",
    )


def _not_yet(look: Look) -> Step:
    if look.cancel:
        return CallOff()
    return Tell() if look.refusal is None else NotDone(look.refusal)


def _while_applying(look: Look) -> Step:
    if not look.cancel or look.told:
        return Wait()
    status = look.operation.status or look.stack or ""
    if status == "UPDATE_IN_PROGRESS":
        return Undo()
    if "ROLLBACK" in status:
        return Refuse(ROLLS_BACK)
    if status.startswith("UPDATE_COMPLETE"):
        return Refuse(UPDATE_IS_DONE)
    return Refuse(CREATE_GOES_ON) if status == "CREATE_IN_PROGRESS" else Wait()


def _without_events(look: Look) -> Step:
    """It was executed, which its events do not show: late, or gone with the stack."""
    if look.since < SETTLE_SECONDS:
        return Wait()
    if look.stack is None or look.stack == REVIEW:
        return Unknown()
    return Over(look.stack) if is_end(look.stack) else Wait()
