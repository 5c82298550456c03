"""Writes docs/coverage.md from the catalogue: `python -m tests.support.coverage`. A test sees that it was done."""

from collections import Counter
from pathlib import Path

from coreo_shared.catalogue import Catalogue, load_catalogue
from coreo_shared.catalogue.compliance import controls_in
from coreo_shared.catalogue.frameworks import Framework, load_frameworks

FILE = Path(__file__).parents[2] / "docs" / "coverage.md"


def coverage_text() -> str:
    """The page."""
    catalogue = load_catalogue()
    services = Counter(rule.resource.split(".")[1] for rule in catalogue.rules.values())
    types = Counter(name.split(".")[1] for name in catalogue.resource_types)
    lines = [
        "# What the catalogue covers",
        "",
        "Written by `.venv/bin/python -m tests.support.coverage`; `make test` refuses a stale page.",
        "",
        f"**{len(catalogue.rules)} rules** over {len(catalogue.resource_types)} types of {len(services)} services.",
        "",
        "## Frameworks that are here as a whole",
        "",
        "*Automated* are the controls that their publisher says a tool can answer. Rules help with manual ones too,",
        "but a person answers those.",
        "",
        "| framework | controls | automated | with rules | share of the automated | manual with rules | rules |",
        "|---|---|---|---|---|---|---|",
        *(_framework_row(framework, catalogue) for framework in _frameworks(partial=False)),
        "",
        *_missing(catalogue),
        "## Broad frameworks",
        "",
        "Just the controls are here that bear on an AWS account's configuration; rules lead to them through what they",
        "serve (`objectives.yaml`), so that each of these has rules. Most of such a framework is about people, so that",
        "no share is given.",
        "",
        "| framework | controls with rules | rules |",
        "|---|---|---|",
        *(_broad_row(framework, catalogue) for framework in _frameworks(partial=True)),
        "",
        "What each was checked against:",
        "",
        *(f"- {framework.title}: {framework.checked_against}" for framework in load_frameworks().values()),
        "",
        "## Services",
        "",
        "| service | resource types | rules |",
        "|---|---|---|",
        *(f"| {name} | {types[name]} | {count} |" for name, count in sorted(services.items())),
        "",
    ]
    return "\n".join(lines)


def uncovered(framework: Framework, catalogue: Catalogue) -> list[str]:
    """The automated controls that no rule bears on."""
    return [
        name
        for name, (control, rules) in controls_in(framework, catalogue).items()
        if control.assessment == "automated" and not rules
    ]


def _frameworks(*, partial: bool) -> list[Framework]:
    return [framework for framework in load_frameworks().values() if framework.partial is partial]


def _missing(catalogue: Catalogue) -> list[str]:
    """A paragraph for each framework that has automated controls without rules."""
    lines = []
    for framework in _frameworks(partial=False):
        names = uncovered(framework, catalogue)
        if names:
            told = "; ".join(f"{name} ({framework.controls[name].title})" for name in names)
            lines += [f"Without a rule, of {framework.title}: {told}.", ""]
    return lines


def _broad_row(framework: Framework, catalogue: Catalogue) -> str:
    controls = controls_in(framework, catalogue)
    covered = sum(bool(rules) for _, rules in controls.values())
    return f"| {framework.title} | {covered} | {len({rule for _, rules in controls.values() for rule in rules})} |"


def _framework_row(framework: Framework, catalogue: Catalogue) -> str:
    controls = controls_in(framework, catalogue)
    automated = [rules for control, rules in controls.values() if control.assessment == "automated"]
    manual = [rules for control, rules in controls.values() if control.assessment == "manual"]
    covered = sum(bool(rules) for rules in automated)
    cells = (
        framework.title,
        len(controls),
        len(automated),
        covered,
        f"{covered * 100 // len(automated)} %" if automated else "",
        sum(bool(rules) for rules in manual) if manual else "",
        len({rule for _, rules in controls.values() for rule in rules}),
    )
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


if __name__ == "__main__":
    FILE.write_text(coverage_text(), encoding="utf-8")
