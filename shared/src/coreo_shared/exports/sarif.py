"""SARIF 2.1.0, for code scanning: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html.

Results come first and the rules, which only then are known, after them: JSON's members have no order.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus, Severity
from coreo_shared.exports.rows import Facts, RuleFacts
from coreo_shared.exports.subject import Subject
from coreo_shared.exports.tabular import as_json, write_array

_SCHEMA: Final = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS: Final[Mapping[Severity, str]] = {
    Severity.CRITICAL: "error",
    Severity.HIGH: "error",
    Severity.MEDIUM: "warning",
    Severity.LOW: "note",
    Severity.INFO: "note",
}
# The score by which code scanning sorts: critical from 9, high from 7, medium from 4.
_SCORES: Final[Mapping[Severity, str]] = {
    Severity.CRITICAL: "9.5",
    Severity.HIGH: "8.0",
    Severity.MEDIUM: "5.5",
    Severity.LOW: "2.0",
    Severity.INFO: "0.0",
}
# "open": the tool could not decide. Only "fail" has a level.
_KINDS: Final[Mapping[FindingStatus, str]] = {
    FindingStatus.PASS: "pass",
    FindingStatus.FAIL: "fail",
    FindingStatus.SUPPRESSED: "fail",
    FindingStatus.NOT_EVALUATED: "open",
}


def write(findings: Iterable[Finding], subject: Subject, facts: Facts, out: TextIO) -> None:
    """A log of one run."""
    rules: dict[str, tuple[int, RuleFacts, Severity]] = {}

    def results() -> Iterable[dict[str, Any]]:
        for finding in findings:
            known = rules.setdefault(finding.rule_id, (len(rules), facts.of(finding), finding.severity))
            yield result(finding, known[0])

    out.write(f'{{"$schema": "{_SCHEMA}", "version": "2.1.0", "runs": [{{"results": ')
    write_array(results(), out)
    out.write(f',\n"invocations": {as_json([_invocation(subject)])}')
    out.write(f',\n"automationDetails": {as_json({"id": f"coreo/{subject.account_id}/{subject.run_id}"})}')
    out.write(f',\n"columnKind": "unicodeCodePoints", "tool": {as_json(_tool(subject, rules.values()))}}}]}}\n')


def result(finding: Finding, rule_index: int) -> dict[str, Any]:
    """One finding. It is at a logical place, for it has no file."""
    kind = _KINDS[finding.status]
    name = finding.resource_arn or finding.resource_id
    unknown = finding.reason and finding.status is FindingStatus.NOT_EVALUATED
    words = f"{finding.message} {finding.reason}" if unknown else finding.message
    found: dict[str, Any] = {
        "ruleId": finding.rule_id,
        "ruleIndex": rule_index,
        "kind": kind,
        "level": _LEVELS[finding.severity] if kind == "fail" else "none",
        "message": {"text": words or finding.rule_id},
        "locations": [
            {
                # Code scanning asks for a file and a line; the resource's path stands for them.
                "physicalLocation": {"artifactLocation": {"uri": _uri(name)}, "region": {"startLine": 1}},
                "logicalLocations": [
                    {"fullyQualifiedName": name, "name": finding.resource_id, "kind": finding.resource_type}
                ],
            }
        ],
        # The second is the only one that GitHub knows alerts by; without it they are new whenever a name changes.
        "partialFingerprints": {"coreo/v1": finding.fingerprint, "primaryLocationLineHash": finding.fingerprint},
        "properties": {
            "status": finding.status.value,
            "severity": finding.severity.value,
            "region": finding.region,
            "evidence": finding.evidence,
            "missingActions": finding.missing_actions,
        },
    }
    if finding.status is FindingStatus.SUPPRESSED:
        why = {"justification": finding.reason} if finding.reason else {}
        found["suppressions"] = [{"kind": "external", "status": "accepted", **why}]
    return found


def _uri(name: str) -> str:
    """A relative reference that no parser stumbles over."""
    return "aws/" + "".join(each if each.isascii() and (each.isalnum() or each in "-._/") else "_" for each in name)


def _tool(subject: Subject, rules: Iterable[tuple[int, RuleFacts, Severity]]) -> dict[str, Any]:
    return {
        "driver": {
            "name": "Coreo",
            "organization": "Coreo",
            "version": subject.version,
            "semanticVersion": subject.version,
            "rules": [_rule(facts, severity) for _, facts, severity in rules],
        }
    }


def _rule(facts: RuleFacts, severity: Severity) -> dict[str, Any]:
    described = facts.rationale or facts.title
    steps = [facts.console, f"AWS CLI: {facts.cli}" if facts.cli else ""]
    help_text = "\n\n".join(part for part in (described, *steps) if part)
    return {
        "id": facts.id,
        "name": "".join(word.title() for word in facts.id.split("-")),
        "shortDescription": {"text": facts.title},
        "fullDescription": {"text": described},
        "help": {"text": help_text},
        **({"helpUri": facts.references[0]} if facts.references else {}),
        "defaultConfiguration": {"level": _LEVELS[severity]},
        "properties": {
            # GitHub refuses a file that has a rule with more than 20 tags; the controls alone can be twice as many.
            "tags": ["security", facts.service, *facts.controls],
            "controls": facts.controls,
            "aliases": facts.aliases,
            "precision": "very-high",
            "problem.severity": {"error": "error", "warning": "warning"}.get(_LEVELS[severity], "recommendation"),
            "security-severity": _SCORES[severity],
        },
    }


def _invocation(subject: Subject) -> dict[str, Any]:
    return {
        "executionSuccessful": subject.complete,
        "startTimeUtc": _time(subject.started_at),
        "endTimeUtc": _time(subject.ended_at),
        "properties": {"accountId": subject.account_id, "regions": list(subject.regions)},
    }


def _time(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
