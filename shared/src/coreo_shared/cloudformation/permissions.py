"""What a deploy run may do in the customer's account: CloudFormation on its own stack, and what its plan states.

A run has two sessions, one after the other. The first *looks*: it makes the preview or detects drift, and can change
nothing. The second *changes*, and is opened only for what people approved. Actions and what each is checked against:
service authorization reference, "Actions, resources, and condition keys for AWS CloudFormation".
"""

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from coreo_shared.contracts.deploys import DeployAction, DeploySpec
from coreo_shared.rules.policy import MAX_SESSION_POLICY, SessionPolicy

PASS_ROLE: Final = "iam:PassRole"
_PERMISSION = re.compile(r"[a-z0-9-]{1,63}:[A-Za-z0-9*?]{1,128}")
_READS: Final = ("BatchGet", "Describe", "Get", "Head", "List", "Lookup", "Search", "View")
_WIDE_READS: Final = ("Describe*", "Get*", "List*")
_AUTO_EXPAND: Final = "CAPABILITY_AUTO_EXPAND"

_LOOK: Final[dict[DeployAction, tuple[str, ...]]] = {
    DeployAction.PREVIEW: (
        "CreateChangeSet", "DeleteChangeSet", "DescribeChangeSet", "DescribeEvents", "DescribeStacks", "GetTemplate",
        "ListChangeSets",
    ),
    DeployAction.DRIFT: (
        "DescribeStackResourceDrifts", "DescribeStacks", "DetectStackDrift", "DetectStackResourceDrift",
        "ListStackResources",
    ),
    DeployAction.DESTROY: ("DescribeStacks", "GetTemplate", "ListStackResources"),
}  # fmt: skip
_LOOK[DeployAction.APPLY] = _LOOK[DeployAction.PREVIEW]
_LOOK_ANYWHERE: Final = {
    DeployAction.DRIFT: ("BatchDescribeTypeConfigurations", "DescribeStackDriftDetectionStatus"),
}
_CHANGE: Final[dict[DeployAction, tuple[str, ...]]] = {
    DeployAction.APPLY: (
        "CancelUpdateStack", "DeleteChangeSet", "DescribeChangeSet", "DescribeEvents", "DescribeStackEvents",
        "DescribeStacks", "ExecuteChangeSet",
    ),
    DeployAction.DESTROY: (
        "DeleteStack", "DescribeEvents", "DescribeStackEvents", "DescribeStacks", "GetTemplate", "ListStackResources",
    ),
}  # fmt: skip
_MAKES_CHANGE_SET: Final = frozenset({DeployAction.PREVIEW, DeployAction.APPLY})
_PROTECT: Final = "UpdateTerminationProtection"


class PermissionsError(ValueError):
    """The plan's permissions cannot be a session's. `field` of the spec; `str()` is a sentence for people."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field
        self.problem = problem


def check_permissions(permissions: Sequence[str]) -> None:
    """Raises PermissionsError for one that is no IAM action, or that would give the run everything."""
    for position, permission in enumerate(permissions):
        if not _PERMISSION.fullmatch(permission):
            raise PermissionsError(
                f"permissions.{position}",
                "must be an IAM action such as s3:CreateBucket, or those of one service such as ec2:*",
            )


def deploy_actions(spec: DeploySpec) -> frozenset[str]:
    """The IAM actions that the role needs for everything that can be done with this spec, whichever its action."""
    names = {name for part in (_LOOK, _CHANGE, _LOOK_ANYWHERE) for names in part.values() for name in names}
    if spec.termination_protection is not None:
        names.add(_PROTECT)
    beside = [PASS_ROLE] if spec.service_role_arn is not None else []
    if spec.template_url is not None:
        beside += _fetching(spec.template_url, "aws")[0]
    return frozenset(f"cloudformation:{name}" for name in names).union(beside, _stated(spec))


def looking_policy(spec: DeploySpec, *, partition: str, account_id: str) -> SessionPolicy:
    """The session policy of a run that changes nothing yet. Raises PermissionsError."""
    names = _LOOK[spec.action]
    statements = [_on_stack(spec, names, partition, account_id)]
    anywhere = _LOOK_ANYWHERE.get(spec.action)
    if anywhere:
        statements.append(_allow([f"cloudformation:{name}" for name in anywhere], "*"))
    if _AUTO_EXPAND in spec.capabilities and "CreateChangeSet" in names:
        macros = f"arn:{partition}:cloudformation:{spec.region}:*:transform/*"
        statements.append(_allow(["cloudformation:CreateChangeSet"], macros))
    reads = _reading(_stated(spec))
    return _policy([*statements, *_beside(spec, partition, changes=False), *([_allow(reads, "*")] if reads else [])])


def changing_policy(spec: DeploySpec, *, partition: str, account_id: str) -> SessionPolicy:
    """The session policy of a run that people approved. Raises PermissionsError, and KeyError where none changes."""
    names = _CHANGE[spec.action]
    if spec.action is DeployAction.APPLY and spec.termination_protection is not None:
        names = (*names, _PROTECT)
    stated = sorted(set(_stated(spec)))
    statements = [_on_stack(spec, names, partition, account_id), *_beside(spec, partition, changes=True)]
    return _policy([*statements, *([_allow(stated, "*")] if stated else [])])


def session_policy(spec: DeploySpec, *, partition: str, account_id: str) -> str:
    """The policy of the run's widest session: what `coreo` shows of a plan. Raises PermissionsError."""
    make = changing_policy if spec.action.changes_stack else looking_policy
    return make(spec, partition=partition, account_id=account_id).document


def template_object(url: str, partition: str) -> tuple[str, bool] | None:
    """ARN of the S3 object that a template's URL names, and whether it names a version; None where it names none.

    Nothing else may be in the URL: it is kept in clear, and a presigned one is a secret. Nor may the ARN mean more than
    one object where a policy names it. Source: S3 user guide, "Virtual hosting of buckets".
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    host, path = parts.hostname or "", unquote(parts.path).lstrip("/")
    found = re.fullmatch(r"(?:(?P<bucket>.+)\.)?s3[.-](?:[a-z0-9.-]+\.)?amazonaws\.com(?:\.cn)?", host)
    if parts.scheme != "https" or found is None or parts.username is not None or parts.fragment:
        return None
    query = parse_qs(parts.query, keep_blank_values=True)
    if query and (query.keys() != {"versionId"} or not all(query["versionId"])):
        return None
    bucket, key = (found["bucket"], path) if found["bucket"] else path.partition("/")[::2]
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", bucket) or not key or len(key) > 1_024:
        return None
    if not key.isprintable() or any(sign in key for sign in "*?$"):
        return None
    return f"arn:{partition}:s3:::{bucket}/{key}", bool(query)


def fetching_action(*, has_version: bool) -> str:
    """The IAM action by which CloudFormation fetches a template from S3."""
    return "s3:GetObjectVersion" if has_version else "s3:GetObject"


def _stated(spec: DeploySpec) -> list[str]:
    """What the plan states; nothing where CloudFormation works with a role of its own."""
    check_permissions(spec.permissions)
    return [] if spec.service_role_arn is not None else spec.permissions


def _reading(permissions: Iterable[str]) -> list[str]:
    """What of these changes nothing, by its name."""
    kept: set[str] = set()
    for permission in permissions:
        service, _, name = permission.partition(":")
        if name.startswith(_READS):
            kept.add(permission)
        elif name[0] in "*?":
            kept.update(f"{service}:{reads}" for reads in _WIDE_READS)
    return sorted(kept)


def _on_stack(spec: DeploySpec, names: Sequence[str], partition: str, account_id: str) -> dict[str, Any]:
    stack = f"arn:{partition}:cloudformation:{spec.region}:{account_id}:stack/{spec.stack_name}/*"
    return _allow([f"cloudformation:{name}" for name in sorted(names)], stack)


def _beside(spec: DeploySpec, partition: str, *, changes: bool) -> list[dict[str, Any]]:
    """What CloudFormation itself asks of who calls it: to hand it its role, to fetch the template."""
    statements: list[dict[str, Any]] = []
    # CreateChangeSet and DeleteStack are the calls that name the role.
    names_role = spec.action is DeployAction.DESTROY if changes else spec.action in _MAKES_CHANGE_SET
    if spec.service_role_arn is not None and names_role:
        to_cloudformation = {"StringEquals": {"iam:PassedToService": "cloudformation.amazonaws.com"}}
        statements.append(_allow([PASS_ROLE], spec.service_role_arn) | {"Condition": to_cloudformation})
    if spec.template_url is not None and not changes:
        statements.append(_allow(*_fetching(spec.template_url, partition)))
    return statements


def _fetching(url: str, partition: str) -> tuple[list[str], str]:
    """The action that fetches the template, and of what."""
    found = template_object(url, partition)
    if found is None:
        raise PermissionsError("template_url", "must be the https address of an object in S3")
    return [fetching_action(has_version=found[1])], found[0]


def _allow(actions: Sequence[str], resource: str) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(actions), "Resource": resource}


def _policy(statements: list[dict[str, Any]]) -> SessionPolicy:
    """Nothing is widened here: what a plan states is what the run may do, or there is no run."""
    document = json.dumps({"Version": "2012-10-17", "Statement": statements}, separators=(",", ":"))
    if len(document) > MAX_SESSION_POLICY:
        raise PermissionsError(
            "permissions",
            f"AWS's session policies hold {MAX_SESSION_POLICY} characters, and this plan needs {len(document)}: state "
            "services such as ec2:* instead of single actions, or give CloudFormation a service role",
        )
    return SessionPolicy(document, ())
