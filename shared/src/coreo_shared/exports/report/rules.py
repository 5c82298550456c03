"""A rule in the page: what is wrong, where, why it matters, how to put it right."""

import json
from typing import Final

from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.exports.report.markup import Html, element
from coreo_shared.exports.report.tally import RuleTally
from coreo_shared.exports.tabular import as_json

_MAX_EVIDENCE: Final = 4_000  # characters
_WEB: Final = ("https://", "http://")


def rule_section(rule: RuleTally, status: FindingStatus, words: tuple[str, str]) -> Html:
    """One rule's findings of a status, folded. `words`: the status in words, and its class."""
    facts, findings, total = rule.facts, rule.shown.get(status, []), rule.by_status[status]
    label, kind = words
    badge = (rule.severity.value, rule.severity.value) if status is FindingStatus.FAIL else (label, kind)
    more = total - len(findings)
    return element(
        "details",
        element(
            "summary",
            element("span", badge[0], class_=f"badge {badge[1]}"),
            element("span", facts.title, element("span", facts.id, class_="id"), class_="title"),
            element("span", f"{total:,} {label}", class_="count"),
        ),
        element(
            "div",
            element("p", facts.rationale) if facts.rationale else None,
            _table(findings) if findings else None,
            element("p", f"and {more:,} more" if findings else "Not shown one by one.", class_="quiet")
            if more
            else None,
            _remedy(rule) if status is FindingStatus.FAIL else None,
            _controls(rule),
            _references(rule),
            class_="inside",
        ),
        class_="rule",
        data_severity=rule.severity.value,
        data_status=label,
        data_service=facts.service,
    )


def _table(findings: list[Finding]) -> Html:
    rows = [
        element(
            "tr",
            element("td", finding.resource_id, _arn(finding)),
            element("td", finding.region, class_="place"),
            element("td", _words(finding), _evidence(finding)),
        )
        for finding in findings
    ]
    head = element("tr", *(element("th", each, scope="col") for each in ("Resource", "Region", "What was found")))
    return element("div", element("table", element("thead", head), element("tbody", *rows)), class_="scroll")


def _arn(finding: Finding) -> Html | None:
    return element("span", finding.resource_arn, class_="id") if finding.resource_arn else None


def _words(finding: Finding) -> str:
    parts = [finding.message]
    if finding.reason and finding.reason not in finding.message:
        parts.append(finding.reason)
    if finding.missing_actions:
        parts.append(f"Missing IAM actions: {', '.join(finding.missing_actions)}")
    return " · ".join(part for part in parts if part)


def _evidence(finding: Finding) -> Html | None:
    if not finding.evidence:
        return None
    text = json.dumps(json.loads(as_json(finding.evidence)), indent=2, ensure_ascii=False)
    shown = text if len(text) <= _MAX_EVIDENCE else f"{text[:_MAX_EVIDENCE]}\n… cut here"
    return element("details", element("summary", "Evidence"), element("pre", shown))


def _remedy(rule: RuleTally) -> Html | None:
    facts = rule.facts
    ways = (
        ("In the console", "p", facts.console),
        ("AWS CLI", "pre", facts.cli),
        ("CloudFormation", "pre", facts.cloudformation),
    )
    parts = [part for name, tag, text in ways if text for part in (element("h3", name), element(tag, text))]
    return element("div", *parts) if parts else None


def _controls(rule: RuleTally) -> Html | None:
    if not rule.facts.controls:
        return None
    told = "; ".join(f"{name} {', '.join(ids)}" for name, ids in rule.facts.controls.items())
    return element("p", element("b", "Controls: "), told, class_="quiet")


def _references(rule: RuleTally) -> Html | None:
    links = [
        element("a", each, href=each, rel="noopener noreferrer", target="_blank")
        if each.startswith(_WEB)
        else element("span", each)
        for each in rule.facts.references
    ]
    return (
        element("p", element("b", "More: "), *(part for link in links for part in (link, " ")), class_="quiet")
        if links
        else None
    )
