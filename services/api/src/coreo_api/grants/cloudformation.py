"""A grant as a CloudFormation template, as a link that makes the stack, and for the accounts of an organization.

The template's one parameter is the external id, as that is another for each account: so one stack set serves them all.
"""

from typing import Any
from urllib.parse import quote, urlencode

from coreo_api.grants.commands import line
from coreo_api.grants.grant import DESCRIPTION, SESSION_SECONDS, Grant, NamedPolicy
from coreo_api.grants.yaml_text import to_yaml

FILE_NAME = "coreo-role.yaml"
_REGIONS = {"aws": "us-east-1", "aws-us-gov": "us-gov-west-1", "aws-cn": "cn-north-1"}
_CONSOLES = {
    "aws": "{region}.console.aws.amazon.com",
    "aws-us-gov": "{region}.console.amazonaws-us-gov.com",
    "aws-cn": "{region}.console.amazonaws.cn",
}
_MAX_PARAMETER = 4_096  # bytes (CloudFormation user guide, "CloudFormation quotas")
_MAX_URL = 8_000
_EXTERNAL_ID = {"Ref": "ExternalId"}
_UNIT = "${ORGANIZATIONAL_UNIT:?Set it to the id of a unit or root of your organization that has this account}"


def template(grant: Grant) -> str:
    """The template as YAML. Needs CAPABILITY_NAMED_IAM. Raises GrantTooLargeError."""
    return to_yaml(
        {
            "AWSTemplateFormatVersion": "2010-09-09",
            "Description": f"The role {grant.role_name} for Coreo.",
            "Parameters": {
                "ExternalId": {
                    "Type": "CommaDelimitedList",
                    "Default": ",".join(grant.external_ids),
                    "AllowedPattern": "[0-9a-f]{32}",
                    "Description": "Made by Coreo for this account alone; two while it is being rotated.",
                }
            },
            "Resources": _resources(grant),
            "Outputs": {
                "RoleArn": {
                    "Description": "Tell it to Coreo.",
                    "Value": {"Fn::GetAtt": ["CoreoRole", "Arn"]},
                }
            },
        }
    )


def _resources(grant: Grant) -> dict[str, Any]:
    properties: dict[str, Any] = {
        "RoleName": grant.role_name,
        "Description": DESCRIPTION,
        "MaxSessionDuration": SESSION_SECONDS,
        "AssumeRolePolicyDocument": _with_parameter(grant.trust_policy),
    }
    if grant.managed_policy_arns:
        properties["ManagedPolicyArns"] = list(grant.managed_policy_arns)
    if grant.inline_policies:
        properties["Policies"] = [_policy(grant, policy) for policy in grant.inline_policies]
    return {"CoreoRole": {"Type": "AWS::IAM::Role", "Properties": properties}} | {
        f"CoreoPolicy{number}": {
            "Type": "AWS::IAM::ManagedPolicy",
            "Properties": {
                "ManagedPolicyName": policy.name,
                "PolicyDocument": _in_this_account(policy.document, grant),
                "Roles": [{"Ref": "CoreoRole"}],
            },
        }
        for number, policy in enumerate(grant.attached_policies, start=1)
    }


def _with_parameter(trust_policy: dict[str, Any]) -> dict[str, Any]:
    """The trust policy with the parameter where each statement asks for the external id."""
    statements = [
        {**each, "Condition": {"StringEquals": {**each["Condition"]["StringEquals"], "sts:ExternalId": _EXTERNAL_ID}}}
        for each in trust_policy["Statement"]
    ]
    return {**trust_policy, "Statement": statements}


def _policy(grant: Grant, policy: NamedPolicy) -> dict[str, Any]:
    return {"PolicyName": policy.name, "PolicyDocument": _in_this_account(policy.document, grant)}


def _in_this_account(document: dict[str, Any], grant: Grant) -> dict[str, Any]:
    """The policy with the role's ARN as it is in whatever account the stack is made in."""
    here = {"Fn::Sub": f"arn:${{AWS::Partition}}:iam::${{AWS::AccountId}}:role/{grant.role_name}"}
    statements = [
        {**each, "Resource": here} if each["Resource"] == grant.role_arn else each for each in document["Statement"]
    ]
    return {**document, "Statement": statements}


def quick_create_url(grant: Grant, template_url: str) -> str | None:
    """A link to the console's page that makes the stack, all filled in, from the public copy of
    infra/customer/coreo-role.yaml. None where the parameters are too long for one (CloudFormation user guide, "Create
    quick-create links for stacks")."""
    parameters = {
        "RoleName": grant.role_name,
        "ExternalId": ",".join(grant.external_ids),
        "TrustedPrincipals": ",".join(_principals(grant.trust_policy)),
        "ManagedPolicyArns": ",".join(grant.managed_policy_arns),
        "Actions": ",".join(grant.actions),
    }
    if len(parameters["Actions"]) > _MAX_PARAMETER:
        return None
    region = _REGIONS[grant.partition]
    query = {"templateURL": template_url, "stackName": "coreo-role"}
    query |= {f"param_{name}": value for name, value in parameters.items() if value}
    console = _CONSOLES[grant.partition].format(region=region)
    url = (
        f"https://{console}/cloudformation/home?region={region}#/stacks/create/review?"
        f"{urlencode(query, quote_via=quote, safe='')}"
    )
    return url if len(url) <= _MAX_URL else None


def _principals(trust_policy: dict[str, Any]) -> list[str]:
    named = [each["Principal"]["AWS"] for each in trust_policy["Statement"]]
    flat = [arn for each in named for arn in ([each] if isinstance(each, str) else each)]
    return list(dict.fromkeys(flat))


def stack_set(grant: Grant) -> list[str]:
    """Commands for an organization's management or delegated administrator account, beside the template's file: a stack
    set once, then this account's stack with the external id of its own."""
    name = ("--stack-set-name", "coreo-" + "".join(each if each.isalnum() else "-" for each in grant.role_name))
    region = _REGIONS[grant.partition]
    ids = "\\,".join(grant.external_ids)  # else the CLI takes the comma for its own
    targets = f"OrganizationalUnitIds={_UNIT},Accounts={grant.account_id},AccountFilterType=INTERSECTION"
    instances = line(
        "aws cloudformation create-stack-instances",
        name,
        ("--regions", region),
        ("--parameter-overrides", f"ParameterKey=ExternalId,ParameterValue={ids}"),
        ("--region", region),
    )
    return [
        line(
            "aws cloudformation create-stack-set",
            name,
            ("--template-body", f"file://{FILE_NAME}"),
            ("--permission-model", "SERVICE_MANAGED"),
            ("--auto-deployment", "Enabled=false"),
            ("--capabilities", "CAPABILITY_NAMED_IAM"),
            ("--region", region),
        ),
        f'{instances} --deployment-targets "{targets}"',
    ]
