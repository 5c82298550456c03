"""Intrinsic functions, as far as a template tells their values: what it does not tell is unknown, and never a guess."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coreo_shared.cloudformation import resolving
from coreo_shared.cloudformation.resolving import NO_VALUE, Place, Resolver
from coreo_shared.rules.values import Unknown

PLACE = Place("222222222222", "eu-west-1", "aws", "web")
TEMPLATE: dict[str, Any] = {
    "Parameters": {
        "Stage": {"Type": "String", "Default": "test"},
        "Ports": {"Type": "CommaDelimitedList", "Default": "22, 80"},
        "Size": {"Type": "Number", "Default": 3},
        "Missing": {"Type": "String"},
        "Secret": {"Type": "String", "NoEcho": "true", "Default": "x"},
        "Ami": {"Type": "AWS::SSM::Parameter::Value<String>", "Default": "/a"},
        "Vault": {"Type": "String", "Default": "{{resolve:ssm:/x}}"},
    },
    "Mappings": {"Sizes": {"prod": {"n": "9"}, "test": {"n": "1"}}},
    "Conditions": {
        "IsProd": {"Fn::Equals": [{"Ref": "Stage"}, "prod"]},
        "IsTest": {"Fn::Not": [{"Condition": "IsProd"}]},
        "Either": {"Fn::Or": [{"Condition": "IsTest"}, {"Fn::Equals": [{"Ref": "Missing"}, "x"]}]},
        "Both": {"Fn::And": [{"Condition": "IsProd"}, {"Fn::Equals": [{"Ref": "Missing"}, "x"]}]},
        "Open": {"Fn::Equals": [{"Ref": "Missing"}, "x"]},
        "Loop": {"Fn::Not": [{"Condition": "Loop"}]},
    },
    "Resources": {"Vpc": {"Type": "AWS::EC2::VPC"}, "Role": {"Type": "AWS::IAM::Role"}},
}


def resolver(**parameters: str) -> Resolver:
    return Resolver(TEMPLATE, PLACE, parameters)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"Ref": "Stage"}, "test"),
        ({"Ref": "Size"}, "3"),
        ({"Ref": "Ports"}, ["22", "80"]),
        ({"Ref": "AWS::Region"}, "eu-west-1"),
        ({"Ref": "AWS::NoValue"}, NO_VALUE),
        ({"a": {"Ref": "AWS::NoValue"}, "b": [1, {"Ref": "AWS::NoValue"}]}, {"b": [1]}),
        ({"Ref": "Vpc"}, "<Vpc>"),
        ({"Fn::GetAtt": ["Role", "Arn"]}, "<Role.Arn>"),
        ({"Fn::GetAtt": "Role.RoleId"}, "<Role.RoleId>"),
        ({"Fn::Sub": "${AWS::StackName}-${Stage}-${!Stage}-${Vpc}-${Role.Arn}"}, "web-test-${Stage}-<Vpc>-<Role.Arn>"),
        ({"Fn::Sub": ["${x}/${AWS::AccountId}", {"x": {"Ref": "Stage"}}]}, "test/222222222222"),
        ({"Fn::Join": ["-", ["a", {"Ref": "Stage"}, 1, True]]}, "a-test-1-true"),
        ({"Fn::Split": [",", "a,b"]}, ["a", "b"]),
        ({"Fn::Select": ["1", {"Fn::Split": [",", "a,b"]}]}, "b"),
        ({"Fn::If": ["IsProd", "p", "t"]}, "t"),
        ({"Fn::If": ["IsTest", {"Ref": "AWS::NoValue"}, "t"]}, NO_VALUE),
        ({"Fn::If": ["Either", "e", "n"]}, "e"),  # one true part decides, whatever else is unknown
        ({"Fn::If": ["Both", "b", "n"]}, "n"),
        ({"Fn::FindInMap": ["Sizes", {"Ref": "Stage"}, "n"]}, "1"),
        ({"Fn::Base64": "x"}, "eA=="),
        ({"Condition": {"StringEquals": {"a": "b"}}}, {"Condition": {"StringEquals": {"a": "b"}}}),
        ({"Ref": 1, "other": 2}, {"Ref": 1, "other": 2}),
    ],
)
def test_what_the_template_tells(value: Any, expected: Any) -> None:
    assert resolver().resolve(value) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"Ref": "Missing"}, "the parameter Missing has no value"),
        ({"Ref": "Secret"}, "the parameter Secret is secret"),
        ({"Ref": "Vault"}, "the parameter Vault is secret"),
        ({"Ref": "Ami"}, "read from Parameter Store"),
        ({"Ref": "Nobody"}, "refers to Nobody, which it does not have"),
        ({"Ref": ["x"]}, "refers to something"),
        ({"Ref": "AWS::StackId"}, "only once there is one"),
        ({"Fn::GetAtt": ["Vpc", "CidrBlock"]}, "Vpc.CidrBlock is known only once Vpc is made"),
        ({"Fn::GetAtt": ["Nobody", "Arn"]}, "refers to Nobody"),
        ({"Fn::GetAtt": 5}, "Fn::GetAtt has no form"),
        ({"Fn::Sub": "${Missing}"}, "Missing has no value"),
        ({"Fn::Sub": "{{resolve:ssm:/x}}-${Stage}"}, "Secrets Manager or Parameter Store"),
        ({"Fn::Join": ["-", [{"Ref": "Ports"}]]}, "a list or an object stands where a text belongs"),
        ({"Fn::If": ["Open", 1, 2]}, "Missing has no value"),
        ({"Fn::If": ["Loop", 1, 2]}, "refers to itself"),
        ({"Fn::If": ["Nobody", 1, 2]}, "refers to Nobody"),
        ({"Fn::FindInMap": ["Sizes", "dev", "n"]}, "no such entry"),
        ({"Fn::Select": ["7", ["a"]]}, "Fn::Select has no form"),
        ({"Fn::Select": ["7" * 5_000, ["a"]]}, "Fn::Select has no form"),
        ({"Fn::Join": ["", ["x" * 600_000] * 2]}, "gets too long"),
        ({"Fn::Join": ["x" * 600_000, ["", "", ""]]}, "gets too long"),
        ({"Fn::ImportValue": "x"}, "Fn::ImportValue is not known before"),
        ({"Fn::GetAZs": ""}, "Fn::GetAZs is not known before"),
        ("a{{resolve:secretsmanager:x}}", "Secrets Manager or Parameter Store"),
    ],
)
def test_what_it_does_not_tell_is_unknown_with_the_reason(value: Any, reason: str) -> None:
    found = resolver().resolve(value)

    assert isinstance(found, Unknown)
    assert reason in found.reason


def test_parameters_given_take_the_place_of_defaults() -> None:
    assert resolver(Stage="prod", Missing="x").resolve({"Fn::If": ["Both", 1, 2]}) == 1


def test_depth_has_an_end() -> None:
    value: Any = "x"
    for _ in range(500):
        value = {"Fn::Join": ["", [value]]}

    assert isinstance(resolver().resolve(value), Unknown)


def test_work_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolving, "_MAX_STEPS", 1_000)
    value: Any = "x"
    for _ in range(4):  # each level ten times as much as the one in it
        value = {"Fn::Sub": ["${a}" * 10, {"a": value}]}

    found = resolver().resolve(value)

    assert isinstance(found, Unknown)
    assert "takes too long" in found.reason


_FUNCTIONS = ["Ref", "Condition", *Resolver._functions, "Fn::Nonsense"]
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["Stage", "Vpc", "IsProd", "${Stage}", "Loop", ""]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*_FUNCTIONS, "a"]), inner, min_size=1, max_size=2)
    ),
    max_leaves=12,
)


@settings(max_examples=300)
@given(_values)
def test_no_expression_makes_it_fail(value: Any) -> None:
    resolver().resolve(value)
