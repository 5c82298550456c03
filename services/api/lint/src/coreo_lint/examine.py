"""Everything about one template whose shape is bounded (see coreo_lint.shape)."""

from coreo_lint.facts import capabilities_of, parameters_of, resources_of
from coreo_lint.linting import decode, lint
from coreo_lint.protocol import Answer, Finding, Request
from coreo_lint.values import misfits


def examine(request: Request) -> Answer:
    """What the template declares, what is wrong with it, and what of the plan does not fit it."""
    answer = Answer()
    template, problems = decode(request.template)
    for problem in problems:
        answer.add(problem)
    if template is None:
        return answer
    answer.parameters = parameters_of(template)
    answer.resources = resources_of(template)
    answer.capabilities = capabilities_of(template)
    answer.misfits = misfits(template, request)
    found = lint(template, request.regions)
    for finding in (*_of(found, "error"), *_of(found, "warning"), *_of(found, "info")):  # should some be left out
        answer.add(finding)
    answer.findings.sort(key=lambda finding: (finding.line, finding.column, finding.rule))
    return answer


def _of(findings: list[Finding], level: str) -> list[Finding]:
    return [finding for finding in findings if finding.level == level]
