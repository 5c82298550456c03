"""What policies give together, and what of it is a way to more: on AWS's own policies, on odd ones, and as sets."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from moto.iam.aws_managed_policies import aws_managed_policies_data

from coreo_shared.rules.iam_powers import EVERYTHING, Powers, powers_of, ways_of
from coreo_shared.rules.iam_ways import BY_IAM, BY_PASSING, BY_WORKLOADS, ON_ANY, ON_SELF, PASS_ROLE
from coreo_shared.rules.values import Unknown
from tests.support.rules import judge

AWS_POLICIES: dict[str, Any] = json.loads(aws_managed_policies_data)


def allow(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": action, "Resource": resource} | more


def deny(action: Any, resource: Any = "*", **more: Any) -> dict[str, Any]:
    return allow(action, resource, **more) | {"Effect": "Deny"}


def but(name: str, statement: dict[str, Any]) -> dict[str, Any]:
    """With NotAction or NotResource in place of the other."""
    return {f"Not{name}" if key == name else key: value for key, value in statement.items()}


def powers(*statements: dict[str, Any]) -> Powers:
    found = powers_of({"Version": "2012-10-17", "Statement": list(statements)})
    assert isinstance(found, Powers), found
    return found


def ways(*statements: dict[str, Any], workloads: bool = False) -> list[str]:
    return ways_of(powers(*statements).effective, workloads=workloads)


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("IAMFullAccess", "iam:CreatePolicyVersion"),
        ("AWSLambda_FullAccess", "iam:PassRole with lambda:CreateFunction, lambda:InvokeFunction"),
        ("AmazonECS_FullAccess", "iam:PassRole with ecs:RegisterTaskDefinition, ecs:RunTask"),
        ("AmazonSageMakerFullAccess", "iam:PassRole with sagemaker:CreateNotebookInstance"),
        ("AmazonElasticMapReduceFullAccess", "iam:PassRole with ec2:RunInstances"),
        ("AdministratorAccess-Amplify", "iam:CreatePolicyVersion"),
        ("AdministratorAccess", "everything is allowed already"),
        ("PowerUserAccess", None),
        ("ReadOnlyAccess", None),
        ("ViewOnlyAccess", None),
        ("SecurityAudit", None),
        ("AmazonS3FullAccess", None),
        ("AmazonEC2FullAccess", None),
        ("AWSCloudFormationFullAccess", None),
        ("IAMUserChangePassword", None),
        ("IAMReadOnlyAccess", None),
        ("AWSCodeBuildDeveloperAccess", None),
        ("NetworkAdministrator", None),
    ],
)
def test_of_aws_policies_those_that_open_more_are_told_from_the_others(name: str, first: str | None) -> None:
    found = powers_of(AWS_POLICIES[name]["Document"])
    assert isinstance(found, Powers)
    assert next(iter(ways_of(found.effective)), None) == first


def test_of_all_aws_policies_few_open_more_and_all_are_read_in_a_moment() -> None:
    started = time.process_time()
    found = {name: powers_of(policy["Document"]) for name, policy in AWS_POLICIES.items()}
    assert time.process_time() - started < 10  # 0.6 ms each
    assert [name for name, one in found.items() if isinstance(one, Unknown)] == []
    opening = [name for name, one in found.items() if isinstance(one, Powers) and ways_of(one.effective)]
    assert 20 < len(opening) < 0.05 * len(found)


@pytest.mark.parametrize("way", [*BY_IAM, *BY_PASSING], ids=",".join)
def test_each_way_is_found_and_is_none_without_any_of_its_parts(way: tuple[str, ...]) -> None:
    """Alone, by wildcards and in NotAction; and not when one part is left out or denied."""
    passing = ".amazonaws.com" in way[0]
    actions = [PASS_ROLE, *way[1:]] if passing else list(way)
    told = f"{PASS_ROLE} with {', '.join(way[1:])}" if passing else way[0]
    assert told in ways(allow(actions))
    assert told in ways(*(allow(f"{action[:-3]}*") for action in actions))
    assert told in ways(but("Action", allow(["s3:GetObject"])))
    for left_out in actions:
        rest = [action for action in actions if action != left_out]
        assert told not in ways(*(allow(action) for action in rest))
        assert told not in ways(allow(actions), deny(left_out))
        assert told not in ways(but("Action", allow([left_out])))


@pytest.mark.parametrize("way", BY_WORKLOADS, ids=",".join)
def test_each_way_by_workloads_is_another_question(way: tuple[str, ...]) -> None:
    actions = [action for action in way if ">" not in action]
    assert ", ".join(actions) in ways(allow(actions), workloads=True)
    assert ways(allow(actions)) == []
    assert ", ".join(actions) not in ways(*(allow(action) for action in actions[1:]), workloads=True)


def test_commands_need_a_document_that_runs_what_one_likes() -> None:
    on_all = allow("ssm:SendCommand", "arn:aws:ec2:*:*:instance/*")
    assert ways(on_all, workloads=True) == []
    assert ways(on_all, allow("ssm:SendCommand", "arn:aws:ssm:*:*:document/Mine-*"), workloads=True) == []
    assert ways(on_all, allow("ssm:SendCommand", "arn:aws:ssm:*::document/AWS-Run*"), workloads=True) == [
        "ssm:SendCommand"
    ]


@pytest.mark.parametrize("action", sorted(ON_ANY))
def test_what_is_there_must_be_within_reach_whichever_it_is(action: str) -> None:
    service, resource = ON_ANY[action]
    name = action.partition(">")[0]
    kind = resource.rstrip("*")
    wide = ["*", f"arn:aws:{service}:*:*:{resource}", f"arn:aws:{service}::123456789012:*", f"arn:aws:{service}"]
    narrow = [f"arn:aws:{service}:*:*:{kind}team-*", f"arn:aws:{service}:*:*:other/*", "arn:aws:s3:::*", "x"]
    if ">" in action:
        narrow = [one for one in narrow if kind not in one]
    for one in wide:
        assert action in powers(allow(name, one)).allowed, one
        assert action not in powers(but("Resource", allow(name, one))).allowed, one
        assert action not in powers(allow(name), deny(name, one)).effective, one
    for one in narrow:
        assert action not in powers(allow(name, one)).allowed, one
        assert action in powers(but("Resource", allow(name, one))).allowed, one
        assert action in powers(allow(name), deny(name, one)).effective, one


def test_policies_for_oneself_are_enough_and_keys_for_oneself_are_not() -> None:
    own = "arn:aws:iam::*:user/${aws:username}"
    given = {action for action in ON_ANY if action in powers(allow("iam:*", own)).allowed}
    assert given == ON_SELF
    nobody_else = but("Resource", deny("iam:*", own))
    assert powers(allow("iam:*"), nobody_else).effective == ON_SELF


@pytest.mark.parametrize(
    ("condition", "counts"),
    [
        ({"Bool": {"aws:MultiFactorAuthPresent": "true"}}, True),
        ({"StringEquals": {"aws:RequestedRegion": "eu-west-1"}}, True),
        ({"StringEquals": {"aws:RequestTag/team": "web"}}, True),
        ({"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}}, True),
        ({"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com.cn"}}, True),
        ({"StringLike": {"iam:PassedToService": ["s3.amazonaws.com", "ec2.*"]}}, True),
        ({"StringNotEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}, True),
        ({"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}}, False),
        ({"StringNotLike": {"iam:PassedToService": "ec2.*"}}, False),
        ({"ArnLike": {"iam:AssociatedResourceArn": "arn:aws:ec2:*:*:instance/i-1"}}, False),
        ({"StringEquals": {"iam:ResourceTag/team": "web"}}, False),
        ({"StringEquals": {"aws:CalledViaFirst": "cloudformation.amazonaws.com"}}, False),
        ({"Bool": {"aws:ViaAWSService": "true"}}, False),
    ],
)
def test_conditions_on_passing_roles(condition: dict[str, Any], counts: bool) -> None:  # noqa: FBT001  a column
    found = ways(allow(PASS_ROLE, Condition=condition), allow("ec2:RunInstances"))
    assert found == ["iam:PassRole with ec2:RunInstances"] * counts


@pytest.mark.parametrize(
    ("statements", "left"),
    [
        ([deny("iam:*")], set()),
        ([deny("*")], set()),
        ([but("Action", deny(["s3:*"]))], set()),
        ([but("Resource", deny("iam:*", "arn:aws:iam::*:role/team/*"))], set()),
        ([deny("iam:Put*")], {"iam:AttachUserPolicy"}),
        ([deny("iam:*", "arn:aws:iam::*:user/admin")], {"iam:AttachUserPolicy", "iam:PutUserPolicy"}),
        # A stranger to these conditions is not stopped …
        (
            [deny("iam:*", Condition={"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}})],
            {"iam:AttachUserPolicy", "iam:PutUserPolicy"},
        ),
        ([deny("iam:*", Condition={"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}})],
         {"iam:AttachUserPolicy", "iam:PutUserPolicy"}),
        # … and whoever must keep to a boundary is.
        ([deny("iam:*", Condition={"StringNotEquals": {"iam:PermissionsBoundary": "arn:aws:iam::1:policy/b"}})], set()),
        ([deny("iam:*", Condition={"Null": {"iam:PermissionsBoundary": "true"}})], set()),
    ],
)  # fmt: skip
def test_denials(statements: list[dict[str, Any]], left: set[str]) -> None:
    assert set(ways(allow(["iam:AttachUserPolicy", "iam:PutUserPolicy"]), *statements)) == left


def test_a_boundary_asked_for_where_there_is_one_does_not_guard_what_knows_none() -> None:
    """New versions of a policy, and groups, are the well-known holes of delegated administration."""
    condition = {"StringNotEqualsIfExists": {"iam:PermissionsBoundary": "arn:aws:iam::1:policy/b"}}
    found = ways(allow("iam:*"), deny("iam:*", Condition=condition))
    assert "iam:PutRolePolicy" not in found
    assert {"iam:CreatePolicyVersion", "iam:AddUserToGroup"} <= set(found)


def test_everything_but_iam_is_not_everything() -> None:
    assert EVERYTHING in powers(allow("*"), deny("iam:CreateUser")).effective
    assert EVERYTHING not in powers(allow("*"), deny("iam:*")).effective
    assert EVERYTHING not in powers(allow("*", "arn:aws:s3:::b")).allowed
    assert (
        EVERYTHING
        not in powers(allow("*", Condition={"StringEquals": {"iam:PassedToService": "ec2.amazonaws.com"}})).allowed
    )


STATEMENTS = st.builds(
    lambda effect, not_action, actions, not_resource, resource, condition: (
        {
            "Effect": effect,
            "NotAction" if not_action else "Action": actions,
            "NotResource" if not_resource else "Resource": resource,
        }
        | ({"Condition": condition} if condition else {})
    ),
    st.sampled_from(["Allow", "Allow", "Deny"]),
    st.booleans(),
    st.lists(
        st.sampled_from(
            ["*", "iam:*", "iam:PassRole", "iam:Put*", "lambda:*", "lambda:CreateFunction", "ec2:Run?nstances", "s3:*"]
        ),
        min_size=1,
        max_size=3,
    ),
    st.booleans(),
    st.lists(
        st.sampled_from(["*", "arn:aws:iam::*:role/*", "arn:aws:iam::*:user/${aws:username}", "arn:aws:lambda:*"]),
        min_size=1,
        max_size=2,
    ),
    st.sampled_from(
        [
            None,
            {"Bool": {"aws:MultiFactorAuthPresent": "true"}},
            {"StringEquals": {"iam:PassedToService": "lambda.amazonaws.com"}},
            {"StringNotEquals": {"iam:PermissionsBoundary": "b"}},
        ]
    ),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STATEMENTS, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_powers_are_sets(statements: list[dict[str, Any]], random: Any) -> None:
    """In whatever order and in however many documents; more Allow never gives less, more Deny never more."""
    together = powers(*statements)
    assert powers(*random.sample(statements, len(statements))) == together
    apart = Powers()
    for statement in statements:
        apart |= powers(statement)
    assert apart == together
    more, before = powers(*statements, allow("iam:*")), together.effective
    assert before - {EVERYTHING} <= more.effective
    assert powers(*statements, deny("iam:Put*")).effective <= before
    assert together.within(powers(allow("*"))).effective == before
    assert together.within(powers(allow("s3:*"))).effective == frozenset()


def test_a_policy_of_very_many_statements_is_undecided_in_under_a_second() -> None:
    """AWS's own limits end far below. Text is bounded by its length besides."""
    statement = allow(["s3:*", "ec2:*"], Condition={"StringEquals": {"aws:RequestedRegion": "eu-west-1"}})
    policy = json.dumps({"Statement": [statement] * 400})
    condition = {"policy_gains": {"policy": "Policy", "what": "more-than-given"}}
    started = time.monotonic()
    assert judge(condition, {"Policy": policy}) == "PASS"
    objects = {"Statement": [allow("iam:*", "x")] * 50_000}
    assert judge(condition, {"Policy": objects}) == "NOT_EVALUATED"
    assert time.monotonic() - started < 1
