"""What runs leave to be read, as it is answered: the contracts' documents (coreo_shared.contracts.deploys)."""

from typing import Annotated, Literal

from pydantic import Field

from coreo_api.schemas import View
from coreo_shared.contracts.terms import FindingStatus, Severity


class ChangeDetailView(View):
    """What changes in a resource (CloudFormation, ResourceChangeDetail)."""

    attribute: str
    name: str | None
    path: str | None
    recreation: Literal["Never", "Conditionally", "Always"] | None
    evaluation: Literal["Static", "Dynamic"] | None
    source: str | None
    cause: str | None
    before: str | None
    after: str | None


class ChangeView(View):
    """A resource that would be changed; of a destroy, each resource, `Retain` where a policy keeps it."""

    action: Literal["Add", "Modify", "Remove", "Import", "Dynamic", "Retain", "Sync"]
    logical_id: str
    physical_id: str | None
    type: str
    replacement: Literal["True", "False", "Conditional"] | None
    policy_action: str | None
    scope: list[str]
    details: list[ChangeDetailView]
    nested_change_set_arn: str | None


class GateHitView(View):
    """A change that a gate of the plan is about."""

    resource_type: str
    effect: Literal["replace", "remove"]
    logical_id: str
    type: str
    allowed: Annotated[bool, Field(description="Whether the run's `allow` lets it pass.")]


class TemplateFindingView(View):
    """What an audit rule says of a resource of the template."""

    rule_id: str
    status: FindingStatus
    severity: Severity
    logical_id: str
    type: str
    message: str
    reason: str | None


class PreviewView(View):
    """What an apply or destroy would do, as it was when it was made. Its `hash` is approved, and is the ETag."""

    kind: Literal["preview"]
    hash: str
    operation: Literal["create", "update", "delete", "none"]
    account_id: str
    region: str
    stack_name: str
    stack_arn: str | None
    stack_status: str | None
    stack_updated_at: str | None
    change_set_arn: str | None
    changes: list[ChangeView]
    gates: list[GateHitView]
    findings: list[TemplateFindingView]
    findings_passed: int
    notes: list[str]
    made_at: str


class StackEventView(View):
    """A stack event (CloudFormation, StackEvent)."""

    event_id: str
    at: str
    logical_id: str
    physical_id: str | None
    type: str
    status: str
    reason: str | None
    token: Annotated[str | None, Field(description="The run's id for what the run began.")]
    stack_name: str | None


class StackEventPageView(View):
    """Stack events, oldest first."""

    events: list[StackEventView]
    next: Annotated[int, Field(description="Send it as `after` for what comes then.")]
    total: int


class OutputView(View):
    """An output of the stack."""

    key: str
    value: str
    description: str | None
    export_name: str | None


class OutputsView(View):
    """The stack as an apply left it."""

    kind: Literal["outputs"]
    stack_arn: str
    stack_status: str
    outputs: list[OutputView]


class DifferenceView(View):
    """A property that is not as the template says."""

    path: str
    type: Literal["ADD", "REMOVE", "NOT_EQUAL"]
    expected: str
    actual: str


class DriftedResourceView(View):
    """A resource beside its template."""

    logical_id: str
    physical_id: str | None
    type: str
    status: Literal["IN_SYNC", "MODIFIED", "DELETED", "NOT_CHECKED", "UNKNOWN"]
    reason: str | None
    differences: list[DifferenceView]


class DriftView(View):
    """What drift detection found; the run's findings say the same, with what is new and what is resolved."""

    kind: Literal["drift"]
    stack_arn: str
    status: Literal["IN_SYNC", "DRIFTED", "UNKNOWN"]
    resources: list[DriftedResourceView]
    detected_at: str


class FailureView(View):
    """Why a run did not do what it should: the first cause, not the last."""

    kind: Literal["failure"]
    code: str
    message: str
    first: StackEventView | None
    others: list[StackEventView]
    denied_action: str | None
    stack_arn: str | None
    stack_status: str | None
    change_set_arn: str | None
    advice: list[str]
