"""A deploy run's sessions have what its plan states, and no more: the first one can change nothing."""

import json
from typing import Any

import pytest

from coreo_shared.cloudformation.permissions import (
    PermissionsError,
    changing_policy,
    deploy_actions,
    looking_policy,
    session_policy,
    template_object,
)
from coreo_shared.contracts.deploys import DeployAction, DeploySpec

ACCOUNT = "222222222222"
STACK = f"arn:aws:cloudformation:eu-west-1:{ACCOUNT}:stack/web/*"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/cloudformation"
CHANGES = {
    "CancelUpdateStack",
    "DeleteStack",
    "ExecuteChangeSet",
    "UpdateTerminationProtection",
}


def make(action: DeployAction = DeployAction.APPLY, **fields: Any) -> DeploySpec:
    return DeploySpec(action=action, region="eu-west-1", stack_name="web", **fields)


def statements(document: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(document)["Statement"]
    assert all(set(one) <= {"Effect", "Action", "Resource", "Condition"} for one in found)
    return found


def looks(spec: DeploySpec) -> list[dict[str, Any]]:
    return statements(looking_policy(spec, partition="aws", account_id=ACCOUNT).document)


def changes(spec: DeploySpec) -> list[dict[str, Any]]:
    return statements(changing_policy(spec, partition="aws", account_id=ACCOUNT).document)


@pytest.mark.parametrize("action", DeployAction)
def test_who_only_looks_can_change_nothing(action: DeployAction) -> None:
    found = looks(make(action, permissions=["s3:CreateBucket", "s3:GetBucketPolicy", "ec2:*", "iam:Put*"]))

    on_stack, *others = found
    assert on_stack["Resource"] == STACK
    assert not {name.removeprefix("cloudformation:") for one in found for name in one["Action"]} & CHANGES
    assert others[-1] == {
        "Effect": "Allow",
        "Action": ["ec2:Describe*", "ec2:Get*", "ec2:List*", "s3:GetBucketPolicy"],
        "Resource": "*",
    }


@pytest.mark.parametrize("action", [DeployAction.APPLY, DeployAction.DESTROY])
def test_who_changes_has_the_stack_and_what_the_plan_states(action: DeployAction) -> None:
    on_stack, stated = changes(make(action, permissions=["s3:CreateBucket", "ec2:*", "ec2:*"]))

    assert on_stack["Resource"] == STACK
    assert stated == {"Effect": "Allow", "Action": ["ec2:*", "s3:CreateBucket"], "Resource": "*"}
    other = {DeployAction.APPLY: "DeleteStack", DeployAction.DESTROY: "ExecuteChangeSet"}[action]
    assert f"cloudformation:{other}" not in on_stack["Action"]


def test_protection_is_changed_only_where_the_plan_says_of_it() -> None:
    def has(*, value: bool | None) -> bool:
        return "cloudformation:UpdateTerminationProtection" in changes(make(termination_protection=value))[0]["Action"]

    assert [has(value=value) for value in (None, False, True)] == [False, True, True]


def test_with_a_service_role_nothing_but_handing_it_over_is_allowed() -> None:
    apply = make(service_role_arn=ROLE, permissions=["s3:CreateBucket"])
    passing = {
        "Effect": "Allow",
        "Action": ["iam:PassRole"],
        "Resource": ROLE,
        "Condition": {"StringEquals": {"iam:PassedToService": "cloudformation.amazonaws.com"}},
    }

    assert looks(apply)[1:] == [passing]
    assert changes(apply)[1:] == []
    destroy = make(DeployAction.DESTROY, service_role_arn=ROLE)
    assert looks(destroy)[1:] == []
    assert changes(destroy)[1:] == [passing]
    assert deploy_actions(apply) == deploy_actions(destroy) == {*deploy_actions(make()), "iam:PassRole"}


def test_actions_of_a_plan_are_those_of_all_that_can_be_done_with_it() -> None:
    spec = make(permissions=["s3:CreateBucket"], template_url="https://b-1.s3.amazonaws.com/t.yaml")
    both = [*looks(spec), *changes(spec), *looks(make(DeployAction.DRIFT)), *changes(make(DeployAction.DESTROY))]

    assert deploy_actions(spec) == {action for statement in both for action in statement["Action"]}


def test_macros_may_be_used_by_who_says_so() -> None:
    expanding = looks(make(capabilities=["CAPABILITY_AUTO_EXPAND"]))[1]

    assert expanding["Resource"] == "arn:aws:cloudformation:eu-west-1:*:transform/*"
    assert len(looks(make(capabilities=["CAPABILITY_IAM"]))) == 1


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://b-1.s3.amazonaws.com/a/t.yaml", ("arn:aws:s3:::b-1/a/t.yaml", False)),
        ("https://b-1.s3.eu-west-1.amazonaws.com/t%20a.yaml?versionId=3", ("arn:aws:s3:::b-1/t a.yaml", True)),
        ("https://s3.eu-west-1.amazonaws.com/b-1/a/t.yaml", ("arn:aws:s3:::b-1/a/t.yaml", False)),
        ("https://s3-eu-west-1.amazonaws.com/b-1/t.yaml", ("arn:aws:s3:::b-1/t.yaml", False)),
        ("https://b.1.s3.cn-north-1.amazonaws.com.cn/t.yaml", ("arn:aws:s3:::b.1/t.yaml", False)),
        ("http://b-1.s3.amazonaws.com/t.yaml", None),
        ("https://b-1.s3.amazonaws.com/", None),
        ("https://b-1.s3.amazonaws.com/*", None),
        ("https://b-1.s3.amazonaws.com/t%3F", None),  # in a policy any one character
        ("https://b-1.s3.amazonaws.com/$%7Baws:username%7D", None),
        ("https://b-1.s3.amazonaws.com/t%0A.yaml", None),
        ("https://b-1.s3.amazonaws.com/t.yaml?versionId=", None),
        ("https://b-1.s3.amazonaws.com/t.yaml?X-Amz-Signature=1", None),
        ("https://b-1.s3.amazonaws.com/t.yaml?versionId=1&X-Amz-Signature=1", None),
        ("https://b-1.s3.amazonaws.com/t.yaml#a", None),
        ("https://b-1.s3.amazonaws.com.example.com/t.yaml", None),
        ("https://me@b-1.s3.amazonaws.com/t.yaml", None),
        ("https://example.com/s3.amazonaws.com/t.yaml", None),
        ("https://B_1.s3.amazonaws.com/t.yaml", None),
        ("https://[b-1.s3.amazonaws.com/t.yaml", None),
        ("https://b-1\u2100.s3.amazonaws.com/t.yaml", None),
    ],
)
def test_object_of_a_template_url(url: str, expected: tuple[str, bool] | None) -> None:
    assert template_object(url, "aws") == expected


@pytest.mark.parametrize("permission", ["*", "*:*", "s3", "S3:GetObject", "s3:Get Object", "s3:", "s3:A\n", 's3:"'])
def test_what_is_no_permission_is_named(permission: str) -> None:
    with pytest.raises(PermissionsError, match=r"permissions\.1: must be an IAM action"):
        deploy_actions(make(permissions=["s3:GetObject", permission]))


def test_what_does_not_fit_is_refused_not_widened() -> None:
    spec = make(permissions=[f"service{number}:SomeAction{number}" for number in range(90)])

    with pytest.raises(PermissionsError, match=r"^permissions: .* 2048 characters"):
        session_policy(spec, partition="aws", account_id=ACCOUNT)
