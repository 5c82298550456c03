"""Deploy plans: what the api asks of the deploy pool, what its workers store of a run, and what people decide.

A *deploy run* is one action on one CloudFormation stack: one (AWS account, region, stack name). No worker is held while
people think or CloudFormation works: the run is *parked*, and goes on with another job, which carries the same run id
and a higher *ticket*. The ledger's part of that is `coreo_results.ledger.deploys`.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from msgspec import Meta

from coreo_shared.contracts.base import Message
from coreo_shared.contracts.rulepacks import RulePack
from coreo_shared.contracts.terms import FindingStatus, Severity

MAX_TEMPLATE_BYTES = 51_200  # of an inline template (CloudFormation API reference, TemplateBody)
MAX_SPEC_BYTES = 90_000  # of a DeploySpec as JSON: a job has 96,000 at most, which are 128,000 characters in base64
MAX_DOCUMENT_BYTES = 4 * 1024 * 1024  # of a document as JSON; its writer shortens what would be more
MAX_EVENTS_OF_PART = 500
MAX_PARTS = 10_000  # of stack events of one run
MAX_RESUME_SECONDS = 3_600.0
MAX_CHECKPOINT_BYTES = 32 * 1024
DRIFT_RULES = "drift-"  # how ids of the rules of a drift run begin; no catalogue and no pack has such

Time = str  # RFC 3339, UTC
Hash = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]  # SHA-256


class DeployAction(StrEnum):
    """What a deploy run does."""

    PREVIEW = "preview"  # says what an apply would change; changes nothing
    APPLY = "apply"  # makes or updates the stack
    DRIFT = "drift"  # compares the stack's resources with its template; changes nothing
    DESTROY = "destroy"  # deletes the stack

    @property
    def changes_stack(self) -> bool:
        """Whether it needs approval and must never happen twice."""
        return self in {DeployAction.APPLY, DeployAction.DESTROY}


class DeployTerms(Message, frozen=True, kw_only=True):
    """What the ledger must know of a deploy run. Part of its capability; those of the first claim stay.

    `target_id`: the api's id of (team, AWS account, region, stack name), the same for all plans: of the runs of a
    target one at most is APPLYING or OUTCOME_UNKNOWN. `approvals`: how many different tokens must approve; 0: none.
    """

    action: DeployAction
    target_id: UUID
    approvals: Annotated[int, Meta(ge=0, le=2)] = 1
    approval_seconds: Annotated[int, Meta(ge=60, le=7 * 86_400)] = 86_400  # for each preview that waits
    requested_by: UUID | None = None  # the token; None: a schedule
    requester_may_approve: bool = True


class RollbackTrigger(Message, frozen=True, kw_only=True):
    """An alarm that rolls the stack back when it goes off."""

    arn: str
    type: str  # AWS::CloudWatch::Alarm or AWS::CloudWatch::CompositeAlarm


class Gate(Message, frozen=True, kw_only=True):
    """A change that the plan refuses. `resource_type` may end with `*`, as in `AWS::RDS::*`."""

    resource_type: str
    refuse: list[Literal["replace", "remove"]]


class DeploySpec(Message, frozen=True, kw_only=True, tag_field="kind", tag="deploy"):
    """What a deploy run does to which stack. Every job of a run has the same.

    `template` is `coreo_shared.templates.pack(text)`; of it and `template_url` an apply or preview has exactly one,
    drift and destroy have neither. A parameter that the template calls NoEcho has no plain value, but a dynamic
    reference.
    """

    action: DeployAction
    region: str
    stack_name: str
    template: bytes | None = None
    template_url: str | None = None
    parameters: dict[str, str] = {}
    capabilities: list[str] = []
    tags: dict[str, str] = {}
    service_role_arn: str | None = None  # CloudFormation works with it; else with the session itself
    permissions: list[str] = []  # IAM actions the session has beside those on the stack; for when there is no such role
    termination_protection: bool | None = None  # None: left as it is
    rollback_triggers: list[RollbackTrigger] = []
    monitoring_minutes: int = 0  # how long the triggers are watched after the last resource (0 to 180)
    timeout_minutes: int | None = None
    gates: list[Gate] = []
    allow: list[str] = []  # logical ids that gates let pass in this run
    rules: list[str] = []  # rule ids to judge the template by, resolved as those of an audit
    rule_parameters: dict[str, Any] = {}  # as AuditSpec.parameters: rule id -> its variables
    packs: list[RulePack] = []
    refuse_severity: Severity | None = None  # a template with a FAIL of that severity or worse is not applied


class ChangeDetail(Message, frozen=True, kw_only=True):
    """What changes in a resource (CloudFormation API reference, ResourceChangeDetail)."""

    attribute: str  # Properties, Metadata, Tags, ...
    name: str | None = None
    path: str | None = None
    recreation: Literal["Never", "Conditionally", "Always"] | None = None
    evaluation: Literal["Static", "Dynamic"] | None = None
    source: str | None = None  # DirectModification, ResourceReference, ...
    cause: str | None = None  # what the source is
    before: str | None = None
    after: str | None = None


class Change(Message, frozen=True, kw_only=True):
    """A resource that would be changed. Of a destroy, each resource: "Remove", or "Retain" where a policy keeps it."""

    action: Literal["Add", "Modify", "Remove", "Import", "Dynamic", "Retain", "Sync"]
    logical_id: str
    physical_id: str | None = None
    type: str
    replacement: Literal["True", "False", "Conditional"] | None = None
    policy_action: str | None = None  # Delete, Retain, Snapshot, ReplaceAndDelete, ...
    scope: list[str] = []
    details: list[ChangeDetail] = []
    nested_change_set_arn: str | None = None


class GateHit(Message, frozen=True, kw_only=True):
    """A change that a gate is about. `allowed`: the run's `allow` lets it pass."""

    resource_type: str  # the gate's
    effect: Literal["replace", "remove"]
    logical_id: str
    type: str
    allowed: bool


class TemplateFinding(Message, frozen=True, kw_only=True):
    """What an audit rule says of a resource of the template, before there is one. PASS is not told of singly."""

    rule_id: str
    status: FindingStatus
    severity: Severity
    logical_id: str
    type: str
    message: str
    reason: str | None = None  # of NOT_EVALUATED


class Preview(Message, frozen=True, kw_only=True, tag_field="kind", tag="preview"):
    """What an apply or destroy would do, as it was when it was made. People approve its `hash`."""

    hash: Hash  # deploys.preview_hash(this)
    operation: Literal["create", "update", "delete", "none"]
    account_id: str
    region: str
    stack_name: str
    stack_arn: str | None = None
    stack_status: str | None = None  # before; None: there is no such stack
    stack_updated_at: Time | None = None  # when it was last updated, or made: another time is another stack
    change_set_arn: str | None = None
    changes: list[Change] = []
    gates: list[GateHit] = []
    findings: list[TemplateFinding] = []
    findings_passed: int = 0
    notes: list[str] = []  # sentences for people: what could not be judged, what was shortened
    made_at: Time

    @property
    def refused(self) -> list[GateHit]:
        """The changes that the plan's gates refuse."""
        return [hit for hit in self.gates if not hit.allowed]


class StackEvent(Message, frozen=True, kw_only=True):
    """A stack event (CloudFormation API reference, StackEvent)."""

    event_id: str
    at: Time
    logical_id: str
    physical_id: str | None = None
    type: str
    status: str
    reason: str | None = None
    token: str | None = None  # ClientRequestToken: our run's id for what our run began
    stack_name: str | None = None  # of a nested stack


class Output(Message, frozen=True, kw_only=True):
    """An output of the stack."""

    key: str
    value: str
    description: str | None = None
    export_name: str | None = None


class Outputs(Message, frozen=True, kw_only=True, tag_field="kind", tag="outputs"):
    """The stack as an apply left it."""

    stack_arn: str
    stack_status: str
    outputs: list[Output]


class Difference(Message, frozen=True, kw_only=True):
    """A property that is not as the template says."""

    path: str
    type: Literal["ADD", "REMOVE", "NOT_EQUAL"]
    expected: str
    actual: str


class DriftedResource(Message, frozen=True, kw_only=True):
    """A resource beside its template."""

    logical_id: str
    physical_id: str | None
    type: str
    status: Literal["IN_SYNC", "MODIFIED", "DELETED", "NOT_CHECKED", "UNKNOWN"]
    reason: str | None = None  # of NOT_CHECKED and UNKNOWN
    differences: list[Difference] = []


class Drift(Message, frozen=True, kw_only=True, tag_field="kind", tag="drift"):
    """What drift detection found; the same is told as findings, one for each resource."""

    stack_arn: str
    status: Literal["IN_SYNC", "DRIFTED", "UNKNOWN"]
    resources: list[DriftedResource]
    detected_at: Time


class Failure(Message, frozen=True, kw_only=True, tag_field="kind", tag="failure"):
    """Why a run did not do what it should: the first cause, not the last. Of an unknown outcome, what to check."""

    code: str  # a stable word, such as resource_failed, access_denied, template_invalid, stack_busy
    message: str  # a sentence or two; AWS's own words may be in it
    first: StackEvent | None = None  # the event of the first cause
    others: list[StackEvent] = []  # failures that followed
    denied_action: str | None = None
    stack_arn: str | None = None
    stack_status: str | None = None
    change_set_arn: str | None = None
    advice: list[str] = []  # what to do or to check, step by step


Document = Preview | Outputs | Drift | Failure
DocumentName = Literal["preview", "outputs", "drift", "failure"]


class Checkpoint(Message, frozen=True, kw_only=True):
    """What a worker leaves for the next one. The ledger keeps it with the change that it belongs to.

    `parts`, `newest_event`: which stack events are stored. `facts`: what else a step must remember.
    """

    step: str
    stack_arn: str | None = None
    change_set_arn: str | None = None
    hash: Hash | None = None
    drift_id: str | None = None
    parts: int = 0
    newest_event: str | None = None
    began_at: Time | None = None  # when the first worker took it
    applied_at: Time | None = None  # when AWS was told to execute
    facts: dict[str, str | int | float | bool | None] = {}

    @property
    def protects_alone(self) -> bool:
        """Of an apply: the stack's termination protection is all that it changes, and there is no change set."""
        return bool(self.facts.get("protects_alone"))


class DeployClaim(Message, frozen=True, kw_only=True):
    """What a claim of a deploy run tells beside the fence. `applying`: look what became of it before anything else."""

    applying: bool
    approvals: int  # how many are needed; 0: begin_apply needs none
    approved_hash: Hash | None  # what people approved; None: nothing, or not enough of them
    events_parts: int  # stored; the next part has this number
    checkpoint: Checkpoint | None


class ParkRun(Message, frozen=True, kw_only=True):
    """The worker lets go of the run without ending it; its message is done with.

    `resume_seconds`: another job goes on with it then. `await_approval`: people must approve the stored preview first;
    where none need to, it goes on at once. Exactly one of the two is given.
    """

    fence: int
    resume_seconds: float | None = None  # 0 to MAX_RESUME_SECONDS
    await_approval: bool = False
    checkpoint: Checkpoint
    reason: str | None = None  # what it waits for, in a sentence for people


class BeginApply(Message, frozen=True, kw_only=True):
    """The worker is about to have AWS change the stack: from now on nobody calls the run off as if nothing happened.

    Said before the call to AWS, and only after it is answered 200 may that be made. `hash`: of the stored preview.
    """

    fence: int
    hash: Hash
    checkpoint: Checkpoint


class RefuseCancel(Message, frozen=True, kw_only=True):
    """AWS does not let this change be canceled now; the run goes on, and people are told why."""

    fence: int
    reason: str


class PutDocument(Message, frozen=True, kw_only=True):
    """A document of the run; said again, it replaces the one of its name."""

    fence: int
    document: Document
    checkpoint: Checkpoint | None = None


class PutEvents(Message, frozen=True, kw_only=True):
    """The next part of the run's stack events, oldest first. Parts are numbered from 0; said again, one is stored once.

    The checkpoint is stored with it, or not at all. `done` of `total` resources: the run's progress.
    """

    fence: int
    part: int
    events: list[StackEvent]
    checkpoint: Checkpoint
    done: int | None = None
    total: int | None = None


class ApproveRun(Message, frozen=True, kw_only=True):
    """A person approves a preview. That the token may, the api has checked; all else the ledger checks."""

    hash: Hash
    approver_id: UUID  # the token
    author: str  # its name


class RejectRun(Message, frozen=True, kw_only=True):
    """A person does not want it done: the run ends CANCELED."""

    approver_id: UUID
    author: str
    reason: str


class ReconcileRun(Message, frozen=True, kw_only=True):
    """A person wants a worker to look again what became of a run whose outcome is unknown."""

    author: str


class SettleRun(Message, frozen=True, kw_only=True):
    """A person has looked, and says how a run whose outcome is unknown ended."""

    outcome: Literal["SUCCEEDED", "ROLLED_BACK", "FAILED"]
    author: str
    reason: str


class Approval(Message, frozen=True, kw_only=True):
    """An approval that is waited for. `approved_by`: the tokens that have approved so far, fewer than `needed`."""

    hash: Hash
    expires_at: Time
    needed: int
    approved_by: list[UUID] = []


class Resume(Message, frozen=True, kw_only=True):
    """A job is to be sent: not before `at`, with this `ticket` in its capability. One with a lower one is refused."""

    ticket: int
    at: Time


class DeployView(Message, frozen=True, kw_only=True):
    """What the feed tells of a deploy run. `resume`: send a job; null: send none.

    `approved_by`: who approved what the run goes on with, or went on. `documents`: those stored; "events" counts single
    events.
    """

    action: DeployAction
    target_id: UUID
    resume: Resume | None = None
    approval: Approval | None = None
    preview_hash: Hash | None = None
    approved_by: list[UUID] = []
    cancel_refused: str | None = None
    no_change: bool = False
    documents: dict[str, int] = {}


class DeployStatus(Message, frozen=True, kw_only=True):
    """A deploy run as the ledger has it, with what its last worker left for the next."""

    view: DeployView
    checkpoint: Checkpoint | None


class StackEventPage(Message, frozen=True, kw_only=True):
    """Stack events, oldest first. `next`: how many there are up to the end of this page; ask for what is after it."""

    events: list[StackEvent]
    next: int
    total: int
