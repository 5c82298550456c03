"""JUnit XML, for CI systems: a suite for each service, a case for each finding.

What could not be judged is an error, which CI systems show as not passed; what is suppressed is skipped.
"""

import re
from collections.abc import Iterable
from typing import Final, TextIO
from xml.sax.saxutils import escape, quoteattr

from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.exports.rows import Facts, RuleFacts
from coreo_shared.exports.subject import Subject
from coreo_shared.exports.tabular import as_json

# What XML 1.0 does not let a document hold, even escaped.
_FORBIDDEN: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class _Suite:
    """The cases of a service as XML, for the counts come before them."""

    def __init__(self) -> None:
        self.cases: list[str] = []
        self.failures = self.errors = self.skipped = 0


def write(findings: Iterable[Finding], subject: Subject, facts: Facts, out: TextIO) -> None:
    """A document of suites."""
    suites: dict[str, _Suite] = {}
    for finding in findings:
        of_rule = facts.of(finding)
        suite = suites.setdefault(of_rule.service, _Suite())
        suite.cases.append(_case(finding, of_rule))
        suite.failures += finding.status is FindingStatus.FAIL
        suite.errors += finding.status is FindingStatus.NOT_EVALUATED
        suite.skipped += finding.status is FindingStatus.SUPPRESSED
    seconds = (subject.ended_at - subject.started_at).total_seconds()
    total = sum(len(suite.cases) for suite in suites.values())
    failures = sum(suite.failures for suite in suites.values())
    errors = sum(suite.errors for suite in suites.values())
    out.write('<?xml version="1.0" encoding="UTF-8"?>\n')
    out.write(
        f'<testsuites name="coreo" tests="{total}" failures="{failures}" errors="{errors}" time="{seconds:.3f}">\n'
    )
    for name, suite in sorted(suites.items()):
        out.write(
            f'<testsuite name={_attribute(name)} tests="{len(suite.cases)}" failures="{suite.failures}" '
            f'errors="{suite.errors}" skipped="{suite.skipped}" hostname={_attribute(subject.account_id)} '
            f'timestamp="{subject.started_at.replace(tzinfo=None).isoformat(timespec="seconds")}">\n'
        )
        out.writelines(suite.cases)
        out.write("</testsuite>\n")
    out.write("</testsuites>\n")


def _case(finding: Finding, facts: RuleFacts) -> str:
    where = f"{finding.region} {finding.resource_arn or finding.resource_id}"
    opening = f"<testcase classname={_attribute(finding.rule_id)} name={_attribute(where)}"
    match finding.status:
        case FindingStatus.PASS:
            return f"{opening}/>\n"
        case FindingStatus.SUPPRESSED:
            why = f"{finding.message} Suppressed: {finding.reason}" if finding.reason else finding.message
            return f"{opening}><skipped message={_attribute(why)}/></testcase>\n"
        case FindingStatus.NOT_EVALUATED:
            words = (
                f"{finding.reason or finding.message}\nMissing IAM actions: {' '.join(finding.missing_actions) or '-'}"
            )
            kind, name = "error", "NotEvaluated"
        case _:
            words = f"{facts.title}\n{as_json(finding.evidence)}\n{facts.console}"
            kind, name = "failure", finding.severity.value
    inner = f"<{kind} type={_attribute(name)} message={_attribute(finding.message)}>{_text(words)}</{kind}>"
    return f"{opening}>{inner}</testcase>\n"


def _attribute(text: str) -> str:
    return quoteattr(_FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text))


def _text(text: str) -> str:
    return escape(_FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", text))
