"""OCSF 1.5 compliance findings (class 2003), as a JSON array: https://schema.ocsf.io/1.5.0/classes/compliance_finding."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final, TextIO

from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus, Severity
from coreo_shared.exports.rows import Facts, RuleFacts
from coreo_shared.exports.subject import Subject
from coreo_shared.exports.tabular import write_array

_VERSION: Final = "1.5.0"
_CLASS: Final = 2003
_CREATE: Final = 1  # of the activities of a finding
_SEVERITIES: Final[Mapping[Severity, tuple[int, str]]] = {
    Severity.INFO: (1, "Informational"),
    Severity.LOW: (2, "Low"),
    Severity.MEDIUM: (3, "Medium"),
    Severity.HIGH: (4, "High"),
    Severity.CRITICAL: (5, "Critical"),
}
# "Warning" is the schema's word for a check without a result for want of information.
_VERDICTS: Final[Mapping[FindingStatus, tuple[int, str]]] = {
    FindingStatus.PASS: (1, "Pass"),
    FindingStatus.NOT_EVALUATED: (2, "Warning"),
    FindingStatus.FAIL: (3, "Fail"),
    FindingStatus.SUPPRESSED: (3, "Fail"),
}
_NEW: Final = (1, "New")
_SUPPRESSED: Final = (3, "Suppressed")


def write(findings: Iterable[Finding], subject: Subject, facts: Facts, out: TextIO) -> None:
    """An array of events."""
    write_array((event(finding, subject, facts.of(finding)) for finding in findings), out)
    out.write("\n")


def event(finding: Finding, subject: Subject, facts: RuleFacts) -> dict[str, Any]:
    """One finding as an event."""
    severity_id, severity = _SEVERITIES[finding.severity]
    status_id, status = _SUPPRESSED if finding.status is FindingStatus.SUPPRESSED else _NEW
    observed = milliseconds(subject.ended_at)
    return {
        "class_uid": _CLASS,
        "class_name": "Compliance Finding",
        "category_uid": 2,
        "category_name": "Findings",
        "activity_id": _CREATE,
        "activity_name": "Create",
        "type_uid": _CLASS * 100 + _CREATE,
        "type_name": "Compliance Finding: Create",
        "time": observed,
        "start_time": milliseconds(subject.started_at),
        "end_time": observed,
        "severity_id": severity_id,
        "severity": severity,
        "status_id": status_id,
        "status": status,
        "status_code": finding.status.value,
        **({"status_detail": finding.reason} if finding.reason else {}),
        "message": finding.message,
        "metadata": {
            "version": _VERSION,
            "event_code": finding.rule_id,
            "product": {"name": "Coreo", "uid": "coreo", "vendor_name": "Coreo", "version": subject.version},
            "profiles": ["cloud", "datetime"],
            "tenant_uid": subject.account_id,
            "uid": f"{subject.run_id}-{finding.fingerprint}",
        },
        "cloud": {
            "provider": "AWS",
            "account": {
                "uid": subject.account_id,
                "name": subject.account_id,
                "type": "AWS Account",
                "type_id": 10,
            },
            "region": finding.region,
        },
        "finding_info": {
            "uid": finding.fingerprint,
            "title": facts.title,
            "desc": facts.rationale or finding.message,
            "created_time": observed,
            "types": ["Software and Configuration Checks"],
            "analytic": {"name": facts.title, "uid": finding.rule_id, "type": "Rule", "type_id": 1},
        },
        "compliance": _compliance(finding, facts),
        "resources": [_resource(finding, subject, facts)],
        **({"remediation": _remediation(facts)} if facts.console else {}),
        "unmapped": {
            "run_id": subject.run_id,
            "rule_id": finding.rule_id,
            "aliases": list(facts.aliases),
            "missing_actions": finding.missing_actions,
        },
    }


def _compliance(finding: Finding, facts: RuleFacts) -> dict[str, Any]:
    status_id, status = _VERDICTS[finding.status]
    found: dict[str, Any] = {
        "status_id": status_id,
        "control": finding.rule_id,
        "desc": facts.title,
        "standards": list(facts.controls),
        "requirements": [f"{name} {control}" for name, ids in facts.controls.items() for control in ids],
        "checks": [{"uid": finding.rule_id, "name": facts.title, "status_id": status_id, "status": status}],
    }
    return found


def _resource(finding: Finding, subject: Subject, facts: RuleFacts) -> dict[str, Any]:
    return {
        "uid": finding.resource_arn or finding.resource_id,
        "name": finding.resource_id,
        "type": finding.resource_type,
        "region": finding.region,
        "cloud_partition": subject.partition,
        "group": {"name": facts.service},
        "data": {"evidence": finding.evidence},
    }


def _remediation(facts: RuleFacts) -> dict[str, Any]:
    steps = [facts.console, *([f"AWS CLI: {facts.cli}"] if facts.cli else [])]
    return {"desc": "\n".join(steps), "references": list(facts.references)}


def milliseconds(when: datetime) -> int:
    """Since 1970, as OCSF gives times."""
    return round(when.timestamp() * 1_000)
