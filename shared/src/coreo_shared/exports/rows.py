"""A finding together with what the catalogue says of its rule: what most formats are made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from coreo_shared.catalogue import Catalogue
from coreo_shared.contracts.findings import Finding
from coreo_shared.exports.subject import Subject


@dataclass(frozen=True)
class RuleFacts:
    """What the catalogue says of a rule. One that it does not know, such as a team's own, has its id as its title."""

    id: str
    title: str
    service: str
    rationale: str = ""
    console: str = ""
    cli: str = ""
    cloudformation: str = ""
    references: tuple[str, ...] = ()
    controls: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()


class Facts:
    """The catalogue, asked once for each rule."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self._known: dict[str, RuleFacts] = {}

    def of(self, finding: Finding) -> RuleFacts:
        """On the rule of a finding."""
        return self.named(finding.rule_id, finding.resource_type)

    def named(self, rule_id: str, resource_type: str = "") -> RuleFacts:
        """On a rule."""
        if rule_id not in self._known:
            self._known[rule_id] = self._look_up(rule_id, resource_type)
        return self._known[rule_id]

    def _look_up(self, rule_id: str, resource_type: str) -> RuleFacts:
        rule = self.catalogue.rules.get(rule_id)
        if rule is None:
            return RuleFacts(rule_id, rule_id, _service_of(resource_type))
        written = rule.definition
        return RuleFacts(
            id=rule_id,
            title=written.title,
            service=_service_of(rule.resource),
            rationale=written.rationale,
            console=written.remediation.console,
            cli=written.remediation.cli or "",
            cloudformation=written.remediation.cloudformation or "",
            references=tuple(written.references),
            controls=self.catalogue.controls[rule_id],
            aliases=tuple(written.aliases),
        )


def _service_of(resource_type: str) -> str:
    """`s3` of `aws.s3.bucket`."""
    parts = resource_type.split(".")
    return parts[1] if len(parts) > 1 else "other"


def row(finding: Finding, subject: Subject, facts: RuleFacts) -> dict[str, Any]:
    """A finding on its own: everything that somebody who has nothing else needs to know."""
    return {
        "rule_id": finding.rule_id,
        "title": facts.title,
        "status": finding.status.value,
        "severity": finding.severity.value,
        "service": facts.service,
        "resource_type": finding.resource_type,
        "resource_id": finding.resource_id,
        "resource_arn": finding.resource_arn,
        "region": finding.region,
        "account_id": subject.account_id,
        "partition": subject.partition,
        "message": finding.message,
        "reason": finding.reason,
        "missing_actions": finding.missing_actions,
        "evidence": finding.evidence,
        "rationale": facts.rationale,
        "remediation": {"console": facts.console, "cli": facts.cli, "cloudformation": facts.cloudformation},
        "references": facts.references,
        "controls": facts.controls,
        "aliases": facts.aliases,
        "fingerprint": finding.fingerprint,
        "run_id": subject.run_id,
        "observed_at": subject.ended_at.isoformat(),
    }
