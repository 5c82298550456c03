"""One operation on a stack, followed by its events. Pure.

All events of an operation that a run began carry the run's token. What others do to the same stack meanwhile (cancel an
update, delete the stack) has other tokens, and ends our operation all the same: there is one at a time on a stack.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from coreo_shared.contracts.deploys import StackEvent
from coreo_worker.deploy.problems import Problem, denied, denied_action_in
from coreo_worker.deploy.statuses import is_end

STACK_TYPE: Final = "AWS::CloudFormation::Stack"
MAX_OTHERS: Final = 20
_FOLLOWED: Final = ("cancelled", "canceled")  # "Resource creation cancelled": because of another one's failure
_ROLLBACKS: Final = ("ROLLBACK_IN_PROGRESS", "UPDATE_ROLLBACK_IN_PROGRESS")


_MAYBE_ENDS: Final = frozenset({"CREATE_FAILED", "UPDATE_FAILED"})  # or AWS goes on and rolls back


@dataclass(frozen=True)
class Operation:
    """How far the run's operation is. `ended`: the stack's status at its end; `is_sure`: nothing can follow that."""

    started: bool = False
    status: str | None = None
    ended: str | None = None
    is_sure: bool = False
    done: int = 0  # resources that are as they should be

    def follow(
        self, events: Sequence[StackEvent], *, stack_arn: str, token: str
    ) -> tuple["Operation", list[StackEvent]]:
        """The operation after further events, oldest first, and those of them that belong to it."""
        kept = list(events)
        if not self.started:
            first = next((index for index, event in enumerate(events) if event.token == token), None)
            if first is None:
                return self, []
            kept = kept[first:]
        after = replace(self, started=True)
        done: set[str] = set()
        for position, event in enumerate(kept):
            if is_of_stack(event, stack_arn):
                if after.ended is not None and event.token not in {token, cancel_token(token)}:
                    return replace(after, is_sure=True, done=after.done + len(done)), kept[:position]
                after = replace(after, status=event.status, ended=event.status if is_end(event.status) else None)
                if after.ended is not None and after.ended not in _MAYBE_ENDS:
                    return replace(after, is_sure=True, done=after.done + len(done)), kept[: position + 1]
            elif event.status.endswith("_COMPLETE") and "ROLLBACK" not in (after.status or ""):
                done.add(event.logical_id)
        return replace(after, done=after.done + len(done)), kept


def cancel_token(token: str) -> str:
    """The token under which the run has its own operation canceled."""
    return f"{token}-cancel"


def is_of_stack(event: StackEvent, stack_arn: str) -> bool:
    """Whether the event is about the stack as a whole."""
    return event.type == STACK_TYPE and event.physical_id == stack_arn


def first_cause(events: Sequence[StackEvent], stack_arn: str) -> Problem:
    """Why an operation did not succeed, from all its events, oldest first: the first failure, not what followed."""
    failed = [event for event in events if event.status.endswith("_FAILED")]
    of_resources = [event for event in failed if not is_of_stack(event, stack_arn)]
    causes = [event for event in of_resources if not _followed(event)] or of_resources
    if not causes:
        whole = [e for e in events if is_of_stack(e, stack_arn) and e.reason and e.status in _ROLLBACKS] or failed
        if not whole:
            return Problem("operation_failed", "AWS does not say which resource it failed for.")
        said = whole[0].reason or ""
        return Problem("operation_failed", "The stack as a whole failed; the failure says why.", said, first=whole[0])
    first, *others = causes
    said = first.reason or ""
    others += [event for event in of_resources if event not in causes]
    what = f"{first.logical_id} ({first.type}) was the first to fail, with {first.status}."
    action = denied_action_in(said)
    problem = Problem("resource_failed", what) if action is None else denied(action)
    reason = what if action is None else f"{what} {problem.reason}"
    return replace(problem, reason=reason, said=said, first=first, others=tuple(others[:MAX_OTHERS]))


def _followed(event: StackEvent) -> bool:
    """Whether AWS stopped it because of something else."""
    return any(word in (event.reason or "").lower() for word in _FOLLOWED)
