"""A run of the engine on an AWS of functions: what is read, what is judged, what happens where something fails."""

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.rules.compiler import CompiledRule
from coreo_worker.audit.engine import AuditRequest, AuditRequestError, Limits, SessionExpiredError, run_audit
from tests.support.engine import ACCOUNT, Answer, PlainAws, RememberingSink, audit, refuse, request

SSH = "ec2-security-group-open-ssh"
RDP = "ec2-security-group-open-rdp"
GROUPS = "ec2.describe_security_groups"
LISTS = "ec2.describe_managed_prefix_lists"
DB = "rds-instance-unencrypted"
FAIL, PASS, NOT_EVALUATED = FindingStatus.FAIL, FindingStatus.PASS, FindingStatus.NOT_EVALUATED


def group(name: str, *sources: str, prefix_list: str | None = None) -> dict[str, Any]:
    """A security group that lets these sources reach SSH."""
    permission = {
        "IpProtocol": "tcp",
        "FromPort": 22,
        "ToPort": 22,
        "IpRanges": [{"CidrIp": source} for source in sources],
        "PrefixListIds": [{"PrefixListId": prefix_list}] if prefix_list else [],
    }
    return {"GroupId": name, "GroupName": name, "VpcId": "vpc-1", "IpPermissions": [permission]}


def pages(member: str, *found: list[dict[str, Any]]) -> Answer:
    """A listing in pages, by NextToken."""

    def answer(_region: str, params: Mapping[str, Any]) -> dict[str, Any]:
        number = int(params.get("NextToken", "0"))
        more = {"NextToken": str(number + 1)} if number + 1 < len(found) else {}
        return {member: found[number]} | more

    return answer


def lists(*found: dict[str, Any]) -> dict[str, Answer]:
    """The prefix lists of the account; each has `Entries`."""

    def entries(_region: str, params: Mapping[str, Any]) -> dict[str, Any]:
        wanted = next(one for one in found if one["PrefixListId"] == params["PrefixListId"])
        return {"Entries": [{"Cidr": cidr} for cidr in wanted["blocks"]]}

    described = [{name: value for name, value in one.items() if name != "blocks"} for one in found]
    return {LISTS: pages("PrefixLists", described), "ec2.get_managed_prefix_list_entries": entries}


def statuses(findings: list[Finding]) -> dict[str, FindingStatus]:
    return {finding.resource_id: finding.status for finding in findings}


async def test_every_page_is_read_and_judged() -> None:
    found = pages("SecurityGroups", [group("a", "0.0.0.0/0")], [group("b", "10.0.0.0/8")], [group("c", "0.0.0.0/0")])
    aws = PlainAws({GROUPS: found, **lists()})
    sink = await audit(request(SSH), aws)
    assert statuses(sink.findings) == {"a": FAIL, "b": PASS, "c": FAIL}
    asked = [json.loads(call.params) for call in aws.asked(GROUPS)]
    assert asked == [{"MaxResults": 200}, {"MaxResults": 200, "NextToken": "1"}, {"MaxResults": 200, "NextToken": "2"}]


async def test_a_finding_says_what_where_and_why() -> None:
    aws = PlainAws({GROUPS: pages("SecurityGroups", [group("sg-1", "0.0.0.0/0")]), **lists()})
    [finding] = (await audit(request(SSH), aws)).findings
    assert finding.resource_type == "aws.ec2.security_group"
    assert finding.resource_arn == f"arn:aws:ec2:eu-west-1:{ACCOUNT}:security-group/sg-1"
    assert finding.region == "eu-west-1"
    assert "sg-1" in finding.message
    assert finding.evidence["IpPermissions"][0]["IpRanges"] == [{"CidrIp": "0.0.0.0/0"}]


async def test_the_same_id_in_two_regions_is_two_findings() -> None:
    aws = PlainAws({GROUPS: pages("SecurityGroups", [group("sg-1", "0.0.0.0/0")]), **lists()})
    findings = (await audit(request(SSH, regions=("eu-west-1", "eu-west-2")), aws)).findings
    assert len({finding.fingerprint for finding in findings}) == 2


async def test_the_same_id_in_two_regions_is_two_findings_also_without_an_arn() -> None:
    aws = PlainAws({"rds.describe_db_instances": lambda _r, _p: {"DBInstances": [{"DBInstanceIdentifier": "db"}]}})
    findings = (await audit(request(DB, regions=("eu-west-1", "eu-west-2")), aws)).findings
    assert [finding.resource_arn for finding in findings] == [None, None]
    assert len({finding.fingerprint for finding in findings}) == 2


async def test_a_unit_without_resources_sends_one_empty_final_chunk() -> None:
    aws = PlainAws({GROUPS: pages("SecurityGroups", []), **lists()})
    sink = await audit(request(SSH), aws)
    assert sink.units == {"aws.ec2.security_group@eu-west-1": [[]]}
    assert sink.units_total == 1


async def test_a_denied_listing_gives_a_finding_for_each_rule_that_names_the_action() -> None:
    aws = PlainAws({GROUPS: refuse("UnauthorizedOperation", 403), **lists()})
    findings = (await audit(request(SSH, RDP), aws)).findings
    assert [(f.rule_id, f.status, f.missing_actions) for f in findings] == [
        (RDP, NOT_EVALUATED, ["ec2:DescribeSecurityGroups"]),
        (SSH, NOT_EVALUATED, ["ec2:DescribeSecurityGroups"]),
    ]
    assert len({finding.fingerprint for finding in findings}) == 2


async def test_a_denied_service_leaves_the_rest_evaluated() -> None:
    aws = PlainAws(
        {
            GROUPS: pages("SecurityGroups", [group("a", "0.0.0.0/0")]),
            "rds.describe_db_instances": refuse("AccessDenied", 403),
            **lists(),
        }
    )
    sink = await audit(request(SSH, DB), aws)
    assert [f.status for f in sink.of(SSH)] == [FAIL]
    assert [f.status for f in sink.of(DB)] == [NOT_EVALUATED]


async def test_a_listing_that_breaks_off_is_judged_so_far_and_says_so() -> None:
    def breaks_off(region: str, params: Mapping[str, Any]) -> Any:
        if "NextToken" in params:
            return refuse("RequestLimitExceeded", 503)(region, params)
        return {"SecurityGroups": [group("a", "0.0.0.0/0")], "NextToken": "1"}

    findings = (await audit(request(SSH), PlainAws({GROUPS: breaks_off, **lists()}))).findings
    assert sorted(f.status for f in findings) == [FAIL, NOT_EVALUATED]
    [unread] = [f for f in findings if f.status == NOT_EVALUATED]
    assert unread.missing_actions == []  # throttling is no lack of permission
    assert "throttled" in str(unread.reason)


@pytest.mark.parametrize("code", ["AuthFailure", "InternalError", "RequestLimitExceeded"])
async def test_what_could_not_be_read_is_never_a_pass(code: str) -> None:
    def by_region(region: str, params: Mapping[str, Any]) -> Any:
        return refuse(code)(region, params) if region == "me-south-1" else {"SecurityGroups": [group("a")]}

    findings = (
        await audit(request(SSH, regions=("eu-west-1", "me-south-1")), PlainAws({GROUPS: by_region, **lists()}))
    ).findings
    assert {f.region: f.status for f in findings} == {"eu-west-1": PASS, "me-south-1": NOT_EVALUATED}


def buckets(*names: str, **answers: Answer) -> PlainAws:
    """Buckets in eu-west-1, with good settings but for `answers`."""
    listed = [{"Name": name, "BucketRegion": "eu-west-1"} for name in names]
    good: dict[str, Answer] = {
        "list_buckets": lambda _r, _p: {"Buckets": listed},
        "get_bucket_versioning": lambda _r, _p: {"Status": "Enabled"},
        "get_bucket_logging": lambda _r, _p: {"LoggingEnabled": {"TargetBucket": "logs"}},
    }
    return PlainAws({f"s3.{operation}": answer for operation, answer in (good | answers).items()})


async def test_a_denied_fact_is_unknown_to_the_rules_that_read_it_and_to_no_other() -> None:
    aws = buckets("b", get_bucket_versioning=refuse("AccessDenied", 403))
    sink = await audit(request("s3-bucket-versioning", "s3-bucket-access-logging"), aws)
    [versioning], [logging] = sink.of("s3-bucket-versioning"), sink.of("s3-bucket-access-logging")
    assert (versioning.status, versioning.missing_actions) == (NOT_EVALUATED, ["s3:GetBucketVersioning"])
    assert "s3:get_bucket_versioning in eu-west-1: AccessDenied" in str(versioning.reason)
    assert logging.status == PASS


async def test_an_absent_setting_is_an_answer() -> None:
    aws = buckets("b", get_bucket_lifecycle_configuration=refuse("NoSuchLifecycleConfiguration", 404))
    [finding] = (await audit(request("s3-bucket-lifecycle"), aws)).findings
    assert finding.status == FAIL


async def test_only_the_facts_that_the_rules_read_are_fetched_each_once() -> None:
    aws = buckets("b", "c")
    await audit(request("s3-bucket-versioning", "s3-bucket-mfa-delete"), aws)  # both read the same fact
    assert sorted(call.operation for call in aws.calls) == [
        "get_bucket_versioning",
        "get_bucket_versioning",
        "list_buckets",
    ]


async def test_a_bucket_is_asked_in_its_own_region() -> None:
    listed = [{"Name": "near", "BucketRegion": "us-east-1"}, {"Name": "far", "BucketRegion": "ap-south-1"}]
    aws = buckets(list_buckets=lambda _r, _p: {"Buckets": listed})
    findings = (await audit(request("s3-bucket-versioning"), aws)).findings
    assert {json.loads(c.params)["Bucket"]: c.region for c in aws.asked("s3.get_bucket_versioning")} == {
        "near": "us-east-1",
        "far": "ap-south-1",
    }
    assert {f.resource_id: f.region for f in findings} == {"near": "us-east-1", "far": "ap-south-1"}


async def test_the_region_of_a_bucket_is_found_out_at_home_before_anything_else_is_asked() -> None:
    aws = buckets(
        list_buckets=lambda _r, _p: {"Buckets": [{"Name": "old"}]},
        get_bucket_location=lambda _r, _p: {"LocationConstraint": "ap-south-1"},
    )
    [finding] = (await audit(request("s3-bucket-versioning"), aws)).findings
    assert [(c.operation, c.region) for c in aws.calls] == [
        ("list_buckets", "us-east-1"),
        ("get_bucket_location", "us-east-1"),
        ("get_bucket_versioning", "ap-south-1"),
    ]
    assert finding.region == "ap-south-1"


async def test_another_partition_is_asked_in_its_own_home() -> None:
    aws = buckets(
        list_buckets=lambda _r, _p: {"Buckets": [{"Name": "b"}]},
        get_bucket_location=lambda _r, _p: {"LocationConstraint": "cn-northwest-1"},
    )
    asked = AuditRequest(ACCOUNT, "aws-cn", ("s3-bucket-versioning",), ("cn-north-1",), {}, frozenset())
    [finding] = (await audit(asked, aws)).findings
    assert [call.region for call in aws.calls] == ["cn-north-1", "cn-north-1", "cn-northwest-1"]
    assert finding.resource_arn == "arn:aws-cn:s3:::b"


def trails(home: str, *regions: str) -> dict[str, Answer]:
    """A multi-region trail as every region lists it."""
    arn = f"arn:aws:cloudtrail:{home}:{ACCOUNT}:trail/t"
    trail = {"Name": "t", "TrailARN": arn, "HomeRegion": home, "IsMultiRegionTrail": True, "S3BucketName": "logs"}
    selector = {"IncludeManagementEvents": True, "ReadWriteType": "All"}
    return {
        "cloudtrail.describe_trails": lambda region, _p: {"trailList": [trail] if region in regions else []},
        "cloudtrail.get_trail_status": lambda _r, _p: {"IsLogging": True},
        "cloudtrail.get_event_selectors": lambda _r, _p: {"EventSelectors": [selector]},
    }


async def test_what_several_regions_list_is_judged_and_asked_about_once() -> None:
    aws = PlainAws(trails("eu-west-1", "eu-central-1", "eu-west-1", "us-east-1"))
    asked = request("cloudtrail-not-logging", regions=("eu-central-1", "eu-west-1", "us-east-1"))
    sink = await audit(asked, aws)
    assert [(f.region, f.status) for f in sink.findings] == [("eu-west-1", PASS)]
    assert len(aws.asked("cloudtrail.get_trail_status")) == 1


async def test_units_done_are_left_alone() -> None:
    aws = PlainAws({GROUPS: pages("SecurityGroups", [group("a")]), **lists()})
    done = frozenset({"aws.ec2.security_group@eu-west-1"})
    sink = await audit(request(SSH, regions=("eu-west-1", "eu-west-2"), done=done), aws)
    assert list(sink.units) == ["aws.ec2.security_group@eu-west-2"]
    assert [call.region for call in aws.asked(GROUPS)] == ["eu-west-2"]
    assert sink.units_total == 2


async def test_a_run_that_is_all_done_asks_nothing() -> None:
    aws = PlainAws({})
    sink = await audit(request(SSH, done=frozenset({"aws.ec2.security_group@eu-west-1"})), aws)
    assert (aws.calls, sink.units, sink.units_total) == ([], {}, 1)


async def test_done_units_that_other_rules_look_at_are_read_again_and_not_stored_again() -> None:
    aws = PlainAws(trails("eu-west-1", "eu-west-1"))
    rules = ("cloudtrail-missing", "cloudtrail-log-validation")
    sink = await audit(request(*rules, done=frozenset({"aws.cloudtrail.trail@eu-west-1"})), aws)
    assert {unit: [f.status for chunk in chunks for f in chunk] for unit, chunks in sink.units.items()} == {
        "aws.cloudtrail.account@global": [PASS]
    }


async def test_a_type_that_is_both_judged_and_looked_at_is_read_once() -> None:
    aws = PlainAws(trails("eu-west-1", "eu-west-1"))
    sink = await audit(request("cloudtrail-missing", "cloudtrail-not-logging"), aws)
    assert {f.rule_id: f.status for f in sink.findings} == {"cloudtrail-missing": PASS, "cloudtrail-not-logging": PASS}
    assert len(aws.asked("cloudtrail.describe_trails")) == 1


async def test_what_an_item_refers_to_is_listed_and_read_before_it_is_judged() -> None:
    world = {"PrefixListId": "pl-1", "OwnerId": ACCOUNT, "blocks": ["0.0.0.0/1", "128.0.0.0/1"]}
    answers = lists(world)
    described = answers[LISTS]

    async def late(region: str, params: Mapping[str, Any]) -> Any:
        for _ in range(50):  # the group has every chance to be judged first
            await asyncio.sleep(0)
        return described(region, params)

    found = pages("SecurityGroups", [group("a", prefix_list="pl-1")])
    sink = await audit(request(SSH), PlainAws({GROUPS: found, **answers, LISTS: late}))
    assert statuses(sink.findings) == {"a": FAIL}


async def test_what_nothing_refers_to_is_not_listed_and_what_is_referred_to_is_read_once() -> None:
    """By groups on several pages and in several regions; of three lists one is referred to, in one region."""
    found = lists(*({"PrefixListId": f"pl-{n}", "OwnerId": ACCOUNT, "blocks": ["10.0.0.0/8"]} for n in range(3)))
    twice = [[group("a", prefix_list="pl-1")], [group("b", prefix_list="pl-1"), group("c")]]

    def groups(region: str, params: Mapping[str, Any]) -> Any:
        return pages("SecurityGroups", *(twice if region == "eu-west-1" else [[group("d", "0.0.0.0/0")]]))(
            region, params
        )

    aws = PlainAws({GROUPS: groups, **found})
    sink = await audit(request(SSH, RDP, regions=("eu-west-1", "eu-west-2")), aws)
    assert statuses(sink.of(SSH)) == {"a": PASS, "b": PASS, "c": PASS, "d": FAIL}
    assert [call.region for call in aws.asked(LISTS)] == ["eu-west-1"]
    assert [json.loads(c.params)["PrefixListId"] for c in aws.asked("ec2.get_managed_prefix_list_entries")] == ["pl-1"]


async def test_of_many_buckets_that_of_the_trail_alone_is_asked_for_its_logging() -> None:
    listed = [{"Name": f"b{number}", "BucketRegion": "eu-west-1"} for number in range(50)]
    listed.append({"Name": "logs", "BucketRegion": "eu-west-1"})
    aws = PlainAws(buckets(list_buckets=lambda _r, _p: {"Buckets": listed}).answers | trails("eu-west-1", "eu-west-1"))
    sink = await audit(request("cloudtrail-bucket-access-logging"), aws)
    assert [f.status for f in sink.findings] == [PASS]
    assert [json.loads(call.params)["Bucket"] for call in aws.asked("s3.get_bucket_logging")] == ["logs"]
    both = await audit(request("cloudtrail-bucket-access-logging", "s3-bucket-access-logging"), aws)
    assert [f.status for f in both.of("cloudtrail-bucket-access-logging")] == [PASS]
    assert len(both.of("s3-bucket-access-logging")) == 51
    assert len(aws.asked("s3.list_buckets")) == 2  # one in each run


GROUP_ARN = f"arn:aws:logs:eu-west-1:{ACCOUNT}:log-group:trail:*"


@pytest.mark.parametrize("sends", [True, False])
async def test_a_chain_of_references_is_followed_as_far_as_it_goes(*, sends: bool) -> None:
    """Trail, log group, metric filter, alarm: without a log group nothing after it is listed, in any region."""
    found = trails("eu-west-1", "eu-west-1", "us-east-1")
    described = found["cloudtrail.describe_trails"]
    to_logs = {"CloudWatchLogsLogGroupArn": GROUP_ARN} if sends else {}
    found["cloudtrail.describe_trails"] = lambda region, params: {
        "trailList": [trail | to_logs for trail in described(region, params)["trailList"]]
    }
    root_use = (
        '{ $.userIdentity.type = "Root" && $.userIdentity.invokedBy NOT EXISTS && $.eventType != "AwsServiceEvent" }'
    )
    by_region: dict[str, dict[str, Any]] = {
        "logs.describe_log_groups": {"logGroups": [{"logGroupName": "trail", "arn": GROUP_ARN}]},
        "logs.describe_metric_filters": {
            "metricFilters": [
                {
                    "filterName": "root",
                    "logGroupName": "trail",
                    "filterPattern": root_use,
                    "metricTransformations": [{"metricName": "root", "metricNamespace": "n"}],
                }
            ]
        },
        "cloudwatch.describe_alarms": {
            "MetricAlarms": [{"AlarmName": "a", "MetricName": "root", "ActionsEnabled": True, "AlarmActions": ["sns"]}]
        },
    }
    for operation, answer in by_region.items():
        found[operation] = partial(_only_in_ireland, answer)
    aws = PlainAws(found)
    sink = await audit(request("alarm-root-use", regions=("eu-west-1", "us-east-1")), aws)
    assert [finding.status for finding in sink.findings] == [PASS if sends else FAIL]
    assert {operation: len(aws.asked(operation)) for operation in by_region} == dict.fromkeys(by_region, 2 * sends)


@pytest.mark.parametrize("odd", [7, "x", [None], [{"PrefixListIds": {}}], [{"PrefixListIds": [{"PrefixListId": [1]}]}]])
async def test_references_that_are_none_take_nothing_else_down(odd: Any) -> None:
    found = [{"GroupId": "odd", "GroupName": "odd", "IpPermissions": odd}, group("even", "0.0.0.0/0")]
    sink = await audit(request(SSH), PlainAws({GROUPS: pages("SecurityGroups", found), **lists()}))
    assert statuses(sink.findings)["even"] == FAIL
    assert statuses(sink.findings)["odd"] != FAIL


async def test_what_could_not_be_listed_leaves_only_those_undecided_that_depend_on_it() -> None:
    found = [group("open", "0.0.0.0/0"), group("by-list", prefix_list="pl-1"), group("shut", "10.0.0.0/8")]
    aws = PlainAws({GROUPS: pages("SecurityGroups", found), LISTS: refuse("UnauthorizedOperation", 403)})
    sink = await audit(request(SSH), aws)
    assert statuses(sink.findings) == {"open": FAIL, "by-list": NOT_EVALUATED, "shut": PASS}
    [undecided] = [f for f in sink.findings if f.status == NOT_EVALUATED]
    assert undecided.missing_actions == ["ec2:DescribeManagedPrefixLists"]


async def test_all_regions_means_those_enabled_in_the_account() -> None:
    enabled = [{"RegionName": "eu-west-1"}, {"RegionName": "us-east-1"}]
    aws = PlainAws(
        {"ec2.describe_regions": lambda _r, _p: {"Regions": enabled}, GROUPS: pages("SecurityGroups", []), **lists()}
    )
    sink = await audit(request(SSH, regions=("all",)), aws)
    assert sorted(sink.units) == ["aws.ec2.security_group@eu-west-1", "aws.ec2.security_group@us-east-1"]


async def test_where_the_regions_are_denied_each_regional_rule_says_so_and_global_ones_go_on() -> None:
    aws = buckets("b")
    aws.answers["ec2.describe_regions"] = refuse("UnauthorizedOperation", 403)
    rules = ("s3-bucket-versioning", SSH, "cloudtrail-missing")
    sink = await audit(request(*rules, regions=("all",)), aws)
    assert [f.status for f in sink.of("s3-bucket-versioning")] == [PASS]
    for rule in (SSH, "cloudtrail-missing"):
        [finding] = sink.of(rule)
        assert (finding.status, finding.missing_actions) == (NOT_EVALUATED, ["ec2:DescribeRegions"])


async def test_a_region_named_twice_is_one_unit() -> None:
    aws = PlainAws({GROUPS: pages("SecurityGroups", []), **lists()})
    sink = await audit(request(SSH, regions=("eu-west-1", "eu-west-1")), aws)
    assert sink.units_total == 1


async def test_regions_are_not_asked_for_when_no_rule_needs_them() -> None:
    aws = buckets("b")
    await audit(request("s3-bucket-versioning", regions=("all",)), aws)
    assert {call.service for call in aws.calls} == {"s3"}


async def test_a_service_that_hangs_holds_up_no_other() -> None:
    others_done = asyncio.Event()

    class Watching(RememberingSink):
        async def chunk(self, unit: str, index: int, *, final: bool, findings: list[Finding]) -> None:
            await super().chunk(unit, index, final=final, findings=findings)
            if len(self.finished) == 4:
                others_done.set()

    async def hangs(_region: str, _params: Mapping[str, Any]) -> dict[str, Any]:
        await others_done.wait()
        return {"DBInstances": []}

    regions = ("ap-south-1", "eu-west-1", "eu-west-2", "us-east-1")
    aws = PlainAws({"rds.describe_db_instances": hangs, GROUPS: pages("SecurityGroups", [group("a")]), **lists()})
    sink = Watching()
    limits = Limits(account=3, service=2, region=1)  # fewer slots than rds would take
    async with asyncio.timeout(10):
        await run_audit(request(SSH, DB, regions=regions), aws, sink, limits=limits)
    assert len(sink.finished) == 8
    assert all(unit.startswith("aws.ec2") for unit in sink.finished[:4])


@pytest.mark.parametrize(
    ("limits", "most"),
    [
        (Limits(account=9, service=9, region=4), {"s3@eu-west-1": 4, "s3": 8}),
        (Limits(account=9, service=5, region=4), {"s3": 5}),
        (Limits(account=3, service=5, region=4), {"s3": 3}),
    ],
)
async def test_calls_at_once_stay_within_the_limits(limits: Limits, most: dict[str, int]) -> None:
    names = [(f"bucket-{number}", region) for number in range(30) for region in ("eu-west-1", "eu-west-2")]
    listed = [{"Name": name, "BucketRegion": region} for name, region in names]
    aws = buckets(list_buckets=lambda _r, _p: {"Buckets": listed})
    await audit(request("s3-bucket-versioning", "s3-bucket-access-logging"), aws, limits)
    assert {key: aws.most[key] for key in most} == most  # used to the full, and not beyond


async def test_an_ended_session_ends_the_run_and_is_no_finding() -> None:
    aws = PlainAws({GROUPS: refuse("ExpiredToken", 403), **lists()})
    sink = RememberingSink()
    with pytest.raises(SessionExpiredError):
        await run_audit(request(SSH), aws, sink)
    assert sink.findings == []


async def test_an_error_of_the_sink_ends_the_run_as_itself() -> None:
    class StaleFenceError(Exception):
        pass

    class Refusing(RememberingSink):
        async def chunk(self, unit: str, index: int, *, final: bool, findings: list[Finding]) -> None:  # noqa: ARG002
            raise StaleFenceError

    aws = PlainAws({GROUPS: pages("SecurityGroups", []), **lists()})
    with pytest.raises(StaleFenceError):
        await run_audit(request(SSH, regions=("eu-west-1", "eu-west-2")), aws, Refusing())


async def test_a_slow_sink_holds_the_reading_back() -> None:
    release, blocked = asyncio.Event(), asyncio.Event()

    class Slow(RememberingSink):
        async def chunk(self, unit: str, index: int, *, final: bool, findings: list[Finding]) -> None:
            blocked.set()
            await release.wait()
            await super().chunk(unit, index, final=final, findings=findings)

    page = [group(f"g{number}") for number in range(200)]
    aws = PlainAws({GROUPS: pages("SecurityGroups", *[page] * 40), **lists()})
    sink = Slow()
    running = asyncio.create_task(run_audit(request(SSH), aws, sink))
    await asyncio.wait_for(blocked.wait(), 10)
    for _ in range(200):
        await asyncio.sleep(0)
    assert len(aws.asked(GROUPS)) == 6  # what fills the first chunk of 1,000, and the page that overflows it
    release.set()
    await running
    assert len(aws.asked(GROUPS)) == 40
    assert sum(len(chunk) for chunk in sink.units["aws.ec2.security_group@eu-west-1"]) == 8_000


async def test_a_rule_that_trips_over_a_resource_takes_nothing_else_down(monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate = CompiledRule.evaluate

    def trips(self: CompiledRule, item: Any, relations: Any) -> Any:
        if self.rule.id == SSH and item["GroupId"] == "odd":
            raise KeyError("arn:aws:iam::1:user/secret")
        return evaluate(self, item, relations)

    monkeypatch.setattr(CompiledRule, "evaluate", trips)
    found = [group("odd", "0.0.0.0/0"), group("even", "0.0.0.0/0")]
    sink = await audit(request(SSH, RDP), PlainAws({GROUPS: pages("SecurityGroups", found), **lists()}))
    assert statuses(sink.of(SSH)) == {"odd": NOT_EVALUATED, "even": FAIL}
    assert statuses(sink.of(RDP)) == {"odd": PASS, "even": PASS}
    assert not any("secret" in str(finding) for finding in sink.findings)


async def test_a_rule_nobody_knows_is_named_by_its_place() -> None:
    with pytest.raises(AuditRequestError, match=r"^rules\.1: "):
        await audit(request(SSH, "no-such-rule"), PlainAws({}))


async def test_facts_of_the_elements_of_a_list_are_read_for_each() -> None:
    keys = [
        {"AccessKeyId": name, "Status": "Active", "CreateDate": datetime(2020, 1, 1, tzinfo=UTC)}
        for name in ("used", "unused")
    ]

    def last_used(_region: str, params: Mapping[str, Any]) -> dict[str, Any]:
        used = {"LastUsedDate": datetime.now(UTC)} if params["AccessKeyId"] == "used" else {}
        return {"AccessKeyLastUsed": used}

    users = [{"UserName": "u", "Arn": f"arn:aws:iam::{ACCOUNT}:user/u"}]
    aws = PlainAws(
        {
            "iam.get_account_authorization_details": lambda _r, _p: {"UserDetailList": users, "IsTruncated": False},
            "iam.list_access_keys": lambda _r, _p: {"AccessKeyMetadata": keys, "IsTruncated": False},
            "iam.get_access_key_last_used": last_used,
        }
    )
    [finding] = (await audit(request("iam-user-key-unused"), aws)).findings
    assert finding.status == FAIL
    assert len(aws.asked("iam.get_access_key_last_used")) == 2


async def test_service_is_not_asked_where_aws_does_not_offer_it() -> None:
    """A region without the service holds nothing: no call that fails, and no finding that says so."""
    aws = PlainAws({"memorydb.describe_clusters": lambda _region, _params: {"Clusters": []}})

    sink = await audit(request("memorydb-plain-traffic", regions=("eu-west-1", "af-south-1")), aws)

    assert [call.region for call in aws.asked("memorydb.describe_clusters")] == ["eu-west-1"]
    assert sink.findings == []


def _only_in_ireland(answer: Any, region: str, _parameters: Any) -> Any:
    return answer if region == "eu-west-1" else {}
