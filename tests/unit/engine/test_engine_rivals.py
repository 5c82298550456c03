"""What other audit engines are known to judge wrongly or to ask too often: the whole engine gets each of them right."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from coreo_shared.catalogue import load_catalogue
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.rules.needs import needs_of
from tests.support.engine import ACCOUNT, Answer, PlainAws, RememberingSink, audit, refuse, request
from tests.support.shaped_aws import shaped_answers

CATALOGUE = load_catalogue()
FAIL, PASS, NOT_EVALUATED = FindingStatus.FAIL, FindingStatus.PASS, FindingStatus.NOT_EVALUATED
HERE = "eu-west-1"
SSH = "ec2-security-group-open-ssh"
ANYWHERE = {"IpRanges": [{"CidrIp": "0.0.0.0/0"}]}


def rules_of(resource: str) -> list[str]:
    return [rule.id for rule in CATALOGUE.rules.values() if rule.resource == resource]


def tcp(first: int, last: int) -> dict[str, Any]:
    return {"IpProtocol": "tcp", "FromPort": first, "ToPort": last}


GROUPS: dict[str, tuple[FindingStatus, list[dict[str, Any]]]] = {
    "exact port": (FAIL, [tcp(22, 22) | ANYWHERE]),
    "range": (FAIL, [tcp(0, 1024) | ANYWHERE]),
    "any protocol": (FAIL, [{"IpProtocol": "-1"} | ANYWHERE]),
    "protocol 6": (FAIL, [tcp(22, 22) | {"IpProtocol": "6"} | ANYWHERE]),
    "IPv6": (FAIL, [tcp(22, 22) | {"Ipv6Ranges": [{"CidrIpv6": "::/0"}]}]),
    "IPv6 in full": (FAIL, [tcp(22, 22) | {"Ipv6Ranges": [{"CidrIpv6": "0:0:0:0:0:0:0:0/0"}]}]),
    "UDP": (PASS, [tcp(22, 22) | {"IpProtocol": "udp"} | ANYWHERE]),
    "two halves": (FAIL, [tcp(22, 22) | {"IpRanges": [{"CidrIp": "0.0.0.0/1"}, {"CidrIp": "128.0.0.0/1"}]}]),
    "two halves in two rules": (
        FAIL,
        [
            tcp(22, 22) | {"IpRanges": [{"CidrIp": "0.0.0.0/1"}]},
            tcp(1, 100) | {"IpRanges": [{"CidrIp": "128.0.0.0/1"}]},
        ],
    ),
    "by prefix list": (FAIL, [tcp(22, 22) | {"PrefixListIds": [{"PrefixListId": "pl-1"}]}]),
    "private": (PASS, [tcp(22, 22) | {"IpRanges": [{"CidrIp": "10.0.0.0/8"}]}]),
    "another port": (PASS, [tcp(443, 443) | ANYWHERE]),
}


def groups(**found: list[dict[str, Any]]) -> dict[str, Answer]:
    listed = [
        {"GroupId": name, "GroupName": name, "VpcId": "vpc-1", "IpPermissions": permissions}
        for name, permissions in found.items()
    ]
    return {
        "ec2.describe_security_groups": lambda _r, _p: {"SecurityGroups": listed},
        "ec2.describe_managed_prefix_lists": lambda _r, _p: {
            "PrefixLists": [{"PrefixListId": "pl-1", "OwnerId": ACCOUNT}]
        },
        "ec2.get_managed_prefix_list_entries": lambda _r, _p: {
            "Entries": [{"Cidr": "0.0.0.0/1"}, {"Cidr": "128.0.0.0/1"}]
        },
    }


@pytest.mark.parametrize("company", [False, True])
async def test_every_cell_of_the_table_of_groups_open_on_22_is_right(*, company: bool) -> None:
    """Also where the other rules run: one engine passes a group open on all ports, since another check failed it."""
    found = groups(**{name: permissions for name, (_, permissions) in GROUPS.items()})
    rules = rules_of("aws.ec2.security_group") if company else [SSH]
    sink = await audit(request(*rules), PlainAws(shaped_answers(CATALOGUE, needs_of(CATALOGUE, rules).types) | found))
    assert {f.resource_id: f.status for f in sink.of(SSH)} == {name: status for name, (status, _) in GROUPS.items()}


async def test_a_group_that_nothing_uses_is_judged() -> None:
    aws = PlainAws(groups(unused=[tcp(22, 22) | ANYWHERE]))
    assert [finding.status for finding in (await audit(request(SSH), aws)).findings] == [FAIL]
    assert not aws.asked("ec2.describe_network_interfaces")


def buckets(policy: str | None = None, *, count: int = 1, answers: Mapping[str, Answer] | None = None) -> PlainAws:
    rules = rules_of("aws.s3.bucket")
    found = shaped_answers(CATALOGUE, needs_of(CATALOGUE, rules).types)
    listed = [{"Name": f"b{number}", "BucketRegion": HERE} for number in range(count)]
    no_policy = refuse("NoSuchBucketPolicy", 404)
    given: dict[str, Answer] = {
        "list_buckets": lambda _r, _p: {"Buckets": listed},
        "get_bucket_policy": no_policy if policy is None else lambda _r, _p: {"Policy": policy},
        "get_public_access_block": refuse("NoSuchPublicAccessBlockConfiguration", 404),
    }
    return PlainAws(found | {f"s3.{name}": answer for name, answer in (given | dict(answers or {})).items()})


def statement(**more: Any) -> str:
    of: dict[str, Any] = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": of | more})


def deny(condition: Any, **more: Any) -> str:
    return statement(Effect="Deny", Action="s3:*", Condition={"Bool": {"aws:SecureTransport": condition}}, **more)


@pytest.mark.parametrize(
    ("rule", "policy", "status"),
    [
        ("s3-bucket-policy-public", statement(), FAIL),  # `Statement` is an object, which is legal
        ("s3-bucket-policy-public", statement(Action=["s3:GetObject"], Principal={"AWS": ["*"]}), FAIL),
        ("s3-bucket-plain-http", deny(["false"]), PASS),
        ("s3-bucket-plain-http", deny("false"), PASS),
        ("s3-bucket-plain-http", deny(False), PASS),  # noqa: FBT003  a policy's value
        ("s3-bucket-plain-http", deny("true"), FAIL),
        ("s3-bucket-plain-http", deny("false", Principal={"AWS": f"arn:aws:iam::{ACCOUNT}:user/one"}), FAIL),
        ("s3-bucket-plain-http", deny("false", Resource="arn:aws:s3:::b0/prefix/*"), FAIL),
        ("s3-bucket-plain-http", None, FAIL),
    ],
)
async def test_bucket_policies_are_read_as_aws_reads_them(rule: str, policy: str | None, status: FindingStatus) -> None:
    sink = await audit(request(*rules_of("aws.s3.bucket")), buckets(policy))
    assert [(finding.status, finding.reason) for finding in sink.of(rule)] == [(status, None)]


@pytest.mark.parametrize("operation", ["get_bucket_policy", "get_bucket_versioning", "get_bucket_logging"])
async def test_denied_reads_of_a_bucket_are_neither_bad_nor_forgotten(operation: str) -> None:
    rules = rules_of("aws.s3.bucket")
    sink = await audit(request(*rules), buckets(answers={operation: refuse("AccessDenied", 403)}))
    enrichments = CATALOGUE.resource_types["aws.s3.bucket"].enrichments.values()
    [action] = {action for each in enrichments if each.call.operation == operation for action in each.call.actions}
    reading = {rule for rule in rules if action in needs_of(CATALOGUE, [rule]).actions}
    assert reading
    assert {finding.rule_id for finding in sink.findings} == set(rules)
    assert {f.rule_id for f in sink.findings if f.status == NOT_EVALUATED} == reading
    assert {tuple(f.missing_actions) for f in sink.findings if f.status == NOT_EVALUATED} == {(action,)}


@pytest.mark.parametrize(("code", "status"), [("AccessDenied", 403), ("SlowDown", 503)])
async def test_an_account_whose_buckets_cannot_be_listed_has_findings(code: str, status: int) -> None:
    rules = rules_of("aws.s3.bucket")
    sink = await audit(
        request(*rules, SSH), PlainAws(buckets(answers={"list_buckets": refuse(code, status)}).answers | groups())
    )
    assert {(finding.rule_id, finding.status) for finding in sink.findings} == {(rule, NOT_EVALUATED) for rule in rules}


async def test_a_refusal_leaves_later_rules_their_facts() -> None:
    """One engine skips all policies after the first refusal."""
    aws = PlainAws(
        buckets(answers={"get_bucket_acl": refuse("AccessDenied", 403)}).answers | groups(open=[tcp(22, 22) | ANYWHERE])
    )
    sink = await audit(request(*rules_of("aws.s3.bucket"), SSH), aws)
    assert [finding.status for finding in sink.of(SSH)] == [FAIL]
    assert [finding.status for finding in sink.of("s3-bucket-plain-http")] == [FAIL]


async def test_buckets_are_listed_and_judged_once_however_many_regions_there_are() -> None:
    aws = buckets(count=20)
    sink = await audit(request("s3-bucket-versioning", regions=(HERE, "eu-west-2", "us-east-1", "us-west-2")), aws)
    assert len(sink.findings) == 20
    assert Counter(call.operation for call in aws.calls) == {"list_buckets": 1, "get_bucket_versioning": 20}


FIVE = (SSH, "s3-bucket-policy-public", "s3-bucket-plain-http", "s3-bucket-versioning", "s3-bucket-mfa-delete")


async def test_five_rules_on_fifty_groups_and_fifty_buckets_take_no_call_too_many() -> None:
    """Others ask 603 to 1,606 times; a listing of each, and three facts of each bucket, are needed. No group has a
    prefix list, so that nobody asks what these hold."""
    found = groups(**{f"sg-{number}": [tcp(22, 22) | ANYWHERE] for number in range(50)})
    aws = PlainAws(buckets(statement(), count=50).answers | found)
    sink: RememberingSink = await audit(request(*FIVE), aws)
    assert len(sink.findings) == 5 * 50
    facts = {"get_bucket_policy": 50, "get_public_access_block": 50, "get_bucket_versioning": 50}
    assert Counter(call.operation for call in aws.calls) == facts | {
        "list_buckets": 1,
        "describe_security_groups": 1,
    }


def iam_policy(document: Mapping[str, Any]) -> dict[str, Answer]:
    version = {"VersionId": "v1", "IsDefaultVersion": True, "Document": document}
    policy = {
        "PolicyName": "p",
        "Arn": f"arn:aws:iam::{ACCOUNT}:policy/p",
        "DefaultVersionId": "v1",
        "AttachmentCount": 1,
        "PolicyVersionList": [version],
    }
    return {
        "iam.get_account_authorization_details": lambda _r, _p: {"Policies": [policy]},
        "iam.list_policies": lambda _r, _p: {"Policies": [policy]},
        "iam.get_policy_version": lambda _r, _p: {"PolicyVersion": version},
    }


@pytest.mark.parametrize("action", ["*", ["*"], "*:*", ["s3:GetObject", "*"], "**"])
async def test_a_policy_that_allows_everything_is_never_held_harmless(action: Any) -> None:
    document = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": action, "Resource": "*"}}
    rules = rules_of("aws.iam.policy")
    found = shaped_answers(CATALOGUE, needs_of(CATALOGUE, rules).types) | iam_policy(document)
    sink = await audit(request(*rules), PlainAws(found))
    assert [finding.status for finding in sink.of("iam-policy-admin")] == [FAIL]
    assert [finding.status for finding in sink.of("iam-policy-privilege-escalation")] == [FAIL]
