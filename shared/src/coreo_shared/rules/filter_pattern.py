"""CloudWatch Logs filter patterns on JSON events, evaluated: whether a metric filter would count an event.

A pattern's meaning is what it matches, not how it is written, so rules ask it about sample events of CloudTrail.
https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/FilterAndPatternSyntax.html
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any

Event = Mapping[str, Any]
Test = Callable[[Event], bool]
MAX_PATTERN = 4_096  # CloudWatch itself takes 1,024
_MAX_DEPTH = 40

_TOKEN = re.compile(
    r"""\s*(?:
    (?P<punctuation>\(|\)|&&|\|\|)
    |(?P<selector>\$\.[A-Za-z0-9_.\-:]*(?:\[\d+\][A-Za-z0-9_.\-:]*)*)
    |(?P<operator>!=|>=|<=|=|>|<)
    |"(?P<quoted>[^"]*)"
    |%(?P<regex>[^%]*)%
    |(?P<word>[^\s()&|=<>!"]+)
    )""",
    re.VERBOSE,
)
_STEP = re.compile(r"[^.\[\]]+|\[\d+\]")


class PatternError(ValueError):
    """A pattern in a form that is not understood."""


@lru_cache(maxsize=1_024)
def parse_pattern(text: str) -> Test:
    """The pattern as a test of events. A pattern that is not for JSON matches no JSON event of ours. PatternError."""
    stripped = text.strip()
    if len(stripped) > MAX_PATTERN:
        raise PatternError
    if not stripped:
        return lambda _event: True  # the empty pattern matches everything
    if not (stripped.startswith("{") and stripped.endswith("}")):
        return lambda _event: False
    return _Parser(stripped[1:-1]).whole()


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0

    def whole(self) -> Test:
        test = self._either(0)
        if self._at != len(self._tokens):
            raise PatternError
        return test

    def _next(self) -> tuple[str, str]:
        if self._at >= len(self._tokens):
            raise PatternError
        self._at += 1
        return self._tokens[self._at - 1]

    def _take(self, value: str) -> bool:
        here = self._at < len(self._tokens) and self._tokens[self._at] == ("punctuation", value)
        self._at += here
        return here

    def _word(self, value: str) -> bool:
        here = self._at < len(self._tokens) and self._tokens[self._at][0] == "word"
        here = here and self._tokens[self._at][1].upper() == value
        self._at += here
        return here

    def _either(self, depth: int) -> Test:
        tests = [self._both(depth)]
        while self._take("||"):
            tests.append(self._both(depth))
        return tests[0] if len(tests) == 1 else lambda event: any(test(event) for test in tests)

    def _both(self, depth: int) -> Test:
        tests = [self._term(depth)]
        while self._take("&&"):
            tests.append(self._term(depth))
        return tests[0] if len(tests) == 1 else lambda event: all(test(event) for test in tests)

    def _term(self, depth: int) -> Test:
        if depth > _MAX_DEPTH:
            raise PatternError
        if self._take("("):
            test = self._either(depth + 1)
            if not self._take(")"):
                raise PatternError
            return test
        kind, selector = self._next()
        if kind != "selector":
            raise PatternError
        steps = tuple(_STEP.findall(selector[2:]))
        if self._word("NOT"):
            if not self._word("EXISTS"):
                raise PatternError
            return lambda event: _read(event, steps) is _MISSING
        if self._word("EXISTS"):
            return lambda event: _read(event, steps) is not _MISSING
        if self._word("IS"):
            return self._is(steps)
        return self._comparison(steps)

    def _is(self, steps: tuple[str, ...]) -> Test:
        for word, value in (("NULL", None), ("TRUE", True), ("FALSE", False)):
            if self._word(word):
                return lambda event: _read(event, steps) is value
        raise PatternError

    def _comparison(self, steps: tuple[str, ...]) -> Test:
        kind, operator = self._next()
        if kind != "operator":
            raise PatternError
        kind, wanted = self._next()
        if operator in {"=", "!="} and kind in {"word", "quoted", "selector"}:
            matches = _wildcards(wanted).fullmatch
            equal = operator == "="
            # Of a field that is not there nothing holds, not even that it differs.
            return lambda event: (
                (value := _read(event, steps)) is not _MISSING and (matches(_text(value)) is not None) is equal
            )
        raise PatternError  # numbers in order and regular expressions have no place in CloudTrail's events


def _wildcards(wanted: str) -> re.Pattern[str]:
    """`*` is any text. Each part is looked for once, at its first place: with many stars, going back takes for ever."""
    first, *rest = (re.escape(part) for part in wanted.split("*"))
    if not rest:
        return re.compile(first)
    between = "".join(f"(?>.*?{part})" for part in rest[:-1])
    return re.compile(f"{first}{between}.*{rest[-1]}", re.DOTALL)


_MISSING = object()


def _read(event: Event, steps: tuple[str, ...]) -> Any:
    value: Any = event
    for step in steps:
        if step.startswith("["):
            index = int(step[1:-1])
            if not isinstance(value, list) or index >= len(value):
                return _MISSING
            value = value[index]
        elif isinstance(value, Mapping) and step in value:
            value = value[step]
        else:
            return _MISSING
    return value


def _text(value: Any) -> str:
    """How JSON writes the value: true, false, null, and the rest as it is."""
    return str(value) if value is not None and not isinstance(value, bool) else json.dumps(value)


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    text = text.rstrip()
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None or found.lastgroup is None:
            raise PatternError
        yield found.lastgroup, found[found.lastgroup]
        at = found.end()


def _calls(source: str, *names: str) -> tuple[Event, ...]:
    return tuple(
        {
            "eventSource": f"{source}.amazonaws.com",
            "eventName": name,
            "eventType": "AwsApiCall",
            "userIdentity": {"type": "AssumedRole"},
            "sourceIPAddress": "192.0.2.1",
        }
        for name in names
    )


def _sign_in(**more: Any) -> Event:
    return {
        "eventSource": "signin.amazonaws.com",
        "eventName": "ConsoleLogin",
        "eventType": "AwsConsoleSignIn",
        "userIdentity": {"type": "IAMUser"},
        "sourceIPAddress": "192.0.2.1",
        **more,
    }


# What must be noticed, as CloudTrail writes it: a filter that raises the alarm must match all of a matter's events.
SAMPLES: dict[str, tuple[Event, ...]] = {
    "unauthorized-calls": tuple(
        {**_calls("ec2", "DescribeInstances")[0], "errorCode": code}
        for code in ("Client.UnauthorizedOperation", "AccessDenied", "AccessDeniedException")
    ),
    "sign-in-without-mfa": (
        _sign_in(additionalEventData={"MFAUsed": "No"}, responseElements={"ConsoleLogin": "Success"}),
    ),
    "root-use": (
        {**_calls("iam", "CreateUser")[0], "userIdentity": {"type": "Root"}},
        _sign_in(userIdentity={"type": "Root"}, responseElements={"ConsoleLogin": "Success"}),
    ),
    "iam-policy-changes": _calls(
        "iam",
        *("DeleteGroupPolicy", "DeleteRolePolicy", "DeleteUserPolicy", "PutGroupPolicy", "PutRolePolicy"),
        *("PutUserPolicy", "CreatePolicy", "DeletePolicy", "CreatePolicyVersion", "DeletePolicyVersion"),
        *("AttachRolePolicy", "DetachRolePolicy", "AttachUserPolicy", "DetachUserPolicy"),
        *("AttachGroupPolicy", "DetachGroupPolicy"),
    ),
    "cloudtrail-changes": _calls(
        "cloudtrail", "CreateTrail", "UpdateTrail", "DeleteTrail", "StartLogging", "StopLogging"
    ),
    "sign-in-failures": (_sign_in(errorMessage="Failed authentication", responseElements={"ConsoleLogin": "Failure"}),),
    "key-deletion": _calls("kms", "DisableKey", "ScheduleKeyDeletion"),
    "bucket-policy-changes": _calls(
        "s3",
        *("PutBucketAcl", "PutBucketPolicy", "PutBucketCors", "PutBucketLifecycle", "PutBucketReplication"),
        *("DeleteBucketPolicy", "DeleteBucketCors", "DeleteBucketLifecycle", "DeleteBucketReplication"),
    ),
    "config-changes": _calls(
        "config", "StopConfigurationRecorder", "DeleteDeliveryChannel", "PutDeliveryChannel", "PutConfigurationRecorder"
    ),
    "security-group-changes": _calls(
        "ec2",
        *("AuthorizeSecurityGroupIngress", "AuthorizeSecurityGroupEgress", "RevokeSecurityGroupIngress"),
        *("RevokeSecurityGroupEgress", "CreateSecurityGroup", "DeleteSecurityGroup"),
    ),
    "network-acl-changes": _calls(
        "ec2",
        *("CreateNetworkAcl", "CreateNetworkAclEntry", "DeleteNetworkAcl", "DeleteNetworkAclEntry"),
        *("ReplaceNetworkAclEntry", "ReplaceNetworkAclAssociation"),
    ),
    "gateway-changes": _calls(
        "ec2",
        *("CreateCustomerGateway", "DeleteCustomerGateway", "AttachInternetGateway", "CreateInternetGateway"),
        *("DeleteInternetGateway", "DetachInternetGateway"),
    ),
    "route-changes": _calls(
        "ec2",
        *("CreateRoute", "CreateRouteTable", "ReplaceRoute", "ReplaceRouteTableAssociation"),
        *("DeleteRouteTable", "DeleteRoute", "DisassociateRouteTable"),
    ),
    "vpc-changes": _calls(
        "ec2",
        *("CreateVpc", "DeleteVpc", "ModifyVpcAttribute", "AcceptVpcPeeringConnection", "CreateVpcPeeringConnection"),
        *("DeleteVpcPeeringConnection", "RejectVpcPeeringConnection"),
    ),
    "organization-changes": _calls(
        "organizations",
        *("AcceptHandshake", "AttachPolicy", "CreateAccount", "CreateOrganizationalUnit", "CreatePolicy"),
        *("DeclineHandshake", "DeleteOrganization", "DeleteOrganizationalUnit", "DeletePolicy", "DetachPolicy"),
        *("DisablePolicyType", "EnablePolicyType", "InviteAccountToOrganization", "LeaveOrganization"),
        *("MoveAccount", "RemoveAccountFromOrganization", "UpdatePolicy", "UpdateOrganizationalUnit"),
    ),
}


def catches(pattern: str, matter: str) -> bool:
    """Whether the pattern matches every sample event of the matter; PatternError when it is not understood."""
    test = parse_pattern(pattern)
    return all(test(event) for event in SAMPLES[matter])
