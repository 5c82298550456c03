"""What an account or AWS may do to an audit, over the whole catalogue: what could not be read is never a verdict."""

import gc
import sys
from collections.abc import Iterable, Mapping
from typing import Any

import botocore.session
import pytest

from coreo_shared.catalogue import load_catalogue
from coreo_shared.contracts.base import encode_json
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.rules.needs import needs_of
from coreo_worker.audit.engine import AuditRequest, run_audit
from tests.support.engine import ACCOUNT, Answer, LastingSession, PlainAws, RememberingSink, audit, refuse, request
from tests.support.shaped_aws import shaped_answers

CATALOGUE = load_catalogue()
ANSWERS = shaped_answers(CATALOGUE, CATALOGUE.resource_types)
EVERY_RULE = tuple(sorted(CATALOGUE.rules))
FAIL, PASS, NOT_EVALUATED = FindingStatus.FAIL, FindingStatus.PASS, FindingStatus.NOT_EVALUATED
HERE, CLOSED = "eu-west-1", "me-south-1"


def asking(rules: Iterable[str] = EVERY_RULE, *regions: str) -> AuditRequest:
    return AuditRequest(ACCOUNT, "aws", tuple(rules), regions or (HERE,), {}, frozenset())


def scope_of(rule: str) -> str:
    return CATALOGUE.resource_types[CATALOGUE.rules[rule].resource].scope


def everywhere(answer: Answer) -> PlainAws:
    return PlainAws(dict.fromkeys(ANSWERS, answer))


@pytest.mark.parametrize(
    ("code", "status", "words"),
    [
        ("AccessDenied", 403, "AccessDenied"),
        ("Throttling", 400, "AWS throttled every try"),
        ("RequestLimitExceeded", 503, "AWS throttled every try"),
        ("InternalError", 500, "InternalError"),
        ("OptInRequired", 403, "the service is not enabled for the account"),
        ("UnrecognizedClientException", 403, "is not enabled for the account"),
    ],
)
async def test_where_nothing_can_be_read_no_rule_is_decided_and_each_says_why(
    code: str, status: int, words: str
) -> None:
    sink = await audit(asking(), everywhere(refuse(code, status)))
    assert {finding.status for finding in sink.findings} == {NOT_EVALUATED}
    assert {finding.rule_id for finding in sink.findings} == set(EVERY_RULE)
    assert [finding.reason for finding in sink.findings if words not in str(finding.reason)] == []


async def test_denied_everywhere_each_rule_names_an_action_that_it_declares() -> None:
    sink = await audit(asking(), everywhere(refuse("AccessDenied", 403)))
    for finding in sink.findings:
        assert finding.missing_actions, finding.rule_id
        assert set(finding.missing_actions) <= needs_of(CATALOGUE, [finding.rule_id]).actions


def by_rule(findings: Iterable[Finding]) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for finding in findings:
        found.setdefault(finding.rule_id, []).append((finding.resource_id, str(finding.status)))
    return {rule: sorted(each) for rule, each in found.items()}


@pytest.mark.parametrize("name", sorted(CATALOGUE.resource_types))
async def test_a_denied_fact_leaves_a_verdict_as_it_is_or_undecided(name: str) -> None:
    """One enrichment after the other is denied; a rule that does not read it says what it said."""
    rules = [rule.id for rule in CATALOGUE.rules.values() if rule.resource == name]
    undisturbed = (await audit(asking(rules), PlainAws(ANSWERS))).findings
    before = {(finding.rule_id, finding.fingerprint): finding.status for finding in undisturbed}
    kind = CATALOGUE.resource_types[name]
    for enrichment in kind.enrichments.values():
        operation = f"{enrichment.call.service}.{enrichment.call.operation}"
        aws = PlainAws(ANSWERS | {operation: refuse("AccessDenied", 403)})
        for finding in (await audit(asking(rules), aws)).findings:
            if finding.status == NOT_EVALUATED:
                continue
            # Without the region that the fact tells, a bucket has the same name and another fingerprint.
            assert before.get((finding.rule_id, finding.fingerprint)) == finding.status, (operation, finding.rule_id)


@pytest.mark.parametrize("name", sorted(CATALOGUE.resource_types))
async def test_a_denied_listing_is_a_finding_of_each_rule(name: str) -> None:
    kind = CATALOGUE.resource_types[name]
    rules = [rule.id for rule in CATALOGUE.rules.values() if rule.resource == name]
    if kind.listing is None or not rules:
        return
    aws = PlainAws(ANSWERS | {f"{kind.listing.service}.{kind.listing.operation}": refuse("AccessDenied", 403)})
    findings = (await audit(asking(rules), aws)).findings
    told = [finding for finding in findings if finding.resource_id.startswith(f"{name}@")]
    assert {finding.rule_id for finding in told} == set(rules)
    for finding in told:
        assert finding.status == NOT_EVALUATED
        assert set(kind.listing.actions) & set(finding.missing_actions)


@pytest.mark.parametrize("code", ["AuthFailure", "UnrecognizedClientException", "InvalidClientTokenId"])
async def test_a_region_that_is_not_enabled_says_so_and_the_others_are_judged(code: str) -> None:
    def closed(answer: Answer) -> Answer:
        return lambda region, params: refuse(code, 401)(region, params) if region == CLOSED else answer(region, params)

    open_alone = await audit(asking(EVERY_RULE, HERE), PlainAws(ANSWERS))
    aws = PlainAws({name: closed(answer) for name, answer in ANSWERS.items()})
    sink = await audit(asking(EVERY_RULE, HERE, CLOSED), aws)

    in_closed = [finding for finding in sink.findings if finding.region == CLOSED]
    assert {finding.status for finding in in_closed} == {NOT_EVALUATED}
    assert all(f"the region {CLOSED} is not enabled for the account" in str(f.reason) for f in in_closed)
    asked = {call.service for call in aws.calls if call.region == CLOSED}
    expected = {rule for rule in EVERY_RULE if scope_of(rule) == "region" and _service(rule) in asked}
    assert expected <= {finding.rule_id for finding in in_closed}
    # A rule that looks at other regions' resources (is there a trail at all?) is undecided without this one.
    elsewhere = {(f.rule_id, f.fingerprint): f.status for f in sink.findings if f.region != CLOSED}
    for finding in open_alone.findings:
        status = elsewhere.get((finding.rule_id, finding.fingerprint))
        assert status in (finding.status, NOT_EVALUATED), finding.rule_id
        if not CATALOGUE.rules[finding.rule_id].relations:
            assert status == finding.status, finding.rule_id


def _service(rule: str) -> str:
    return CATALOGUE.resource_types[CATALOGUE.rules[rule].resource].service


@pytest.mark.parametrize("region", ["ap-southeast-4", "ca-west-1", "il-central-1", "me-south-1", "mx-central-1"])
async def test_a_service_that_aws_does_not_offer_in_a_region_is_not_asked_there(region: str) -> None:
    aws = PlainAws(ANSWERS)
    sink = await audit(asking(EVERY_RULE, region), aws)

    session = botocore.session.get_session()
    without = {
        service
        for service in {_service(rule) for rule in EVERY_RULE if scope_of(rule) == "region"}
        if (known := session.get_available_regions(service)) and region not in known
    }
    assert without  # the test has something to show
    assert not {call.service for call in aws.calls if call.region == region} & without
    of_these = {rule for rule in EVERY_RULE if scope_of(rule) == "region" and _service(rule) in without}
    assert of_these.isdisjoint(finding.rule_id for finding in sink.findings)


async def test_an_empty_account_has_findings_of_the_account_alone() -> None:
    """Every listing is empty, every setting absent."""
    sink = await audit(asking(), everywhere(lambda _r, _p: {}))
    assert len(sink.finished) == sink.units_total
    for finding in sink.findings:
        assert CATALOGUE.resource_types[finding.resource_type].listing is None, finding
        assert "the rule failed" not in str(finding.reason), finding


MALFORMED = [
    "",
    "{",
    "null",
    "[]",
    "7",
    '"text"',
    "{}",
    '{"Statement": null}',
    '{"Statement": "Allow"}',
    '{"Statement": [null, 1, "x", []]}',
    '{"Statement": {"Effect": "allow", "Principal": 7, "Action": {"a": 1}, "Resource": null}}',
    '{"Statement": [{"Effect": "Allow", "Principal": {"AWS": [null]}, "Action": [1], "Condition": "x"}]}',
    '{"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "*", "Condition": {"StringEquals": []}}]}',
    '{"Statement": [{"Effect": "Allow", "Principal": "*", "NotAction": [], "Condition": {"": {"": {}}}}]}',
    "[" * 50_000,
    '{"a":' * 2_000 + "1" + "}" * 2_000,
    '{"Statement": [' + ",".join(['{"Effect":"Allow","Action":"s3:*"}'] * 3_000) + "]}",
    '{"Statement": 1e999}',
    "\ud800",
]


@pytest.mark.parametrize("document", MALFORMED, ids=lambda text: text[:30].encode("ascii", "replace").decode())
async def test_a_malformed_policy_is_undecided_or_harmless_and_hides_nothing_else(document: str) -> None:
    names = {"odd": document, "open": '{"Statement":{"Effect":"Allow","Principal":"*","Action":"*","Resource":"*"}}'}
    rules = [rule.id for rule in CATALOGUE.rules.values() if rule.resource == "aws.s3.bucket"]
    answers = ANSWERS | {
        "s3.list_buckets": lambda _r, _p: {"Buckets": [{"Name": name, "BucketRegion": HERE} for name in names]},
        "s3.get_bucket_policy": lambda _r, params: {"Policy": names[params["Bucket"]]},
        "s3.get_public_access_block": refuse("NoSuchPublicAccessBlockConfiguration", 404),
    }
    sink = await audit(request(*rules), PlainAws(answers))
    assert not [finding for finding in sink.findings if "the rule failed" in str(finding.reason)]
    public = {finding.resource_id: finding.status for finding in sink.of("s3-bucket-policy-public")}
    assert public["open"] == FAIL
    assert by_rule(f for f in sink.findings if f.resource_id == "open") == by_rule(
        f for f in (await audit(request(*rules), PlainAws(answers | _alone("open", names)))).findings
    )


def _alone(name: str, names: Mapping[str, str]) -> dict[str, Answer]:
    return {
        "s3.list_buckets": lambda _r, _p: {"Buckets": [{"Name": name, "BucketRegion": HERE}]},
        "s3.get_bucket_policy": lambda _r, _p: {"Policy": names[name]},
    }


class ManyBuckets(LastingSession):
    """An account with so many buckets, which remembers nothing of what it is asked."""

    def __init__(self, count: int) -> None:
        self.asked = 0
        self.most_blocks = 0
        self._count = count

    async def client(self, _service: str, _region: str) -> Any:
        return self

    async def list_buckets(self, **params: Any) -> dict[str, Any]:
        gc.collect()
        self.most_blocks = max(self.most_blocks, sys.getallocatedblocks())
        start = int(params.get("ContinuationToken", "0"))
        end = min(start + params["MaxBuckets"], self._count)
        found = [{"Name": f"bucket-{number:06}", "BucketRegion": HERE} for number in range(start, end)]
        return {"Buckets": found} | ({"ContinuationToken": str(end)} if end < self._count else {})

    async def get_bucket_versioning(self, Bucket: str) -> dict[str, Any]:  # noqa: N803  AWS's name
        self.asked += 1
        return {"Status": "Enabled"} if int(Bucket[-1]) % 2 else {}


class CountingSink(RememberingSink):
    """Keeps counts alone, as a sink that hands everything on."""

    count = 0

    async def chunk(self, unit: str, index: int, *, final: bool, findings: list[Finding]) -> None:
        self.count += len(findings)
        await super().chunk(unit, index, final=final, findings=[])


async def _most_blocks(buckets: int) -> int:
    """The most memory blocks in use while a page is asked for."""
    aws, sink = ManyBuckets(buckets), CountingSink()
    gc.collect()
    gc.freeze()  # collecting what the tests hold besides would take all the time
    before = sys.getallocatedblocks()
    await run_audit(request("s3-bucket-versioning", "s3-bucket-mfa-delete"), aws, sink)
    gc.unfreeze()
    assert sink.count == 2 * buckets
    assert aws.asked == buckets
    return aws.most_blocks - before


async def test_ten_thousand_buckets_need_no_more_memory_than_two_thousand() -> None:
    await _most_blocks(200)  # what is made once
    few, many = await _most_blocks(2_000), await _most_blocks(10_000)
    assert many < few + 2_000  # a block for every fourth bucket would be too many


@pytest.mark.parametrize("value", ["half a \ud83d", 2**70, -(2**70), float("inf"), {"\udfff": ["\ud800"]}])
async def test_a_value_that_no_message_can_hold_is_told_as_well_as_it_can_be(value: Any) -> None:
    """JSON can say more than MessagePack and UTF-8 can."""
    name = value if isinstance(value, str) else "sg"
    odd = {"GroupId": name, "GroupName": value, "IpPermissions": [{"IpProtocol": value}]}
    plain = {"GroupId": "plain", "GroupName": "web", "IpPermissions": []}
    answers = ANSWERS | {"ec2.describe_security_groups": lambda _r, _p: {"SecurityGroups": [odd, plain]}}
    rules = [rule.id for rule in CATALOGUE.rules.values() if rule.resource == "aws.ec2.security_group"]
    sink = await audit(request(*rules), PlainAws(answers))
    for finding in sink.findings:
        encode_json(finding)
    assert {finding.rule_id for finding in sink.findings if finding.resource_id == "plain"} <= set(rules)
    assert len({finding.resource_id for finding in sink.findings}) == 2
