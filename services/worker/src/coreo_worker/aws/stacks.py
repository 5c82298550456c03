"""What CloudFormation says of one stack, and the port by which a deploy run asks it. No SDK here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from coreo_shared.contracts.deploys import Change, DriftedResource, Output, RollbackTrigger, StackEvent


class StackRefusalError(Exception):
    """AWS answered that it will not do it: nothing was done, and again would be the same.

    `action`: the IAM action that was asked for. `said`: AWS's own words, which may hold the customer's data.
    """

    def __init__(self, action: str, code: str, said: str) -> None:
        super().__init__(f"{action}: {code}")
        self.action = action
        self.code = code
        self.said = said


class StackDeniedError(StackRefusalError):
    """The role or the session may not. `action` is what is lacking, as AWS says."""


class StackTroubleError(Exception):
    """AWS did not answer, or only that it is too busy: what was asked may have been done or not."""

    def __init__(self, action: str, code: str) -> None:
        super().__init__(f"{action}: {code}")
        self.action = action
        self.code = code


@dataclass(frozen=True)
class Stack:
    """A stack. `updated_at`: RFC 3339, when it was last updated or else made."""

    arn: str
    name: str
    status: str
    updated_at: str
    is_protected: bool = False
    outputs: tuple[Output, ...] = ()


@dataclass(frozen=True)
class ChangeSet:
    """A change set with all its changes. `execution` is AWS's ExecutionStatus."""

    arn: str
    stack_arn: str
    status: str
    execution: str
    reason: str = ""
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True)
class ChangeSetSummary:
    """A change set in a list."""

    arn: str
    name: str
    description: str = ""


@dataclass(frozen=True)
class ChangeSetOrder:
    """A change set to be made. `template` is the text, unless there is a URL; `is_update`: the stack is there."""

    stack_name: str
    name: str
    token: str
    description: str
    is_update: bool
    template: str | None
    template_url: str | None
    parameters: dict[str, str]
    capabilities: Sequence[str]
    tags: dict[str, str]
    role_arn: str | None
    triggers: Sequence[RollbackTrigger]
    monitoring_minutes: int


@dataclass(frozen=True)
class StackResource:
    """A resource of a stack."""

    logical_id: str
    physical_id: str | None
    type: str
    status: str


@dataclass(frozen=True)
class DriftStatus:
    """How far a drift detection is: DETECTION_IN_PROGRESS, DETECTION_COMPLETE or DETECTION_FAILED."""

    detection: str
    drift: str | None = None  # DRIFTED, IN_SYNC, UNKNOWN
    reason: str = ""
    at: str | None = None


class Stacks(Protocol):
    """CloudFormation in one region, as the run's session.

    `stack` is a name or an ARN; a deleted stack is found by its ARN alone. Every method raises StackRefusalError and
    StackTroubleError; None means that there is no such thing.
    """

    async def find(self, stack: str) -> Stack | None:
        """The stack."""

    async def change_sets(self, stack: str) -> list[ChangeSetSummary]:
        """The stack's change sets; none where there is no stack."""

    async def make_change_set(self, order: ChangeSetOrder) -> None:
        """Has one made. Refused as AlreadyExistsException where there is one of this name, or such a stack."""

    async def change_set(self, stack_name: str, change_set: str) -> ChangeSet | None:
        """A change set by its name or ARN."""

    async def drop_change_set(self, stack_name: str, change_set: str) -> None:
        """Deletes one that was not executed: after this it never will be. Gone already is fine."""

    async def template(self, stack: str, change_set: str | None = None) -> str:
        """The template as CloudFormation works with it, macros done; of a change set, or of the stack."""

    async def execute(self, stack_name: str, change_set_arn: str, token: str) -> None:
        """Executes a change set. AWS does that at most once with each."""

    async def cancel_update(self, stack: str, token: str) -> None:
        """Has an update rolled back."""

    async def protect(self, stack: str, *, on: bool) -> None:
        """Sets termination protection."""

    async def delete(self, stack_arn: str, token: str, role_arn: str | None) -> None:
        """Deletes the stack. Deleted already is fine."""

    async def events(self, stack_arn: str, *, after: str | None, since: str) -> list[StackEvent]:
        """Events after the one with the id `after`, or where that is None from the moment `since` on, oldest first."""

    async def validation_errors(self, stack: str, *, since: str, change_set: str | None = None) -> list[StackEvent]:
        """What AWS found wrong with resources before it would make any: of a change set, or of the stack's operations.

        Their status is VALIDATION_FAILED.
        """

    async def resources(self, stack_arn: str) -> list[StackResource]:
        """The stack's resources."""

    async def detect_drift(self, stack: str) -> str:
        """Begins a drift detection; its id."""

    async def drift_status(self, detection_id: str) -> DriftStatus:
        """How far it is."""

    async def drifts(self, stack: str) -> list[DriftedResource]:
        """The resources that the last drift detection could compare."""
