"""The simulated AWS as `coreo_embedded.simulator` runs it: ministack, with what it leaves out of CloudFormation.

ministack checks whoever calls CloudFormation, and then makes any resource of any template. AWS makes them as the
caller (IAM user guide, "Forward access sessions") or as the role handed to it, so that the role's policies and the
session policy decide about every resource. Here each resource takes the one action that makes, changes or deletes it.

It also takes a template's URL for a path, /BUCKET/KEY, whatever its host, and reads any object. AWS takes S3's own
addresses alone, and reads as the caller: who may not get the object gets no change set.

This module is run by the interpreter that has ministack, and by no other: `hypercorn strict_aws:app`.
"""

import re
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ministack.app import app
from ministack.core import iam_evaluator
from ministack.core.responses import get_account_id, get_region, request_scope
from ministack.services import s3
from ministack.services.cloudformation import handlers, helpers, stacks

__all__ = ["app"]

# Where a type's actions are not called after it: what makes it, what changes it, what deletes it.
_ACTIONS = {
    "AWS::EC2::SecurityGroup": (
        "ec2:CreateSecurityGroup",
        "ec2:AuthorizeSecurityGroupIngress",
        "ec2:DeleteSecurityGroup",
    ),
    "AWS::EC2::VPC": ("ec2:CreateVpc", "ec2:ModifyVpcAttribute", "ec2:DeleteVpc"),
    "AWS::IAM::ManagedPolicy": ("iam:CreatePolicy", "iam:CreatePolicyVersion", "iam:DeletePolicy"),
    "AWS::IAM::Role": ("iam:CreateRole", "iam:UpdateRole", "iam:DeleteRole"),
    "AWS::S3::Bucket": ("s3:CreateBucket", "s3:PutBucketTagging", "s3:DeleteBucket"),
    "AWS::SNS::Topic": ("sns:CreateTopic", "sns:SetTopicAttributes", "sns:DeleteTopic"),
    "AWS::SQS::Queue": ("sqs:CreateQueue", "sqs:SetQueueAttributes", "sqs:DeleteQueue"),
    "AWS::SSM::Parameter": ("ssm:PutParameter", "ssm:PutParameter", "ssm:DeleteParameter"),
}
_VERBS = ("Create", "Update", "Delete")
_roles: dict[tuple[str, str, str], str] = {}  # (account, region, stack) -> the role that CloudFormation works with


def _action(kind: str, number: int) -> str | None:
    """The action; None for what is CloudFormation's own."""
    if kind in _ACTIONS:
        return _ACTIONS[kind][number]
    parts = kind.split("::")
    if len(parts) != 3 or parts[1] == "CloudFormation":
        return None
    return f"{parts[1].lower()}:{_VERBS[number]}{parts[2]}"


def _check(kind: str, number: int, stack_name: str | None) -> None:
    """Raises ValueError, which fails the resource with this text, where the caller may not."""
    action, account, key = _action(kind, number), get_account_id(), iam_evaluator._verified_key.get()
    if action is None or not key:  # an account's root, whose signature is not checked, may all
        return
    role = _roles.get((account, get_region(), stack_name or ""))
    if role is None:
        principal = iam_evaluator.resolve_principal(key, account)
        if isinstance(principal, iam_evaluator.AuthError):
            raise ValueError(principal.message)
        arn, policies, limits = principal.arn, principal.policies, principal.limits
    else:
        arn, limits = role, []
        policies = iam_evaluator._gather_role_policies(role.rpartition("/")[2], account)
    if policies is None:
        return
    context = iam_evaluator.EvalContext(
        principal_arn=arn,
        principal_type="AssumedRole",
        principal_account=account,
        action=action,
        resource_arn="*",
        region=get_region(),
    )
    if iam_evaluator.evaluate(context, policies, *limits).decision != "Allow":
        raise ValueError(f"User: {arn} is not authorized to perform: {action} because no policy allows it")


def _provision(kind: str, logical_id: str, props: Any, stack_name: str) -> Any:
    _check(kind, 0, stack_name)
    return _provision_before(kind, logical_id, props, stack_name)


def _update(kind: str, physical_id: str, old: Any, new: Any, stack_name: str, *more: Any) -> Any:
    if old != new:
        _check(kind, 1, stack_name)
    return _update_before(kind, physical_id, old, new, stack_name, *more)


def _delete(
    kind: str, physical_id: str, props: Any, stack_name: str | None = None, logical_id: str | None = None
) -> Any:
    _check(kind, 2, stack_name)
    return _delete_before(kind, physical_id, props, stack_name, logical_id)


def _with_role(handler: Any) -> Any:
    """The handler of a call that may hand CloudFormation a role: the caller must be allowed to."""

    def checked(params: dict[str, Any]) -> Any:
        role, stack = helpers._p(params, "RoleARN"), helpers._p(params, "StackName")
        if role:
            problem = _may_pass(role)
            if problem is not None:
                return problem
            name = found[1] if (found := re.search(r":stack/([^/]+)/", stack)) else stack
            _roles[get_account_id(), get_region(), name] = role
        return handler(params)

    return checked


def _may_pass(role: str) -> Any:
    key = iam_evaluator._verified_key.get()
    if not key:
        return None
    context = {"iam:passedtoservice": "cloudformation.amazonaws.com"}
    action, region = "iam:PassRole", get_region()
    denied = iam_evaluator.enforce(key, action, "cloudformation", region, resource_arn=role, service_context=context)
    if denied is None:
        return None
    text = f"User: {denied.principal_arn} is not authorized to perform: {action} on resource: {role}"
    return helpers._error("AccessDenied", text, 403)


def _resolve_document(params: dict[str, Any], body_key: str, url_key: str, label: str) -> Any:
    """As `helpers._resolve_document`: (text, None) or (None, error); an object in S3 is fetched as AWS does it."""
    url = helpers._p(params, url_key)
    if helpers._p(params, body_key) or not url:
        return _resolve_before(params, body_key, url_key, label)
    parts = urlsplit(url)
    path = unquote(parts.path).lstrip("/")
    host = re.fullmatch(r"(?:(.+)\.)?s3[.-](?:[a-z0-9.-]+\.)?amazonaws\.com(?:\.cn)?", parts.hostname or "")
    bucket, key = ("", "") if host is None else (host[1], path) if host[1] else path.partition("/")[::2]
    if parts.scheme != "https" or not bucket or not key:
        return None, helpers._error("ValidationError", f"{url_key} must be a supported URL.")
    found = _object(bucket, key, parse_qs(parts.query).get("versionId", [None])[0])
    if isinstance(found, str):
        more = "For more information check http://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html"
        return None, helpers._error("ValidationError", f"S3 error: {found}\n{more}")
    if body_key == "TemplateBody" and len(found) > helpers.TEMPLATE_URL_MAX_BYTES:
        text = f"{label} may not exceed {helpers.TEMPLATE_URL_MAX_BYTES} bytes in size."
        return None, helpers._error("ValidationError", text)
    return found.decode(), None


def _object(bucket: str, key: str, version: str | None) -> bytes | str:
    """The object's bytes, or as text why S3 does not give them to the caller.

    S3 tells that there is no such object only to who may list the bucket.
    """
    arn, account, caller = f"arn:aws:s3:::{bucket}", get_account_id(), iam_evaluator._verified_key.get()

    def may(action: str, resource: str) -> bool:  # an account's root may all
        return not caller or iam_evaluator.enforce(caller, action, "s3", get_region(), resource_arn=resource) is None

    owner = s3._bucket_owner_account(bucket)
    if owner is None:
        return "The specified bucket does not exist"
    query = {"versionId": version} if version else {}
    is_let = owner == account or s3._foreign_bucket_allows(owner, bucket, key, "GET", query, account)
    if not is_let or not may("s3:GetObjectVersion" if version else "s3:GetObject", f"{arn}/{key}"):
        return "Access Denied"
    with request_scope(owner, get_region()):
        found: bytes | None = s3._get_object_data(bucket, key, version)
    if found is not None:
        return found
    return "The specified key does not exist." if may("s3:ListBucket", arn) else "Access Denied"


_resolve_before = helpers._resolve_document
helpers._resolve_document = _resolve_document
_provision_before, _update_before, _delete_before = (
    stacks._provision_resource,
    stacks._update_resource,
    stacks._delete_resource,
)
stacks._provision_resource, stacks._update_resource, stacks._delete_resource = _provision, _update, _delete
for _name in ("CreateChangeSet", "CreateStack", "DeleteStack", "UpdateStack"):
    handlers._ACTION_HANDLERS[_name] = _with_role(handlers._ACTION_HANDLERS[_name])
