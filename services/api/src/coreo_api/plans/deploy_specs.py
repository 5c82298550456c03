"""A deploy plan's spec against the catalogue: what it names must be there, and it must fit into a job."""

from collections.abc import Iterator, Sequence

import msgspec

from coreo_api.plans import specs
from coreo_api.plans.deploy_schemas import DeploySpec
from coreo_api.plans.schemas import AuditSpec
from coreo_shared import templates
from coreo_shared.catalogue import Catalogue
from coreo_shared.cloudformation.permissions import (
    PermissionsError,
    deploy_actions,
    session_policy,
    template_object,
)
from coreo_shared.contracts import deploys
from coreo_shared.contracts.base import encode_json
from coreo_shared.contracts.deploys import MAX_SPEC_BYTES, DeployAction
from coreo_shared.contracts.rulepacks import RulePack
from coreo_shared.web import FieldError

_FIELD = "body.spec"
_ANY_ACCOUNT = "0" * 12  # all have twelve digits: what fits for one fits for all
_ROOM = 1_000  # for what each target fills in
_OF_TEMPLATE = frozenset({DeployAction.PREVIEW, DeployAction.APPLY})  # drift and destroy take the stack as it is


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept with a group of deploy runs beside their spec: for the ledger, and for each target to fill in."""

    approvals: int
    approval_seconds: int
    requester_may_approve: bool
    service_role: str | None


def terms_of(spec: DeploySpec) -> Terms:
    """The terms of runs of this spec."""
    approval = spec.approval
    return Terms(
        approvals=0 if approval.auto else approval.approvers,
        approval_seconds=approval.expires_seconds,
        requester_may_approve=approval.requester_may_approve,
        service_role=spec.service_role,
    )


def rules_of(spec: DeploySpec) -> AuditSpec | None:
    """The part that says by which rules the template is judged; None: by none."""
    if not (spec.rules or spec.rule_sets or spec.rule_packs):
        return None
    return AuditSpec(
        rule_sets=spec.rule_sets, rules=spec.rules, rule_packs=spec.rule_packs, parameters=spec.rule_parameters
    )


def resolve(
    catalogue: Catalogue,
    spec: DeploySpec,
    packs: Sequence[RulePack],
    action: DeployAction,
    allow: Sequence[str] = (),
) -> deploys.DeploySpec:
    """What a run of this spec does, without its region and service role: those are the target's.

    Raises UnknownNameError.
    """
    work = _without_rules(spec, action, allow)
    rules = rules_of(spec)
    if rules is None or action not in _OF_TEMPLATE:
        return work
    judged = specs.resolve(catalogue, rules, packs)
    return msgspec.structs.replace(
        work,
        rules=judged.rules,
        rule_parameters=judged.parameters,
        packs=judged.packs,
        refuse_severity=spec.refuse_severity,
    )


def _without_rules(spec: DeploySpec, action: DeployAction, allow: Sequence[str] = ()) -> deploys.DeploySpec:
    work = deploys.DeploySpec(
        action=action,
        region="",
        stack_name=spec.stack_name,
        gates=[deploys.Gate(resource_type=each.resource_type, refuse=list(each.refuse)) for each in spec.gates],
        allow=list(allow),
        permissions=sorted(set(spec.permissions)),
        timeout_minutes=spec.timeout_minutes,
    )
    if action not in _OF_TEMPLATE:
        return work
    return msgspec.structs.replace(
        work,
        template=None if spec.template is None else templates.pack(spec.template),
        template_url=spec.template_url,
        parameters=spec.parameters,
        capabilities=sorted(set(spec.capabilities)),
        tags=spec.tags,
        termination_protection=spec.termination_protection,
        rollback_triggers=[deploys.RollbackTrigger(arn=each.arn, type=each.type) for each in spec.rollback_triggers],
        monitoring_minutes=spec.monitoring_minutes,
    )


def for_target(
    spec: deploys.DeploySpec, terms: Terms, *, region: str, partition: str, account_id: str
) -> deploys.DeploySpec:
    """What a run does to one target."""
    role = terms.service_role
    arn = None if role is None else f"arn:{partition}:iam::{account_id}:role/{role}"
    return msgspec.structs.replace(spec, region=region, service_role_arn=arn)


def check(catalogue: Catalogue, partition: str, spec: DeploySpec, packs: Sequence[RulePack]) -> None:
    """Raises a Problem that names every field that is wrong."""
    errors = [*_region_errors(catalogue, partition, spec), *_other_errors(spec, partition)]
    rules = rules_of(spec)
    if rules is None and (spec.rule_parameters or spec.refuse_severity):
        field = "rule_parameters" if spec.rule_parameters else "refuse_severity"
        errors.append(
            FieldError(f"{_FIELD}.{field}", "there are no rules: name some in rules, rule_sets or rule_packs")
        )
    if errors:
        raise specs.problem_of(errors)
    if rules is not None:
        specs.check_rules(catalogue, rules, packs)
    if len(encode_json(resolve(catalogue, spec, packs, DeployAction.APPLY))) > MAX_SPEC_BYTES - _ROOM:
        raise specs.problem_of([FieldError(_FIELD, "too much for one job: shorten the template, or name fewer rules")])
    try:
        policies_of(spec, partition)
    except PermissionsError as error:
        raise specs.problem_of([FieldError(f"{_FIELD}.{error.field}", error.problem)]) from None


def policies_of(spec: DeploySpec, partition: str) -> dict[DeployAction, str]:
    """The widest session policy of a run of each action, in some account. Raises PermissionsError."""
    region = max(spec.regions, key=len)
    policies = {}
    for action in DeployAction:
        work = _without_rules(spec, action)
        work = for_target(work, terms_of(spec), region=region, partition=partition, account_id=_ANY_ACCOUNT)
        policies[action] = session_policy(work, partition=partition, account_id=_ANY_ACCOUNT)
    return policies


def actions_of(spec: DeploySpec, partition: str) -> frozenset[str]:
    """The IAM actions that a role needs for everything that can be done with this spec."""
    work = _without_rules(spec, DeployAction.APPLY)
    return deploy_actions(
        for_target(work, terms_of(spec), region=spec.regions[0], partition=partition, account_id=_ANY_ACCOUNT)
    )


def _region_errors(catalogue: Catalogue, partition: str, spec: DeploySpec) -> Iterator[FieldError]:
    known = catalogue.regions[partition]
    for index, region in enumerate(spec.regions):
        if region not in known:
            message = f"no region of this name in the partition {partition}; each is named, `all` is for audits"
            yield FieldError(f"{_FIELD}.regions.{index}", message)
    if len(set(spec.regions)) != len(spec.regions):
        yield FieldError(f"{_FIELD}.regions", "the same region is there twice")


def _other_errors(spec: DeploySpec, partition: str) -> Iterator[FieldError]:
    if spec.template_url is not None and template_object(spec.template_url, partition) is None:
        message = (
            "must be the https address of an object in S3: https://BUCKET.s3.REGION.amazonaws.com/KEY, with nothing "
            "more than ?versionId=VERSION"
        )
        yield FieldError(f"{_FIELD}.template_url", message)
    if spec.service_role is not None and spec.permissions:
        yield FieldError(
            f"{_FIELD}.permissions",
            "with a service role the session needs no permissions of its own: leave out one of them",
        )
    if spec.monitoring_minutes and not spec.rollback_triggers:
        yield FieldError(f"{_FIELD}.monitoring_minutes", "there are no rollback_triggers to watch")
