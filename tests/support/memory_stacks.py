"""CloudFormation in memory, behind the worker's port: one account and region, for tests of what a deploy run does.

Changes take effect when the test says so (`finish`), or at once (`instant`). `faults` play what is to go wrong with the
next call of a method: `lost` (done, but the answer does not come), `trouble` (not done, no answer) or a refusal.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from coreo_shared.contracts.deploys import Change, DriftedResource, Output, StackEvent
from coreo_worker.aws.stacks import (
    ChangeSet,
    ChangeSetOrder,
    ChangeSetSummary,
    DriftStatus,
    Stack,
    StackRefusalError,
    StackResource,
    StackTroubleError,
)

ACCOUNT = "123456789012"
REGION = "eu-west-1"
STACK_TYPE = "AWS::CloudFormation::Stack"
_FIRST = "2026-01-01T00:00:00.000+00:00"
Fault = Literal["lost", "trouble"] | Exception


def refused(code: str = "ValidationError", said: str = "", action: str = "cloudformation:Any") -> StackRefusalError:
    """AWS's refusal."""
    return StackRefusalError(action, code, said)


@dataclass
class Kept:
    """A stack as it is kept."""

    stack: Stack
    resources: dict[str, StackResource] = field(default_factory=dict)
    template: str = "{}"
    events: list[StackEvent] = field(default_factory=list)
    token: str | None = None  # of the operation under way
    change_set: str | None = None  # that is being executed


@dataclass
class MemoryStacks:
    """The port. `changes`: what the next change sets will say, `making`: their status at first."""

    instant: bool = True
    making: str = "CREATE_COMPLETE"
    changes: tuple[Change, ...] = (Change(action="Add", logical_id="Topic", type="AWS::SNS::Topic"),)
    reason: str = ""
    outcome: str | None = None  # of the next operation, instead of success
    failures: tuple[tuple[str, str], ...] = ()  # (logical id, reason) of resources that fail, in their order
    outputs: tuple[Output, ...] = (Output(key="Topic", value="arn:topic"),)
    drift: DriftStatus = field(default_factory=lambda: DriftStatus("DETECTION_COMPLETE", "IN_SYNC", at=_FIRST))
    drifted: tuple[DriftedResource, ...] = ()
    invalid: tuple[StackEvent, ...] = ()  # what AWS finds wrong before it begins
    kept: dict[str, Kept] = field(default_factory=dict)  # by ARN, deleted ones too
    sets: dict[str, tuple[ChangeSetSummary, ChangeSet]] = field(default_factory=dict)
    orders: list[ChangeSetOrder] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    executed: list[tuple[str, str]] = field(default_factory=list)  # (ARN, token) that took effect
    deleted: list[tuple[str, str]] = field(default_factory=list)
    before: Callable[[str], None] = lambda _: None  # is called before each call with its name
    _numbers: Any = field(default_factory=lambda: itertools.count(1))

    def add(self, name: str = "web", status: str = "CREATE_COMPLETE", **fields: Any) -> Kept:
        """A stack that is there."""
        arn = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:stack/{name}/{next(self._numbers)}"
        kept = Kept(Stack(arn, name, status, self._now(), **fields))
        if status not in {"REVIEW_IN_PROGRESS", "DELETE_COMPLETE"}:
            kept.resources = {"Topic": StackResource("Topic", "arn:topic", "AWS::SNS::Topic", "CREATE_COMPLETE")}
        self.kept[arn] = kept
        return kept

    def set_status(self, kept: Kept, status: str, token: str | None = None, reason: str | None = None) -> None:
        """The stack's new status, with its event."""
        kept.stack = replace(kept.stack, status=status)
        self.tell(kept, kept.stack.name, status, token=token or kept.token, reason=reason)

    def tell(self, kept: Kept, logical_id: str, status: str, *, token: str | None, reason: str | None = None) -> None:
        """An event."""
        is_whole = logical_id == kept.stack.name
        event = StackEvent(
            event_id=f"e{next(self._numbers)}",
            at=self._now(),
            logical_id=logical_id,
            physical_id=kept.stack.arn if is_whole else f"id-of-{logical_id}",
            type=STACK_TYPE if is_whole else "AWS::SNS::Topic",
            status=status,
            reason=reason,
            token=token,
        )
        kept.events.append(event)

    def finish(self, name: str = "web", *, token: str | None = None) -> None:
        """The operation under way comes to its end."""
        kept = self._named(name)
        assert kept is not None
        verb = kept.stack.status.partition("_")[0]
        token = token or kept.token
        for logical_id, reason in self.failures:
            self.tell(kept, logical_id, f"{verb}_FAILED", token=token, reason=reason)
        if not self.failures:
            for logical_id in list(kept.resources) or ["Topic"]:
                self.tell(kept, logical_id, f"{verb}_COMPLETE", token=token)
        status = self.outcome or f"{verb}_COMPLETE"
        if "ROLLBACK" in status:
            self.set_status(kept, status.replace("_COMPLETE", "_IN_PROGRESS").replace("_FAILED", "_IN_PROGRESS"), token)
        self.set_status(kept, status, token)
        kept.stack = replace(kept.stack, updated_at=self._now(), outputs=self.outputs)
        if status == "CREATE_COMPLETE":
            kept.resources = {"Topic": StackResource("Topic", "arn:topic", "AWS::SNS::Topic", status)}
        if kept.change_set is not None:
            done = "EXECUTE_COMPLETE" if status == f"{verb}_COMPLETE" else "EXECUTE_FAILED"
            self._set_execution(kept.change_set, done)
        kept.token = kept.change_set = None

    async def find(self, stack: str) -> Stack | None:
        """As the port says."""
        with _Call(self, "find"):
            kept = self.kept.get(stack) or self._named(stack)
            return None if kept is None else kept.stack

    async def change_sets(self, stack: str) -> list[ChangeSetSummary]:
        """As the port says."""
        with _Call(self, "change_sets"):
            return [summary for summary, one in self.sets.values() if self._is_of(one, stack)]

    async def make_change_set(self, order: ChangeSetOrder) -> None:
        """As the port says."""
        with _Call(self, "make_change_set"):
            kept = self._named(order.stack_name)
            there = kept is not None and kept.stack.status != "REVIEW_IN_PROGRESS"
            if any(summary.name == order.name for summary, _ in self.sets.values()) or (there and not order.is_update):
                raise refused("AlreadyExistsException")
            if order.is_update and not there:
                raise refused(said=f"Stack [{order.stack_name}] does not exist")
            kept = kept or self.add(order.stack_name, "REVIEW_IN_PROGRESS")
            arn = f"arn:aws:cloudformation:{REGION}:{ACCOUNT}:changeSet/{order.name}/{next(self._numbers)}"
            execution = "AVAILABLE" if self.making == "CREATE_COMPLETE" else "UNAVAILABLE"
            made = ChangeSet(arn, kept.stack.arn, self.making, execution, self.reason, self.changes)
            self.orders.append(order)
            self.sets[arn] = ChangeSetSummary(arn, order.name, order.description), made

    async def change_set(self, stack_name: str, change_set: str) -> ChangeSet | None:
        """As the port says."""
        with _Call(self, "change_set"):
            return next((one for summary, one in self.sets.values() if change_set in {summary.name, one.arn}), None)

    async def drop_change_set(self, stack_name: str, change_set: str) -> None:
        """As the port says."""
        with _Call(self, "drop_change_set"):
            for arn, (summary, made) in list(self.sets.items()):
                if change_set in {arn, summary.name}:
                    if made.execution == "EXECUTE_IN_PROGRESS":
                        raise refused("InvalidChangeSetStatus")
                    del self.sets[arn]

    async def template(self, stack: str, change_set: str | None = None) -> str:
        """As the port says."""
        with _Call(self, "template"):
            kept = self.kept.get(stack) or self._named(stack)
            if change_set is not None:
                return self.orders[-1].template or "{}"
            assert kept is not None
            return kept.template

    async def execute(self, stack_name: str, change_set_arn: str, token: str) -> None:
        """As the port says."""
        with _Call(self, "execute"):
            if change_set_arn not in self.sets:
                raise refused("ChangeSetNotFound")
            _, made = self.sets[change_set_arn]
            if made.execution != "AVAILABLE":
                raise refused("InvalidChangeSetStatus")
            self.executed.append((change_set_arn, token))
            kept = self.kept[made.stack_arn]
            kept.token, kept.change_set = token, change_set_arn
            self._set_execution(change_set_arn, "EXECUTE_IN_PROGRESS")
            is_new = kept.stack.status == "REVIEW_IN_PROGRESS"
            self.set_status(kept, "CREATE_IN_PROGRESS" if is_new else "UPDATE_IN_PROGRESS")
            if self.instant:
                self.finish(kept.stack.name)

    async def cancel_update(self, stack: str, token: str) -> None:
        """As the port says."""
        with _Call(self, "cancel_update"):
            kept = self.kept.get(stack) or self._named(stack)
            if kept is None or kept.stack.status != "UPDATE_IN_PROGRESS":
                raise refused(said="CancelUpdateStack cannot be called from current stack status")
            self.set_status(kept, "UPDATE_ROLLBACK_IN_PROGRESS", token, reason="User Initiated")
            kept.token = token

    async def protect(self, stack: str, *, on: bool) -> None:
        """As the port says."""
        with _Call(self, "protect"):
            kept = self.kept.get(stack) or self._named(stack)
            assert kept is not None
            kept.stack = replace(kept.stack, is_protected=on)

    async def delete(self, stack_arn: str, token: str, role_arn: str | None) -> None:
        """As the port says."""
        with _Call(self, "delete"):
            kept = self.kept.get(stack_arn)
            if kept is None or kept.stack.status == "DELETE_COMPLETE" or kept.token == token:
                return
            self.deleted.append((stack_arn, token))
            kept.token = token
            self.set_status(kept, "DELETE_IN_PROGRESS")
            if self.instant:
                self.finish(kept.stack.name)

    async def events(self, stack_arn: str, *, after: str | None, since: str) -> list[StackEvent]:
        """As the port says."""
        with _Call(self, "events"):
            kept = self.kept.get(stack_arn) or self._named(stack_arn)
            found = [] if kept is None else kept.events
            start = next((index + 1 for index, event in enumerate(found) if event.event_id == after), 0)
            return [event for event in found[start:] if after is not None or event.at >= since]

    async def validation_errors(self, stack: str, *, since: str, change_set: str | None = None) -> list[StackEvent]:
        """As the port says."""
        with _Call(self, "validation_errors"):
            return [event for event in self.invalid if event.at >= since]

    async def resources(self, stack_arn: str) -> list[StackResource]:
        """As the port says."""
        with _Call(self, "resources"):
            kept = self.kept.get(stack_arn) or self._named(stack_arn)
            return [] if kept is None else list(kept.resources.values())

    async def detect_drift(self, stack: str) -> str:
        """As the port says."""
        with _Call(self, "detect_drift"):
            return f"drift-{next(self._numbers)}"

    async def drift_status(self, detection_id: str) -> DriftStatus:
        """As the port says."""
        with _Call(self, "drift_status"):
            return self.drift

    async def drifts(self, stack: str) -> list[DriftedResource]:
        """As the port says."""
        with _Call(self, "drifts"):
            return list(self.drifted)

    def set_change_set(self, **fields: Any) -> None:
        """Changes the one change set there is."""
        ((arn, (summary, made)),) = self.sets.items()
        self.sets[arn] = summary, replace(made, **fields)

    def _set_execution(self, arn: str, execution: str) -> None:
        summary, made = self.sets[arn]
        self.sets[arn] = summary, replace(made, execution=execution)

    def _named(self, name: str) -> Kept | None:
        """The stack of this name that is not deleted."""
        found = [k for k in self.kept.values() if k.stack.name == name and k.stack.status != "DELETE_COMPLETE"]
        return found[-1] if found else None

    def _is_of(self, made: ChangeSet, stack: str) -> bool:
        return stack in {made.stack_arn, self.kept[made.stack_arn].stack.name}

    def _now(self) -> str:
        """Later than whatever there was before."""
        number = next(self._numbers)
        return f"2026-01-01T{number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}.000+00:00"


class _Call:
    """Plays the fault of a call, if there is one, around what it does."""

    def __init__(self, stacks: MemoryStacks, name: str) -> None:
        self._name = name
        self._stacks = stacks
        waiting = stacks.faults.get(name)
        self._fault = waiting.pop(0) if waiting else None

    def __enter__(self) -> None:
        self._stacks.before(self._name)
        self._stacks.calls.append(self._name)
        if isinstance(self._fault, Exception):
            raise self._fault
        if self._fault == "trouble":
            raise StackTroubleError(f"cloudformation:{self._name}", "Throttling")

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if self._fault == "lost" and kind is None:
            raise StackTroubleError(f"cloudformation:{self._name}", "ConnectionClosedError")


def modify(logical_id: str = "Topic", *, kind: str = "AWS::SNS::Topic", **fields: Any) -> Change:
    """A change of a resource."""
    return Change(action="Modify", logical_id=logical_id, type=kind, **fields)
