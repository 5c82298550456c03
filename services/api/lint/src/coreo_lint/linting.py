"""cfn-lint on a template in memory: the one module that knows it."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from cfnlint.config import ConfigMixIn
from cfnlint.decode.decode import decode_str
from cfnlint.helpers import REGIONS
from cfnlint.runner import Runner

from coreo_lint.protocol import Finding

# What a template may say to cfn-lint in its metadata. Everything else names files, or code.
_OF_TEMPLATE: Final = frozenset({"ignore_checks", "include_checks", "configure_rules"})
_RULE_BROKE: Final = "E0002"  # says something of cfn-lint, not of the template
_LEVELS: Final = {"error": "error", "warning": "warning"}


def decode(text: str) -> tuple[Mapping[str, Any] | None, list[Finding]]:
    """The template as nodes that know their lines; else None, and why it cannot be read."""
    template, problems = decode_str(text)
    if problems:
        return None, list(_findings(problems))
    if not isinstance(template, dict):
        return None, [Finding("E0000", "error", 1, 1, "A template is a mapping with a section Resources.")]
    if (problem := _sections_problem(template)) is not None:
        return None, [problem]
    return template, []


def lint(template: Mapping[str, Any], regions: tuple[str, ...]) -> list[Finding]:
    """What cfn-lint says of a decoded template, in the order of its lines. Changes the template's metadata."""
    _keep_harmless(template)
    known = [region for region in regions if region in REGIONS]
    config = ConfigMixIn(regions=known or ["us-east-1"])
    found = list(_findings(Runner(config).validate_template(template)))
    return sorted(found, key=lambda finding: (finding.line, finding.column, finding.rule))


def line_of(node: object) -> int:
    """Where a node of a decoded template begins."""
    mark = getattr(node, "start_mark", None)
    return 1 if mark is None else int(mark.line) + 1


def _findings(matches: Any) -> Iterator[Finding]:
    for match in matches:
        level = "warning" if match.rule.id == _RULE_BROKE else _LEVELS.get(str(match.rule.severity), "info")
        yield Finding(match.rule.id, level, int(match.linenumber), int(match.columnnumber), str(match.message))


def _sections_problem(template: Mapping[str, Any]) -> Finding | None:
    """cfn-lint reads these before it looks whether they are what they should be."""
    for name in ("Metadata", "Parameters", "Resources", "Conditions", "Mappings", "Outputs"):
        section = template.get(name)
        if section is not None and not isinstance(section, dict):
            return Finding("E1001", "error", line_of(section), 1, f"The section {name} is a mapping.")
    for value in (template.get("Metadata") or {}, (template.get("Metadata") or {}).get("cfn-lint")):
        if value is not None and not isinstance(value, dict):
            return Finding("E1001", "error", line_of(value), 1, "Metadata.cfn-lint is a mapping.")
    return None


def _keep_harmless(template: Mapping[str, Any]) -> None:
    own = (template.get("Metadata") or {}).get("cfn-lint")
    config = own.get("config") if isinstance(own, dict) else None
    if isinstance(config, dict):
        for name in set(config) - _OF_TEMPLATE:
            del config[name]
