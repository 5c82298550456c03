"""What to tell people when nobody can say whether a change was made."""

from typing import Final

from coreo_shared.contracts.deploys import Checkpoint, DeployAction
from coreo_worker.deploy.problems import Problem

_WORDS: Final = {  # what the call does, and where that shows
    "DeleteStack": ("deleted the stack", "the stack's events"),
    "ExecuteChangeSet": ("executed the change set", "the stack's events and the change set"),
    "UpdateTerminationProtection": ("set the stack's termination protection", "the stack"),
}


def outcome_unknown(action: DeployAction, checkpoint: Checkpoint, *, cause: str = "") -> Problem:
    """For a run that began its change. `cause`: why its trace cannot be read, where that is known."""
    call = "DeleteStack" if action is DeployAction.DESTROY else "ExecuteChangeSet"
    if checkpoint.protects_alone:
        call = "UpdateTerminationProtection"
    what, traces = _WORDS[call]
    begin = cause or f"What became of the change does not show in {traces}."
    return Problem(
        code="outcome_unknown",
        reason=f"{begin} Whether AWS {what} is not known, so the stack stays locked; the failure says what to check.",
        advice=(
            "Open the stack in the CloudFormation console, deleted ones too: this run's events have its id as token.",
            f"Look in CloudTrail for {call} by the role session that is named after the run.",
            "If the trace can be read again, let Coreo look again: reconcile the run.",
            "Else say how it ended: settle the run. Until then no other run changes this stack.",
        ),
    )
