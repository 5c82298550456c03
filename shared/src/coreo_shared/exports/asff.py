"""The AWS Security Finding Format (2018-10-08), as the array that securityhub:BatchImportFindings takes, 100 at a time.

https://docs.aws.amazon.com/securityhub/latest/userguide/securityhub-findings-format-attributes.html
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus, Severity
from coreo_shared.exports.asff_types import OTHER, TYPES
from coreo_shared.exports.rows import Facts, RuleFacts
from coreo_shared.exports.subject import Subject
from coreo_shared.exports.tabular import as_json, write_array

_LABELS: Final[Mapping[Severity, str]] = {
    Severity.INFO: "INFORMATIONAL",
    Severity.LOW: "LOW",
    Severity.MEDIUM: "MEDIUM",
    Severity.HIGH: "HIGH",
    Severity.CRITICAL: "CRITICAL",
}
_VERDICTS: Final[Mapping[FindingStatus, str]] = {
    FindingStatus.PASS: "PASSED",
    FindingStatus.FAIL: "FAILED",
    FindingStatus.SUPPRESSED: "FAILED",
    FindingStatus.NOT_EVALUATED: "NOT_AVAILABLE",
}
# Lengths in characters, from the format's documentation.
_MAX_TITLE: Final = 256
_MAX_TEXT: Final = 1_024
_MAX_REMEDIATION: Final = 512
_MAX_RESOURCE: Final = 512
_MAX_REQUIREMENTS: Final = 32
# Of a resource's details: pairs, and "fewer than" 128 and 1,024 characters of a name and its value.
_MAX_DETAILS: Final = 50
_MAX_NAME: Final = 127
_MAX_VALUE: Final = 1_023


def write(findings: Iterable[Finding], subject: Subject, facts: Facts, out: TextIO) -> None:
    """An array of findings."""
    write_array((asff_finding(finding, subject, facts.of(finding)) for finding in findings), out)
    out.write("\n")


def asff_finding(finding: Finding, subject: Subject, facts: RuleFacts) -> dict[str, Any]:
    """One finding. Its id is the same in every run, so that Security Hub updates what it has."""
    observed = _time(subject.ended_at)
    # Global resources are reported to the region whose endpoints answer for them.
    region = finding.region if finding.region != "global" else _home(subject.partition)
    product = f"arn:{subject.partition}:securityhub:{region}:{subject.account_id}:product/{subject.account_id}/default"
    resource = finding.resource_arn or finding.resource_id
    return {
        "SchemaVersion": "2018-10-08",
        "Id": f"coreo/{finding.fingerprint}",
        "ProductArn": product,
        "ProductName": "Coreo",
        "CompanyName": "Coreo",
        "Region": region,
        "GeneratorId": f"coreo/{finding.rule_id}",
        "AwsAccountId": subject.account_id,
        "Types": ["Software and Configuration Checks/AWS Security Best Practices"],
        "FirstObservedAt": observed,
        "LastObservedAt": observed,
        "CreatedAt": observed,
        "UpdatedAt": observed,
        "Severity": {"Label": _LABELS[finding.severity], "Original": finding.severity.value},
        "Title": cut(facts.title, _MAX_TITLE),
        "Description": cut(finding.message.strip() or facts.title, _MAX_TEXT),
        "Remediation": {
            "Recommendation": {
                "Text": cut(facts.console or "See the rule's documentation.", _MAX_REMEDIATION),
                **({"Url": facts.references[0]} if facts.references else {}),
            }
        },
        "ProductFields": {"coreo/run_id": subject.run_id, "coreo/status": finding.status.value},
        "Resources": [
            {
                "Type": TYPES.get(finding.resource_type, OTHER),
                "Id": cut(resource, _MAX_RESOURCE),
                "Partition": subject.partition,
                "Region": region,
                "Details": {"Other": _details(finding)},
            }
        ],
        "Compliance": _compliance(finding, facts),
        "Workflow": {"Status": "SUPPRESSED" if finding.status is FindingStatus.SUPPRESSED else "NEW"},
        "RecordState": "ACTIVE",
    }


def _compliance(finding: Finding, facts: RuleFacts) -> dict[str, Any]:
    requirements = [f"{name}/{control}" for name, ids in facts.controls.items() for control in ids]
    found: dict[str, Any] = {
        "Status": _VERDICTS[finding.status],
        "RelatedRequirements": requirements[:_MAX_REQUIREMENTS],
    }
    if finding.status is FindingStatus.NOT_EVALUATED:
        found["StatusReasons"] = [
            {"ReasonCode": "NOT_EVALUATED", "Description": cut(finding.reason or "unknown", _MAX_TEXT)}
        ]
    return found


def _details(finding: Finding) -> dict[str, str]:
    details = {"ResourceType": finding.resource_type, "ResourceName": finding.resource_id}
    details |= {name: value if isinstance(value, str) else as_json(value) for name, value in finding.evidence.items()}
    # Security Hub refuses a batch in which a name or value is blank.
    told = [(name, value) for name, value in details.items() if name.strip() and value.strip()]
    return {cut(name, _MAX_NAME): cut(value, _MAX_VALUE) for name, value in told[:_MAX_DETAILS]}


def _home(partition: str) -> str:
    return {"aws-cn": "cn-northwest-1", "aws-us-gov": "us-gov-west-1"}.get(partition, "us-east-1")


def _time(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def cut(text: str, length: int) -> str:
    """The text, or its beginning with an ellipsis."""
    return text if len(text) <= length else f"{text[: length - 1]}…"
