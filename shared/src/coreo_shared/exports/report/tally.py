"""What a report says of findings, gathered while they pass: counts of all, and the text of a bounded number."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from coreo_shared.catalogue.compliance import RuleCounts
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus, Severity
from coreo_shared.exports.rows import Facts, RuleFacts

MAX_OF_RULE: Final = 200  # findings of a rule and status that are shown
MAX_SHOWN: Final = 5_000  # findings that are shown at all: browsers get slow after that
# What is shown, and what gives way first when there is no more room.
_ORDER: Final = (FindingStatus.SUPPRESSED, FindingStatus.NOT_EVALUATED, FindingStatus.FAIL)


@dataclass
class RuleTally:
    """What was found by one rule: counts by status, and the findings to show."""

    facts: RuleFacts
    severity: Severity
    by_status: Counter[FindingStatus] = field(default_factory=Counter)
    shown: dict[FindingStatus, list[Finding]] = field(default_factory=dict)

    def counts(self) -> RuleCounts:
        """For the frameworks' summaries."""
        return RuleCounts(
            passed=self.by_status[FindingStatus.PASS],
            failed=self.by_status[FindingStatus.FAIL],
            not_evaluated=self.by_status[FindingStatus.NOT_EVALUATED],
            suppressed=self.by_status[FindingStatus.SUPPRESSED],
        )


@dataclass
class Tally:
    """What was found by all rules."""

    rules: dict[str, RuleTally] = field(default_factory=dict)
    by_status: Counter[FindingStatus] = field(default_factory=Counter)
    failed_by_severity: Counter[Severity] = field(default_factory=Counter)
    failed_by_service: Counter[str] = field(default_factory=Counter)
    failed_by_region: Counter[str] = field(default_factory=Counter)
    shown: int = 0
    # What is kept, none empty, by how much it matters.
    _kept: dict[tuple[int, int], list[list[Finding]]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many findings there are."""
        return sum(self.by_status.values())

    def with_status(self, status: FindingStatus) -> list[RuleTally]:
        """The rules that have findings of this status, the most severe first."""
        return sorted(
            (rule for rule in self.rules.values() if rule.by_status[status]),
            key=lambda rule: (-rule.severity.rank, -rule.by_status[status], rule.facts.id),
        )

    def add(self, finding: Finding, facts: RuleFacts) -> None:
        """Counts one finding, and keeps it if there is room or one that matters less."""
        rule = self.rules.setdefault(finding.rule_id, RuleTally(facts, finding.severity))
        rule.by_status[finding.status] += 1
        self.by_status[finding.status] += 1
        if finding.status is FindingStatus.FAIL:
            self.failed_by_severity[finding.severity] += 1
            self.failed_by_service[facts.service] += 1
            self.failed_by_region[finding.region] += 1
        if finding.status in _ORDER:
            self._keep(rule.shown.setdefault(finding.status, []), finding)

    def _keep(self, of_rule: list[Finding], finding: Finding) -> None:
        if len(of_rule) == MAX_OF_RULE:
            return
        level = (_ORDER.index(finding.status), finding.severity.rank)
        if self.shown == MAX_SHOWN:
            least = min(self._kept)
            if level <= least:
                return
            self._drop(least)
        self.shown += 1
        if not of_rule:
            self._kept.setdefault(level, []).append(of_rule)
        of_rule.append(finding)

    def _drop(self, level: tuple[int, int]) -> None:
        lists = self._kept[level]
        lists[-1].pop()
        self.shown -= 1
        if not lists[-1]:
            lists.pop()
        if not lists:
            del self._kept[level]


def tally(findings: Iterable[Finding], facts: Facts) -> Tally:
    """Counts the findings, and keeps those to show."""
    found = Tally()
    for finding in findings:
        found.add(finding, facts.of(finding))
    return found
