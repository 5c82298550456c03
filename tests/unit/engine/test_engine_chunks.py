"""Chunks keep to the contract's limits, evidence survives the wire, pages follow AWS's tokens."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from coreo_shared.contracts.base import encode_json, encode_msgpack
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.results import MAX_CHUNK_FINDINGS
from coreo_shared.contracts.terms import FindingStatus, Severity
from coreo_shared.rules.values import Unknown
from coreo_worker.audit.chunks import TARGET_BYTES, ChunkWriter
from coreo_worker.audit.evidence import MAX_BYTES, PlainEvidence
from coreo_worker.aws.pages import pagination
from tests.support.engine import RememberingSink


def finding(number: int, evidence: dict[str, Any] | None = None) -> Finding:
    return Finding(
        fingerprint=f"{number:032x}",
        rule_id="r",
        status=FindingStatus.FAIL,
        severity=Severity.LOW,
        resource_type="t",
        resource_id=str(number),
        resource_arn=None,
        region="eu-west-1",
        message="m",
        evidence=evidence or {},
    )


async def written(*findings: Finding) -> list[list[Finding]]:
    sink = RememberingSink()
    await sink.planned(1)
    writer = ChunkWriter(sink, "unit")
    for one in findings:
        await writer.add(one)
    await writer.finish()
    assert sink.finished == ["unit"]
    return sink.units["unit"]


@pytest.mark.parametrize(
    ("count", "sizes"),
    [
        (0, [0]),
        (1, [1]),
        (MAX_CHUNK_FINDINGS, [MAX_CHUNK_FINDINGS]),
        (MAX_CHUNK_FINDINGS + 1, [MAX_CHUNK_FINDINGS, 1]),
        (2 * MAX_CHUNK_FINDINGS, [MAX_CHUNK_FINDINGS, MAX_CHUNK_FINDINGS]),
    ],
)
async def test_a_chunk_holds_no_more_findings_than_allowed(count: int, sizes: list[int]) -> None:
    chunks = await written(*map(finding, range(count)))
    assert [len(chunk) for chunk in chunks] == sizes
    assert [one.resource_id for chunk in chunks for one in chunk] == [str(number) for number in range(count)]


async def test_large_findings_make_smaller_chunks() -> None:
    large = {"text": "x" * 60_000}
    chunks = await written(*(finding(number, large) for number in range(100)))
    assert len(chunks) > 1
    assert all(len(encode_msgpack(chunk)) <= TARGET_BYTES + 1_000 for chunk in chunks)
    assert sum(map(len, chunks)) == 100


def test_evidence_survives_json() -> None:
    evidence = PlainEvidence().of(
        {
            "Created": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            "Keys": [{"At": datetime(2026, 1, 2, tzinfo=UTC), "Blob": b"\x00"}, b"\x00", None],
            "Blob": b"\x00",
            "Policy": Unknown("s3:get_bucket_policy: AccessDenied", ("s3:GetBucketPolicy",)),
            "Count": 3,
        }
    )
    assert json.loads(encode_json(evidence)) == {
        "Created": "2026-01-02T03:04:05+00:00",
        "Keys": [{"At": "2026-01-02T00:00:00+00:00"}, None],
        "Policy": {"not_read": "s3:get_bucket_policy: AccessDenied"},
        "Count": 3,
    }


def test_evidence_that_is_too_long_says_so() -> None:
    evidence = PlainEvidence().of({"long": ["x" * 1_000] * 200, "short": "x"})
    assert evidence == {"long": {"left_out": f"longer than {MAX_BYTES} bytes"}, "short": "x"}


@pytest.mark.parametrize(
    ("service", "operation", "answer", "asked"),
    [
        ("ec2", "describe_instances", {"NextToken": "n"}, {"MaxResults": 50, "NextToken": "n"}),
        ("ec2", "describe_instances", {"NextToken": ""}, None),
        ("ec2", "describe_instances", {}, None),
        ("iam", "list_roles", {"IsTruncated": True, "Marker": "m"}, {"MaxItems": 50, "Marker": "m"}),
        ("iam", "list_roles", {"IsTruncated": False, "Marker": "m"}, None),
        ("s3", "list_buckets", {"ContinuationToken": "c"}, {"MaxBuckets": 50, "ContinuationToken": "c"}),
        ("rds", "describe_db_instances", {"Marker": "m"}, {"MaxRecords": 50, "Marker": "m"}),
        # The size is text, and no larger than the operation takes.
        ("route53", "list_query_logging_configs", {"NextToken": "n"}, {"MaxResults": "50", "NextToken": "n"}),
        ("appsync", "list_graphql_apis", {"nextToken": "n"}, {"maxResults": 25, "nextToken": "n"}),
        # The SDK describes no paginator of these.
        ("athena", "list_work_groups", {"NextToken": "n"}, {"MaxResults": 50, "NextToken": "n"}),
        ("wafv2", "list_web_acls", {"NextMarker": "m"}, {"Limit": 50, "NextMarker": "m"}),
        ("wafv2", "list_web_acls", {}, None),
    ],
)
def test_pages_follow_the_tokens(service: str, operation: str, answer: Any, asked: Any) -> None:
    paging = pagination(service, operation)
    assert paging is not None
    assert paging.following(answer, 50) == asked


def test_an_operation_without_pages_has_none() -> None:
    assert pagination("cloudtrail", "describe_trails") is None
    assert pagination("iam", "get_account_summary") is None


def test_evidence_that_rules_share_is_told_alike_and_no_other_for_it() -> None:
    """Values of other rules may come to lie where one of before did."""
    shared, evidence = ["shared"], PlainEvidence()
    for number in range(1_000):
        assert evidence.of({"Own": [str(number)], "Shared": shared}) == {"Own": [str(number)], "Shared": ["shared"]}
