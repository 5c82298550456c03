"""What people see before they approve: pure functions from what AWS says to a Preview."""

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from coreo_shared.contracts.deploys import (
    Change,
    ChangeDetail,
    DeploySpec,
    Gate,
    GateHit,
    Preview,
    TemplateFinding,
)
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.templates import preview_hash
from coreo_worker.aws.stacks import Stack, StackResource
from coreo_worker.deploy.operation import STACK_TYPE
from coreo_worker.deploy.problems import Problem
from coreo_worker.deploy.statuses import is_there

MAX_VALUE: Final = 2_000  # characters of a value before or after
MAX_BYTES: Final = 3 * 1024 * 1024  # of a preview; the results service takes a little more
_CUT: Final = " … (shortened)"
_KEEPS: Final = frozenset({"Retain", "RetainExceptOnCreate"})
_SNAPSHOT: Final = "Snapshot"

Effect = Literal["replace", "remove"]


@dataclass(frozen=True)
class Judged:
    """What audit rules say of the template."""

    findings: Sequence[TemplateFinding] = ()
    passed: int = 0
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class Subject:
    """The stack that a preview is of."""

    account_id: str
    spec: DeploySpec
    before: Stack | None  # as it was; None, or a mere name, where there is none yet

    @property
    def updated_at(self) -> str | None:
        """When it was last changed; None for one that is not there yet."""
        return self.before.updated_at if self.before is not None and is_there(self.before.status) else None

    @property
    def status(self) -> str | None:
        """Its status; None for one that is not there yet."""
        return self.before.status if self.before is not None and is_there(self.before.status) else None


def preview_of_changes(
    subject: Subject,
    *,
    stack_arn: str,
    change_set_arn: str | None,
    changes: Sequence[Change],
    judged: Judged,
    made_at: str,
) -> Preview:
    """The preview of an apply. `change_set_arn`: None where CloudFormation itself has nothing to do."""
    spec = subject.spec
    notes = [*judged.notes, *_notes_on(spec, changes)]
    changes = [*changes, *protection_changes(subject)]
    operation: Literal["create", "update", "none"] = "create" if subject.status is None else "update"
    return _sized(
        Preview(
            hash="0" * 64,
            operation=operation if changes else "none",
            account_id=subject.account_id,
            region=spec.region,
            stack_name=spec.stack_name,
            stack_arn=stack_arn,
            stack_status=subject.status,
            stack_updated_at=subject.updated_at,
            change_set_arn=change_set_arn,
            changes=[_shortened(change) for change in changes],
            gates=gates_of(spec.gates, spec.allow, changes),
            findings=list(judged.findings),
            findings_passed=judged.passed,
            notes=notes,
            made_at=made_at,
        )
    )


def protection_changes(subject: Subject) -> list[Change]:
    """The change of a stack's termination protection that the plan asks for; it is none of a change set's."""
    wanted, before = subject.spec.termination_protection, subject.before
    if wanted is None or before is None or subject.status is None or wanted is before.is_protected:
        return []
    words = ("true", "false") if before.is_protected else ("false", "true")
    detail = ChangeDetail(attribute="EnableTerminationProtection", recreation="Never", before=words[0], after=words[1])
    return [
        Change(
            action="Modify",
            logical_id=before.name,
            physical_id=before.arn,
            type=STACK_TYPE,
            replacement="False",
            details=[detail],
        )
    ]


def preview_of_removal(
    subject: Subject, resources: Sequence[StackResource], template: Mapping[str, Any] | None, *, made_at: str
) -> Preview:
    """The preview of a destroy. `template`: for what it says is kept; None: it could not be read."""
    assert subject.before is not None  # noqa: S101  the caller has looked
    spec, before = subject.spec, subject.before
    changes = [_removal(resource, template) for resource in sorted(resources, key=lambda one: one.logical_id)]
    notes = (
        ["The stack's template could not be read: which resources are kept is not known."] if template is None else []
    )
    return _sized(
        Preview(
            hash="0" * 64,
            operation="delete",
            account_id=subject.account_id,
            region=spec.region,
            stack_name=spec.stack_name,
            stack_arn=before.arn,
            stack_status=before.status,
            stack_updated_at=before.updated_at,
            changes=changes,
            gates=gates_of(spec.gates, spec.allow, changes),
            notes=notes,
            made_at=made_at,
        )
    )


def gates_of(gates: Sequence[Gate], allow: Sequence[str], changes: Iterable[Change]) -> list[GateHit]:
    """The changes that some gate is about."""
    allowed = frozenset(allow)
    return [
        GateHit(
            resource_type=gate.resource_type,
            effect=effect,
            logical_id=change.logical_id,
            type=change.type,
            allowed=change.logical_id in allowed,
        )
        for change in changes
        for effect in effects_of(change)
        for gate in gates
        if effect in gate.refuse and fnmatch.fnmatchcase(change.type, gate.resource_type)
    ]


def effects_of(change: Change) -> list[Effect]:
    """Whether the resource would be replaced or removed, or may be: what AWS cannot rule out counts."""
    if change.action == "Remove":
        return [] if change.policy_action in _KEEPS else ["remove"]
    if change.action == "Dynamic" or change.replacement in {"True", "Conditional"}:
        return ["replace"]
    return []


def refusal(preview: Preview, spec: DeploySpec) -> Problem | None:
    """Why the plan itself does not want this done; None where it may be approved."""
    refused = preview.refused
    if refused:
        named = ", ".join(f"{hit.logical_id} ({hit.type}, {hit.effect})" for hit in refused[:5])
        more = f" and {len(refused) - 5} more" if len(refused) > 5 else ""
        return Problem(
            code="gate_refused",
            reason=f"The plan's gates refuse this change: {named}{more}. Change the template, or start the run again "
            "and allow these by name.",
            advice=("`--allow LOGICAL_ID` lets a resource pass in one run.",),
        )
    limit = spec.refuse_severity
    failed = [
        finding
        for finding in preview.findings
        if limit is not None and finding.status is FindingStatus.FAIL and finding.severity.rank >= limit.rank
    ]
    if not failed or preview.operation == "delete":
        return None
    named = ", ".join(f"{finding.logical_id} ({finding.rule_id})" for finding in failed[:5])
    more = f" and {len(failed) - 5} more" if len(failed) > 5 else ""
    return Problem("rules_refused", f"Audit rules fail on the template, which the plan does not allow: {named}{more}.")


def _removal(resource: StackResource, template: Mapping[str, Any] | None) -> Change:
    policy = _deletion_policy(resource.logical_id, template)
    return Change(
        action="Retain" if policy in _KEEPS else "Remove",
        logical_id=resource.logical_id,
        physical_id=resource.physical_id,
        type=resource.type,
        policy_action=policy if policy in _KEEPS | {_SNAPSHOT} else None,
    )


def _deletion_policy(logical_id: str, template: Mapping[str, Any] | None) -> str | None:
    resources = (template or {}).get("Resources")
    declared = resources.get(logical_id) if isinstance(resources, Mapping) else None
    policy = declared.get("DeletionPolicy") if isinstance(declared, Mapping) else None
    return policy if isinstance(policy, str) else None


def _notes_on(spec: DeploySpec, changes: Sequence[Change]) -> list[str]:
    notes = []
    if any(change.nested_change_set_arn or change.type == STACK_TYPE for change in changes):
        notes.append("What changes inside nested stacks is not shown.")
    if spec.service_role_arn is None and not spec.permissions:
        notes.append("The plan states no permissions and no service role: CloudFormation will not be allowed anything.")
    return notes


def _shortened(change: Change) -> Change:
    details = [
        msgspec.structs.replace(detail, before=_cut(detail.before), after=_cut(detail.after))
        for detail in change.details
    ]
    return msgspec.structs.replace(change, details=details)


def _cut(value: str | None) -> str | None:
    return value if value is None or len(value) <= MAX_VALUE else value[:MAX_VALUE] + _CUT


def _sized(preview: Preview) -> Preview:
    """Small enough to be stored, with its hash. What is left out is said; what changes is always there."""
    if len(msgspec.json.encode(preview)) > MAX_BYTES:
        bare = [msgspec.structs.replace(change, details=[]) for change in preview.changes]
        notes = [*preview.notes, "There is so much to change that the details are left out."]
        preview = msgspec.structs.replace(preview, changes=bare, findings=preview.findings[:1_000], notes=notes)
    return msgspec.structs.replace(preview, hash=preview_hash(preview))
