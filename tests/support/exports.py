"""Findings of every kind, with odd text, for tests of what is made of them."""

import io
from collections.abc import Iterable
from datetime import UTC, datetime

from coreo_shared.catalogue import load_catalogue
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus, Severity
from coreo_shared.exports import Format, Subject, export

ODD = (
    "plain",
    "Grüße, 中文, 🙂",
    '=HYPERLINK("http://evil.example","x")',
    "</script><script>alert(1)</script><img src=x onerror=alert(1)>",
    "\x00\x1b[31mred\x07\x0b",
    "line one\r\nline two\ttab",
    "]]> & < > \" ' `",
    "\u202eturned\u2066",
    "\uff1dSUM(1)",
    "x" * 5_000,
)


def subject(*rules: str, complete: bool = True, frameworks: tuple[str, ...] = ("cis-aws-5.0", "aws-fsbp")) -> Subject:
    """A run of some seconds."""
    return Subject(
        account_id="210987654321",
        partition="aws",
        run_id="0199c3f2-8a1b-7000-8000-000000000001",
        started_at=datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC),
        ended_at=datetime(2026, 6, 1, 12, 0, 12, 345_000, tzinfo=UTC),
        version="0.1.0",
        regions=("eu-west-1", "us-east-1"),
        rules=rules,
        complete=complete,
        frameworks=frameworks,
    )


def finding(
    number: int, status: FindingStatus = FindingStatus.FAIL, text: str = "bucket", rule: str = "s3-bucket-versioning"
) -> Finding:
    """One finding; odd text goes wherever AWS's customers choose it."""
    known = load_catalogue().rules.get(rule)
    return Finding(
        fingerprint=f"{number:032x}",
        rule_id=rule,
        status=status,
        severity=known.severity if known else Severity.LOW,
        resource_type=known.resource if known else "aws.s3.bucket",
        resource_id=f"{text}-{number}",
        resource_arn=f"arn:aws:s3:::{text}-{number}" if number % 2 else None,
        region="eu-west-1" if number % 3 else "global",
        message=f"{text} is not right",
        evidence={"Name": text, "Nested": [{"Value": 2**63, "Ratio": 0.5, "None": None}]},
        reason=f"AWS denied reading {text}" if status is FindingStatus.NOT_EVALUATED else None,
        missing_actions=["s3:GetBucketVersioning"] if status is FindingStatus.NOT_EVALUATED else [],
    )


def odd_findings() -> list[Finding]:
    """Each odd text with each status, by rules of several services and by one that the catalogue does not know."""
    rules = ("s3-bucket-versioning", "ec2-security-group-open-ssh", "iam-root-access-key", "acme-own-rule")
    pairs = [(text, status) for text in ODD for status in FindingStatus]
    return [
        finding(number, status, text, rules[number // 3 % len(rules)]) for number, (text, status) in enumerate(pairs)
    ]


def written(format_: Format, findings: Iterable[Finding], about: Subject | None = None) -> str:
    """The file's text."""
    out = io.StringIO(newline="")
    export(format_, findings, about or subject("s3-bucket-versioning"), load_catalogue(), out)
    return out.getvalue()
