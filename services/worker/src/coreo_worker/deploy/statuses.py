"""What may be done to a stack in which status, and what to tell people where it may not.

Statuses: CloudFormation user guide, "Stack status codes". A status that is not known here is one in which nothing is
done.
"""

from typing import Final, Literal

from coreo_shared.contracts.deploys import DeployAction
from coreo_worker.deploy.problems import Problem

REVIEW: Final = "REVIEW_IN_PROGRESS"  # a name alone: a change set was made for a stack that is not there yet
DELETED: Final = "DELETE_COMPLETE"
_UPDATABLE: Final = frozenset(
    {
        "CREATE_COMPLETE",
        "IMPORT_COMPLETE",
        "IMPORT_ROLLBACK_COMPLETE",
        "UPDATE_COMPLETE",
        "UPDATE_ROLLBACK_COMPLETE",
    }
)
_COMPARABLE: Final = _UPDATABLE | {"UPDATE_ROLLBACK_FAILED"}
_ROLLED_BACK: Final = frozenset({"ROLLBACK_COMPLETE", "UPDATE_ROLLBACK_COMPLETE", "IMPORT_ROLLBACK_COMPLETE"})
_ADVICE: Final = {
    "CREATE_FAILED": "The stack was never made whole. Destroy it, then apply again.",
    "DELETE_FAILED": "A deletion of the stack failed half-way. Destroy it, then apply again.",
    "ROLLBACK_COMPLETE": "The stack's creation was rolled back; AWS can only delete it. Destroy it, then apply again.",
    "ROLLBACK_FAILED": "The rollback of the stack's creation failed. Destroy it, then apply again.",
    "UPDATE_FAILED": "An update failed and was not rolled back. Roll it back in the console (or with aws "
    "cloudformation rollback-stack), then apply again.",
    "UPDATE_ROLLBACK_FAILED": "The rollback of an update failed. Put right what stopped it, continue the rollback in "
    "the console (or with aws cloudformation continue-update-rollback), then apply again.",
}

Operation = Literal["create", "update"]


def is_busy(status: str) -> bool:
    """Whether AWS is working on the stack."""
    return status.endswith("_IN_PROGRESS") and status != REVIEW


def is_there(status: str | None) -> bool:
    """Whether there is a stack with anything in it; None: AWS knows none."""
    return status not in {None, DELETED, REVIEW}


def is_end(status: str) -> bool:
    """Whether an operation on the stack ends with this status."""
    return status.endswith(("_COMPLETE", "_FAILED"))


def is_success(status: str) -> bool:
    """Whether an apply that ended with this status did what it should."""
    return status in {"CREATE_COMPLETE", "UPDATE_COMPLETE", "IMPORT_COMPLETE"}


def is_rolled_back(status: str) -> bool:
    """Whether an apply that ended with this status left the stack as it was."""
    return status in _ROLLED_BACK


def operation_for(status: str | None) -> Operation:
    """Whether an apply would make the stack or update it."""
    return "update" if is_there(status) else "create"


def obstacle(action: DeployAction, status: str | None) -> Problem | None:
    """Why the action cannot be done to a stack in this status; None where it can."""
    if status is not None and is_busy(status):
        return Problem(
            code="stack_busy",
            reason=f"AWS is working on the stack ({status}), and not for this run. Start the run again when that is "
            "over.",
            advice=("See in the stack's events who began it, and wait for its end.",),
        )
    if action is DeployAction.DESTROY:
        return None
    if action is DeployAction.DRIFT:
        return None if status in _COMPARABLE else _not_comparable(status)
    if not is_there(status) or status in _UPDATABLE:
        return None
    text = _ADVICE.get(status or "", "Look at it in the CloudFormation console first.")
    return Problem("stack_not_updatable", f"The stack is {status}. {text}", advice=(text,))


def _not_comparable(status: str | None) -> Problem:
    if not is_there(status):
        return Problem("stack_missing", "There is no such stack to compare with its template. Apply the plan first.")
    return Problem("stack_not_comparable", f"The stack is {status}: AWS detects drift only of one that is whole.")


def ended_badly(status: str) -> Problem:
    """An operation that ended with this status, and neither did nor undid its work."""
    if status == DELETED:
        return Problem(
            code="stack_deleted",
            reason="Somebody deleted the stack while the run was at work on it. There is no stack now.",
            advice=("Find out in CloudTrail who called DeleteStack.", "Apply the plan again if the stack is wanted."),
        )
    if status == "DELETE_FAILED":
        text = "Some resources could not be deleted. Put right what keeps them, then destroy the stack again."
    else:
        text = _ADVICE.get(status, "Look at it in the CloudFormation console.")
    return Problem("stack_failed", f"The stack is {status}. {text}", advice=(text,))
