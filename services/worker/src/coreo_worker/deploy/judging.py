"""Audit rules on a template, before there is anything to audit."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import structlog

from coreo_shared.catalogue import Catalogue
from coreo_shared.catalogue.packs import PackError, catalogue_with
from coreo_shared.cloudformation.items import TemplateItems, TemplateResource
from coreo_shared.cloudformation.reading import TemplateTextError, read_template
from coreo_shared.cloudformation.resolving import Place
from coreo_shared.contracts.deploys import DeploySpec, TemplateFinding
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.rules.compiler import CompiledRule, compile_rule, not_evaluated
from coreo_shared.rules.errors import ParameterError
from coreo_shared.rules.values import Relations, Unknown, Verdict
from coreo_worker.audit.evaluate import rules_by_type
from coreo_worker.audit.evidence import plain_text
from coreo_worker.deploy.previews import Judged
from coreo_worker.deploy.problems import Problem, ProblemError

MAX_FINDINGS: Final = 2_000
_LONGEST_MESSAGE: Final = 1_000  # characters
_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class TemplateJudge:
    """The plan's rules, ready to judge a template. Raises ProblemError where the plan's rules cannot be used."""

    spec: DeploySpec

    def judge(self, text: str, place: Place) -> Judged:
        """What the rules say of the template's resources."""
        try:
            template = read_template(text)
        except TemplateTextError as error:
            return self._not_judged(str(error))
        items = TemplateItems(template, place, self.spec.parameters)
        by_type = rules_by_type(self._compiled())
        findings: list[TemplateFinding] = []
        passed = 0
        for resource in items.read():
            for finding in _findings(resource, by_type.get(resource.resource_type, [])):
                if finding.status is FindingStatus.PASS:
                    passed += 1
                else:
                    findings.append(finding)
        # The worst first: what is left out must not be what the plan refuses.
        findings.sort(key=lambda one: (one.status is not FindingStatus.FAIL, -one.severity.rank))
        return Judged(findings[:MAX_FINDINGS], passed, _notes(findings, items))

    def _not_judged(self, why: str) -> Judged:
        """Where the plan refuses what fails, nobody can say that this does not."""
        said = f"The template could not be judged by the rules: {why}."
        if self.spec.refuse_severity is None:
            return Judged(notes=[said])
        raise ProblemError(
            Problem("rules_refused", f"{said} The plan applies none that its rules refuse: put that right first.")
        )

    def _compiled(self) -> Iterator[CompiledRule]:
        catalogue = self._catalogue()
        try:
            for rule_id in self.spec.rules:
                yield compile_rule(catalogue.rules[rule_id], self.spec.rule_parameters)
        except KeyError:
            raise ProblemError(
                Problem(
                    "rules_unknown", "The worker does not know one of the plan's rules: bring the workers up to date."
                )
            ) from None
        except ParameterError as error:
            raise ProblemError(Problem("rules_unusable", f"The plan's rules cannot be used. {error}")) from None

    def _catalogue(self) -> Catalogue:
        try:
            return catalogue_with(tuple(pack.text for pack in self.spec.packs))
        except PackError:
            names = ", ".join(f"{pack.name}@{pack.version}" for pack in self.spec.packs)
            raise ProblemError(
                Problem(
                    "rules_unusable", f"The rule packs ({names}) cannot be used by this worker. Validate them anew."
                )
            ) from None


def _findings(resource: TemplateResource, rules: list[CompiledRule]) -> Iterator[TemplateFinding]:
    for compiled in rules:
        verdict = _verdict(compiled, resource)
        if verdict is not None:
            yield TemplateFinding(
                rule_id=compiled.rule.id,
                status=verdict.status,
                severity=compiled.rule.severity,
                logical_id=plain_text(resource.logical_id),
                type=plain_text(resource.cloudformation),
                message=plain_text(verdict.message)[:_LONGEST_MESSAGE],
                reason=verdict.reason,
            )


def _verdict(compiled: CompiledRule, resource: TemplateResource) -> Verdict | None:
    """As an audit's: a rule that trips over an odd resource says so, and takes nothing else down with it."""
    try:
        verdict = None if resource.told is None else compiled.evaluate(resource.told, Relations())
        if verdict is None or verdict.status is not FindingStatus.FAIL:
            verdict = compiled.evaluate(resource.item, Relations())
    except Exception as error:  # noqa: BLE001  reported twice: in the log, and as a finding that is no PASS
        _log.error("rule_failed", rule_id=compiled.rule.id, error=type(error).__name__)
        return not_evaluated(frozenset({Unknown(f"the rule failed on this resource ({type(error).__name__})")}))
    if verdict is not None and verdict.status is FindingStatus.FAIL and resource.uncertain is not None:
        return not_evaluated(frozenset({resource.uncertain}))
    return verdict


def _notes(findings: list[TemplateFinding], items: TemplateItems) -> list[str]:
    notes = []
    if items.unmapped:
        named = ", ".join(sorted(plain_text(name) for name in items.unmapped)[:20])
        notes.append(f"No rule can judge these types before they are made: {named}.")
    if len(findings) > MAX_FINDINGS:
        notes.append(f"{len(findings) - MAX_FINDINGS} more findings of the rules are left out.")
    return notes
