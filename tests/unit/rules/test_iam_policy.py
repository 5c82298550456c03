"""IAM policy documents, as AWS reads them."""

import json
import time
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coreo_shared.rules.iam_policy import (
    MAX_NAME,
    allows_everything,
    allows_whole_service,
    denies_plain_http,
    is_public,
    parse_policy,
    pattern_covers,
)
from coreo_shared.rules.values import Unknown


def _statements(*statements: Any) -> Any:
    parsed = parse_policy({"Version": "2012-10-17", "Statement": list(statements)})
    assert not isinstance(parsed, Unknown), parsed
    return parsed


def _allow(**more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::b/*"} | more


def _deny(**more: Any) -> dict[str, Any]:
    return {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*"} | more


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ("", "not JSON"),
        ("[" * 60_000, "not JSON"),
        ('"text"', "not an object"),
        (5, "not an object"),
        ([], "not an object"),
        ({}, "no Statement"),
        ({"Statement": "x"}, "no Statement"),
        ({"Statement": ["x"]}, "a Statement is not an object"),
        ({"Statement": [{"Effect": "allow", "Action": "*"}]}, "an Effect is neither Allow nor Deny"),
        ({"Statement": [{"Effect": "Allow"}]}, "neither Action nor NotAction"),
        ({"Statement": [{"Effect": "Allow", "Action": "a:b", "NotAction": "a:c"}]}, "both Action and NotAction"),
        ({"Statement": [{"Effect": "Allow", "Action": 5}]}, "Action is neither text nor a list of texts"),
        ({"Statement": [{"Effect": "Allow", "Action": [["a"]]}]}, "Action is neither text nor a list of texts"),
        ({"Statement": [_allow(Principal="everyone")]}, "a Principal is neither * nor an object"),
        ({"Statement": [_allow(Principal={"AWS": None})]}, "Principal is neither text nor a list of texts"),
        ({"Statement": [_allow(NotPrincipal="*")]}, "both Principal and NotPrincipal"),
        ({"Statement": [_allow(Condition="x")]}, "a Condition is not an object of objects"),
        ({"Statement": [_allow(Condition={"Bool": "x"})]}, "a Condition is not an object of objects"),
        (
            {"Statement": [_allow(Condition={"Bool": {"x": {}}})]},
            "a Condition value is neither text, number nor boolean",
        ),
        ({"Statement": [_allow(Action="a" * (MAX_NAME + 1))]}, "longer than 2048 characters"),
        ("x" * 70_000, "longer than 65536 characters"),
    ],
)
def test_what_is_no_policy_is_unknown_with_the_reason(document: Any, reason: str) -> None:
    parsed = parse_policy(document)

    assert isinstance(parsed, Unknown)
    assert reason in parsed.reason


def test_text_object_and_percent_encoding_are_the_same_policy() -> None:
    document = {"Version": "2012-10-17", "Statement": _allow()}

    assert parse_policy(json.dumps(document)) == parse_policy(document) == parse_policy(quote(json.dumps(document)))


@pytest.mark.parametrize(
    "condition",
    [
        {"StringEquals": {"aws:PrincipalOrgID": "o-1"}},
        {"StringEquals": {"AWS:principalorgid": ["o-1", "o-2"]}},
        {"StringLike": {"aws:PrincipalAccount": "111122223333"}},
        {"ForAnyValue:StringEquals": {"aws:PrincipalOrgPaths": ["o-1/r-1/*"]}},
        {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::111122223333:role/*"}},
        {"ArnEquals": {"aws:SourceArn": "arn:aws:s3:::bucket"}},
        {"StringLike": {"aws:userid": "AROAEXAMPLE:*"}},
        {"IpAddress": {"aws:SourceIp": "198.35.26.0/24"}},
        {"StringEquals": {"aws:SourceVpce": "vpce-1"}, "Bool": {"aws:SecureTransport": "true"}},
    ],
)
def test_condition_that_names_its_callers_is_not_public(condition: dict[str, Any]) -> None:
    assert not is_public(_statements(_allow(Condition=condition)))


@pytest.mark.parametrize(
    "condition",
    [
        {"StringLike": {"aws:PrincipalOrgID": "*"}},
        {"StringEquals": {"aws:PrincipalOrgID": "${aws:ResourceOrgID}"}},
        {"StringEquals": {"aws:PrincipalOrgID": ["o-1", "*"]}},
        {"StringLike": {"aws:PrincipalAccount": "1111????3333"}},
        {"StringNotEquals": {"aws:PrincipalOrgID": "o-1"}},
        {"ForAllValues:StringEquals": {"aws:PrincipalOrgID": "o-1"}},
        {"StringEqualsIfExists": {"aws:PrincipalOrgID": "o-1"}},
        {"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:role/admin"}},
        {"ArnLike": {"aws:SourceArn": "arn:aws:s3:::*"}},
        {"ArnLike": {"aws:PrincipalArn": "*"}},
        {"StringEquals": {"aws:PrincipalArn": ""}},
        {"StringLike": {"aws:userid": "*:session"}},
        {"IpAddress": {"aws:SourceIp": ["0.0.0.0/1", "128.0.0.0/1"]}},
        {"IpAddress": {"aws:SourceIp": "somewhere"}},
        {"NotIpAddress": {"aws:SourceIp": "198.35.26.0/24"}},
        {"StringEquals": {"sts:ExternalId": "secret"}},
        {"StringLike": {"aws:Referer": "https://example.com/*"}},
        {"Bool": {"aws:SecureTransport": "true"}},
        {"Null": {"aws:PrincipalOrgID": "false"}},
        {"SomethingNew": {"aws:PrincipalOrgID": "o-1"}},
    ],
)
def test_condition_that_strangers_meet_is_public(condition: dict[str, Any]) -> None:
    assert is_public(_statements(_allow(Condition=condition)))


@pytest.mark.parametrize(
    "principal",
    ["*", {"AWS": "*"}, {"AWS": ["111122223333", "*"]}, {"Federated": "*"}, {"AWS": "arn:aws:iam::*:root"}],
)
def test_everyone_as_principal(principal: Any) -> None:
    assert is_public(_statements(_allow(Principal=principal)))


@pytest.mark.parametrize(
    "deny",
    [
        _deny(),
        _deny(Action="*"),
        _deny(Action=["s3:Get*"], Resource=["arn:aws:s3:::b/*"]),
        _deny(Condition={"StringNotEquals": {"aws:PrincipalOrgID": "o-1"}}),
        _deny(Condition={"StringNotEqualsIfExists": {"aws:PrincipalAccount": "111122223333"}}),
        _deny(Condition={"NotIpAddress": {"aws:SourceIp": "198.35.26.0/24"}}),
        _deny(Condition={"StringNotLike": {"aws:userid": ["AROAEXAMPLE:*", "111122223333"]}}),
        {
            "Effect": "Deny",
            "NotPrincipal": {"AWS": "arn:aws:iam::111122223333:root"},
            "Action": "s3:*",
            "Resource": "*",
        },
    ],
)
def test_deny_of_all_strangers_closes_a_public_allow(deny: dict[str, Any]) -> None:
    assert not is_public(_statements(_allow(), deny))


@pytest.mark.parametrize(
    "deny",
    [
        _deny(Principal={"AWS": "arn:aws:iam::111122223333:root"}),
        _deny(Action="s3:PutObject"),
        _deny(Resource="arn:aws:s3:::b/secret/*"),
        _deny(Resource="arn:aws:s3:::b/?"),
        _deny(Condition={"Bool": {"aws:SecureTransport": "false"}}),
        _deny(Condition={"StringNotEquals": {"aws:PrincipalOrgID": "*"}}),
        _deny(Condition={"StringNotEquals": {"aws:PrincipalOrgID": "o-1", "aws:SourceVpce": "vpce-1"}}),
        _deny(Condition={"NotIpAddress": {"aws:SourceIp": "0.0.0.0/0"}}),
        {"Effect": "Deny", "Principal": "*", "NotAction": "s3:PutObject", "Resource": "*"},
        {"Effect": "Deny", "Principal": "*", "Action": "*", "NotResource": "arn:aws:s3:::x"},
        {
            "Effect": "Deny",
            "NotPrincipal": {"AWS": "arn:aws:iam::111122223333:root"},
            "Action": "s3:*",
            "Resource": "*",
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        },
        {"Effect": "Deny", "NotPrincipal": "*", "Action": "s3:*", "Resource": "*"},
    ],
)
def test_deny_that_leaves_strangers_a_way_does_not(deny: dict[str, Any]) -> None:
    assert is_public(_statements(_allow(), deny))


def test_one_deny_for_each_allow_is_needed() -> None:
    other = _allow(Action="s3:ListBucket", Resource="arn:aws:s3:::b")

    assert is_public(_statements(_allow(), other, _deny(Action="s3:GetObject")))
    assert not is_public(_statements(_allow(), other, _deny()))


@pytest.mark.parametrize("action", ["*", "*:*", "**", ["s3:Get*", "*"]])
@pytest.mark.parametrize("resource", ["*", ["x", "*"], "arn:*", "arn:*:*"])
def test_everything_on_everything(action: Any, resource: Any) -> None:
    statements = _statements({"Effect": "Allow", "Action": action, "Resource": resource})

    assert allows_everything(statements)
    assert allows_whole_service(statements)


@pytest.mark.parametrize(
    "statement",
    [
        {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::b"},
        {"Effect": "Allow", "Action": "s3:Get*", "Resource": "*"},
        {"Effect": "Deny", "Action": "*", "Resource": "*"},
        {"Effect": "Allow", "NotAction": "iam:*", "Resource": "*"},
        {"Effect": "Allow", "Action": "*", "NotResource": "arn:aws:s3:::b"},
        {"Effect": "Allow", "Action": "*"},
    ],
)
def test_less_than_everything(statement: dict[str, Any]) -> None:
    assert not allows_everything(_statements(statement))
    assert not allows_whole_service(_statements(statement))


def test_whole_service_is_not_everything() -> None:
    statements = _statements({"Effect": "Allow", "Action": ["ec2:Describe*", "s3:*"], "Resource": "*"})

    assert allows_whole_service(statements)
    assert not allows_everything(statements)


def test_plain_http_denials_of_several_statements_add_up() -> None:
    condition = {"Condition": {"Bool": {"aws:SecureTransport": "false"}}}
    bucket, objects = _deny(Resource="arn:aws:s3:::b", **condition), _deny(Resource="arn:aws:s3:::b/*", **condition)

    assert denies_plain_http(_statements(bucket, objects), "b")
    assert denies_plain_http(_statements(_deny(Resource="arn:aws:s3:::b*", **condition)), "b")
    assert denies_plain_http(
        _statements(_deny(Resource=["arn:aws-cn:s3:::b", "arn:aws-cn:s3:::b/*"], **condition)), "b"
    )
    assert not denies_plain_http(_statements(bucket), "b")
    assert not denies_plain_http(_statements(objects), "b")
    assert not denies_plain_http(_statements(bucket, objects), "other")
    assert not denies_plain_http(_statements(_deny(Resource="*")), "b")


_LETTERS = st.text(st.sampled_from("ab"), max_size=6)
_PATTERNS = st.text(st.sampled_from("ab*?"), max_size=6)


@given(_PATTERNS, _PATTERNS, _LETTERS)
def test_covering_pattern_matches_all_that_the_covered_one_does(wide: str, narrow: str, text: str) -> None:
    if pattern_covers(wide, narrow) and pattern_covers(narrow, text):
        assert pattern_covers(wide, text)


@pytest.mark.parametrize(
    ("pattern", "text", "covers"),
    [
        ("", "", True),
        ("*", "", True),
        ("s3:get*", "s3:getobject", True),
        ("s3:get*", "s3:get*", True),
        ("s3:get?", "s3:get*", False),
        ("s3:getobject", "s3:get*", False),
        ("a?c", "abc", True),
        ("a*c", "abcd", False),
        ("*a*b*c", "xaybzc", True),
    ],
)
def test_patterns(pattern: str, text: str, covers: bool) -> None:  # noqa: FBT001  a column of the table
    assert pattern_covers(pattern, text) is covers


def test_patterns_full_of_stars_end_within_a_second() -> None:
    start = time.monotonic()
    assert not pattern_covers("*a" * 1_000 + "b", "a" * 2_000)
    assert time.monotonic() - start < 1
