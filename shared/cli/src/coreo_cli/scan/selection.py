"""Which rules of the catalogue a command is about, from its options."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coreo_cli.errors import UsageMistakeError
from coreo_cli.text import plain
from coreo_shared.contracts.terms import Severity
from coreo_shared.rules.errors import did_you_mean

if TYPE_CHECKING:
    from coreo_shared.catalogue import Catalogue

_MANY = "May be repeated."

RuleOption = Annotated[
    list[str] | None,
    typer.Option("--rule", metavar="ID", help=f"This rule; * stands for any text. {_MANY}", show_default=False),
]
RuleSetOption = Annotated[
    list[str] | None,
    typer.Option("--rule-set", metavar="ID", help=f"The rules of this set. {_MANY}", show_default=False),
]
FrameworkOption = Annotated[
    list[str] | None,
    typer.Option(
        "--framework",
        metavar="ID",
        help=f"The rules for this framework, such as cis-aws-5.0. {_MANY}",
        show_default=False,
    ),
]
AliasOption = Annotated[
    list[str] | None,
    typer.Option(
        "--alias",
        metavar="NAME",
        help=f"The rules for this check of another tool, such as prowler:s3_bucket_versioning. {_MANY}",
        show_default=False,
    ),
]
ServiceOption = Annotated[
    list[str] | None,
    typer.Option("--service", metavar="NAME", help=f"Only rules on this service, such as s3. {_MANY}"),
]
ResourceOption = Annotated[
    list[str] | None,
    typer.Option("--resource", metavar="TYPE", help=f"Only rules on this kind, such as aws.s3.bucket. {_MANY}"),
]
SeverityOption = Annotated[
    list[Severity] | None,
    typer.Option(
        "--severity",
        case_sensitive=False,
        metavar="SEVERITY",
        help=f"Only rules of this severity: critical, high, medium, low, info. {_MANY}",
        show_default=False,
    ),
]
PackOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--pack",
        metavar="FILE",
        help=f"The rules of this rule pack, a file of your own: see coreo rules lint. {_MANY}",
        show_default=False,
    ),
]
SkipOption = Annotated[
    list[str] | None,
    typer.Option("--skip-rule", metavar="ID", help=f"Without this rule; * stands for any text. {_MANY}"),
]


@dataclass(frozen=True, kw_only=True)
class Selection:
    """What the options say. The first four name rules, all of them together; the others leave some of those out.

    Where none is named, all rules of the catalogue are meant.
    """

    rules: Sequence[str] = ()
    rule_sets: Sequence[str] = ()
    frameworks: Sequence[str] = ()
    aliases: Sequence[str] = ()
    services: Sequence[str] = ()
    resources: Sequence[str] = ()
    severities: Sequence[Severity] = ()
    skipped: Sequence[str] = ()


def choose(catalogue: "Catalogue", selection: Selection, own: Sequence[str] = ()) -> list[str]:
    """The ids of the rules that are meant, sorted; at least one. `own` are those of packs.

    Raises UsageMistakeError that names the option.
    """
    named = [
        *own,
        *(_rules(catalogue, selection.rules, "--rule")),
        *_members(selection.rule_sets, "--rule-set", catalogue.rule_sets.__getitem__, catalogue.rule_sets),
        *_members(selection.frameworks, "--framework", _by_framework(catalogue), _frameworks(catalogue)),
        *_members(selection.aliases, "--alias", _by_alias(catalogue), _aliases(catalogue)),
    ]
    any_named = own or selection.rules or selection.rule_sets or selection.frameworks or selection.aliases
    chosen = set(named if any_named else catalogue.rules)
    types = catalogue.resource_types
    _check(selection.services, "--service", {each.service for each in types.values()})
    _check(selection.resources, "--resource", types)
    skipped = set(_rules(catalogue, selection.skipped, "--skip-rule"))
    found = sorted(
        rule_id
        for rule_id in chosen - skipped
        if _passes(types[catalogue.rules[rule_id].resource].service, selection.services)
        and _passes(catalogue.rules[rule_id].resource, selection.resources)
        and _passes(catalogue.rules[rule_id].severity, selection.severities)
    )
    if not found:
        raise UsageMistakeError("No rule is left by these options.", next_step="`coreo rules list` shows all.")
    return found


def _passes(value: str, wanted: Sequence[str]) -> bool:
    return not wanted or value in wanted


def _rules(catalogue: "Catalogue", patterns: Iterable[str], option: str) -> list[str]:
    found: list[str] = []
    for pattern in patterns:
        matching = [rule_id for rule_id in catalogue.rules if fnmatchcase(rule_id, pattern)]
        if not matching:
            raise _unknown(option, pattern, catalogue.rules)
        found += matching
    return found


def _members(
    names: Sequence[str], option: str, members: Callable[[str], Iterable[str]], known: Iterable[str]
) -> list[str]:
    _check(names, option, known)
    return [rule_id for name in names for rule_id in members(name)]


def _check(names: Sequence[str], option: str, known: Iterable[str]) -> None:
    there = set(known)
    for name in names:
        if name not in there:
            raise _unknown(option, name, there)


def _unknown(option: str, name: str, known: Iterable[str]) -> UsageMistakeError:
    choices = sorted(known)
    few = f"There are: {', '.join(choices)}." if len(choices) <= 80 else "`coreo rules list` shows the rules."
    return UsageMistakeError(
        f"{option}: there is no {plain(name)!r}{did_you_mean(name, choices) or '.'}", next_step=few
    )


def _frameworks(catalogue: "Catalogue") -> set[str]:
    return {framework for controls in catalogue.controls.values() for framework in controls}


def _by_framework(catalogue: "Catalogue") -> Callable[[str], Iterable[str]]:
    return lambda name: [rule_id for rule_id, controls in catalogue.controls.items() if name in controls]


def _aliases(catalogue: "Catalogue") -> set[str]:
    return {alias for rule in catalogue.rules.values() for alias in rule.definition.aliases}


def _by_alias(catalogue: "Catalogue") -> Callable[[str], Iterable[str]]:
    return lambda name: [rule.id for rule in catalogue.rules.values() if name in rule.definition.aliases]
