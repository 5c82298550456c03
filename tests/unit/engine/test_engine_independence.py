"""A verdict depends on the account alone: not on which other rules run, their order, the concurrency or who is slow."""

import asyncio
import random
from collections.abc import Mapping
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from coreo_shared.catalogue import load_catalogue
from coreo_shared.contracts.findings import Finding
from coreo_worker.audit.engine import Limits
from tests.support.engine import ACCOUNT, Answer, PlainAws, audit, refuse, request
from tests.support.shaped_aws import shaped_answers
from tests.support.virtual_time import virtually

REGIONS = ("eu-central-1", "eu-west-1", "us-east-1")
RULES = (
    "cloudtrail-bucket-access-logging",
    "cloudtrail-missing",
    "cloudtrail-not-logging",
    "ec2-security-group-default-open",
    "ec2-security-group-open-all-ports",
    "ec2-security-group-open-ssh",
    "ec2-security-group-open-unauthorized-port",
    "s3-bucket-access-logging",
    "s3-bucket-policy-public",
    "s3-bucket-versioning",
    "vpc-flow-logs-off",
)
SOURCES = st.sampled_from(["0.0.0.0/0", "0.0.0.0/1", "128.0.0.0/1", "10.0.0.0/8", "::/0", "pl-1"])
PERMISSION = st.tuples(st.sampled_from(["tcp", "udp", "-1"]), st.sampled_from([(22, 22), (0, 65535)]), SOURCES)
GROUP = st.tuples(st.sampled_from(["default", "web"]), st.lists(PERMISSION, max_size=3))
BUCKET = st.tuples(
    st.sampled_from(REGIONS), st.booleans(), st.booleans(), st.sampled_from([None, "*", "arn:aws:iam::1:root"])
)
WORLD = st.fixed_dictionaries(
    {
        "groups": st.dictionaries(st.sampled_from(REGIONS), st.lists(GROUP, max_size=4)),
        "buckets": st.lists(BUCKET, max_size=5),
        "trails": st.lists(st.tuples(st.sampled_from(REGIONS), st.booleans(), st.booleans()), max_size=3),
        "logged": st.sets(st.sampled_from(REGIONS)),
        "refused": st.dictionaries(
            st.sampled_from(
                [
                    "cloudtrail.describe_trails",
                    "cloudtrail.get_trail_status",
                    "ec2.describe_flow_logs",
                    "ec2.describe_managed_prefix_lists",
                    "ec2.describe_security_groups",
                    "ec2.get_managed_prefix_list_entries",
                    "s3.get_bucket_logging",
                    "s3.get_bucket_policy",
                    "s3.list_buckets",
                ]
            ),
            st.tuples(st.sampled_from(REGIONS), st.sampled_from(["AccessDenied", "Throttling", "AuthFailure"])),
            max_size=3,
        ),
    }
)


def answers(world: Mapping[str, Any]) -> dict[str, Answer]:
    """The world's AWS."""
    names = {f"bucket-{number}": bucket for number, bucket in enumerate(world["buckets"])}
    return {
        "ec2.describe_security_groups": lambda region, _p: {"SecurityGroups": _groups(world, region)},
        "ec2.describe_managed_prefix_lists": lambda _r, _p: {
            "PrefixLists": [{"PrefixListId": "pl-1", "OwnerId": ACCOUNT}]
        },
        "ec2.get_managed_prefix_list_entries": lambda _r, _p: {"Entries": [{"Cidr": "0.0.0.0/0"}]},
        "ec2.describe_vpcs": lambda region, _p: {"Vpcs": [{"VpcId": f"vpc-{region}"}]},
        "ec2.describe_flow_logs": lambda region, _p: {"FlowLogs": _flow_logs(world, region)},
        "s3.list_buckets": lambda _r, _p: {
            "Buckets": [{"Name": name, "BucketRegion": bucket[0]} for name, bucket in names.items()]
        },
        "s3.get_bucket_versioning": lambda _r, p: {"Status": "Enabled"} if names[p["Bucket"]][1] else {},
        "s3.get_bucket_logging": lambda _r, p: (
            {"LoggingEnabled": {"TargetBucket": "logs"}} if names[p["Bucket"]][2] else {}
        ),
        "s3.get_bucket_policy": lambda r, p: _policy(names[p["Bucket"]][3], r, p),
        "s3.get_public_access_block": refuse("NoSuchPublicAccessBlockConfiguration", 404),
        "cloudtrail.describe_trails": lambda region, _p: {"trailList": _trails(world, region)},
        "cloudtrail.get_trail_status": lambda _r, p: {"IsLogging": p["Name"].endswith("on")},
        "cloudtrail.get_event_selectors": lambda _r, _p: {
            "EventSelectors": [{"IncludeManagementEvents": True, "ReadWriteType": "All"}]
        },
    }


def _groups(world: Mapping[str, Any], region: str) -> list[dict[str, Any]]:
    return [
        {
            "GroupId": f"sg-{number}",
            "GroupName": name,
            "VpcId": "vpc-1",
            "IpPermissions": [_permission(*permission) for permission in permissions],
        }
        for number, (name, permissions) in enumerate(world["groups"].get(region, []))
    ]


def _permission(protocol: str, ports: tuple[int, int], source: str) -> dict[str, Any]:
    permission: dict[str, Any] = {"IpProtocol": protocol, "FromPort": ports[0], "ToPort": ports[1]}
    if source.startswith("pl-"):
        return permission | {"PrefixListIds": [{"PrefixListId": source}]}
    kind, name = ("Ipv6Ranges", "CidrIpv6") if ":" in source else ("IpRanges", "CidrIp")
    return permission | {kind: [{name: source}]}


def _flow_logs(world: Mapping[str, Any], region: str) -> list[dict[str, Any]]:
    log = {"FlowLogId": "fl-1", "ResourceId": f"vpc-{region}", "FlowLogStatus": "ACTIVE", "TrafficType": "ALL"}
    return [log] if region in world["logged"] else []


def _policy(principal: str | None, region: str, params: Mapping[str, Any]) -> Any:
    if principal is None:
        return refuse("NoSuchBucketPolicy", 404)(region, params)
    policy = f'{{"Statement":{{"Effect":"Allow","Principal":"{principal}","Action":"s3:*","Resource":"*"}}}}'
    return {"Policy": policy.replace('"arn:aws:iam::1:root"', '{"AWS":"arn:aws:iam::1:root"}')}


def _trails(world: Mapping[str, Any], region: str) -> list[dict[str, Any]]:
    return [
        {
            "Name": f"t{number}",
            "TrailARN": f"arn:aws:cloudtrail:{home}:{ACCOUNT}:trail/t{number}-{'on' if logging else 'off'}",
            "HomeRegion": home,
            "IsMultiRegionTrail": multi,
            "S3BucketName": "bucket-0",
        }
        for number, (home, multi, logging) in enumerate(world["trails"])
        if multi or home == region
    ]


def disturbed(world: Mapping[str, Any], seed: int | None) -> PlainAws:
    """The world's AWS with its refusals; with a seed, each call takes its own time."""
    chance = random.Random(seed)  # noqa: S311  no secret
    made: dict[str, Answer] = {}
    for name, answer in answers(world).items():

        def asked(region: str, params: Mapping[str, Any], name: str = name, answer: Answer = answer) -> Any:
            refused_in, code = world["refused"].get(name, (None, ""))
            given = refuse(code, 403) if region == refused_in else answer
            if seed is None:
                return given(region, params)

            async def later() -> Any:
                for _ in range(chance.randrange(20)):
                    await asyncio.sleep(0)
                return given(region, params)

            return later()

        made[name] = asked
    return PlainAws(made)


def findings(
    world: Mapping[str, Any], rules: tuple[str, ...], seed: int | None = None, limits: Limits | None = None
) -> list[Finding]:
    return virtually(audit(request(*rules, regions=REGIONS), disturbed(world, seed), limits)).findings


@settings(max_examples=100, deadline=None)
@given(
    world=WORLD,
    rules=st.lists(st.sampled_from(RULES), min_size=1, unique=True),
    seed=st.integers(0, 2**32),
    limits=st.builds(Limits, *[st.integers(1, 5)] * 3),
)
def test_a_verdict_is_the_same_alone_and_in_company(
    world: dict[str, Any], rules: list[str], seed: int, limits: Limits
) -> None:
    together = findings(world, tuple(rules), seed, limits)
    for rule in rules:
        alone = findings(world, (rule,))
        assert [finding for finding in together if finding.rule_id == rule] == alone


def test_the_worlds_show_every_status() -> None:
    """Else the property above would hold of nothing."""
    world = {
        "groups": {"eu-west-1": [("default", [("tcp", (22, 22), "0.0.0.0/0")]), ("web", [])]},
        "buckets": [("us-east-1", True, False, None)],
        "trails": [],
        "logged": set(),
        "refused": {"s3.get_bucket_policy": ("us-east-1", "AccessDenied")},
    }
    assert {str(finding.status) for finding in findings(world, RULES)} == {"PASS", "FAIL", "NOT_EVALUATED"}


async def test_every_rule_of_the_catalogue_says_alone_what_it_says_in_company() -> None:
    """On one resource of each type. Evidence may tell more in company: facts that others asked for."""
    catalogue = load_catalogue()
    aws = PlainAws(shaped_answers(catalogue, catalogue.resource_types))
    by_rule: dict[str, list[Finding]] = {}
    for finding in _judged((await audit(request(*catalogue.rules), aws)).findings):
        by_rule.setdefault(finding.rule_id, []).append(finding)
    assert len(by_rule) > 0.8 * len(catalogue.rules)  # the others do not apply to that one
    for rule in catalogue.rules:
        alone = _judged((await audit(request(rule), PlainAws(aws.answers))).findings)
        assert alone == by_rule.get(rule, []), rule


def _judged(found: list[Finding]) -> list[Finding]:
    return [msgspec.structs.replace(finding, evidence={}) for finding in found]
