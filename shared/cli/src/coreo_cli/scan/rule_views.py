"""The rules of this release in the form in which the api gives them: `coreo rules` works without a login."""

from typing import TYPE_CHECKING

import msgspec

from coreo_cli.text import Json
from coreo_shared.rules.needs import needs_of

if TYPE_CHECKING:
    from coreo_shared.catalogue import Catalogue


def summaries(catalogue: "Catalogue") -> list[Json]:
    """The rules in a list, by id."""
    return [
        {"id": rule.id, "title": rule.title, "resource": rule.resource, "severity": rule.severity.value}
        for rule in catalogue.rules.values()
    ]


def rule_view(catalogue: "Catalogue", rule_id: str) -> Json:
    """One rule, which is there."""
    rule = catalogue.rules[rule_id]
    written = rule.definition
    parameters: Json = {name: msgspec.to_builtins(parameter) for name, parameter in rule.parameters.items()}
    return {
        "id": rule.id,
        "title": rule.title,
        "resource": rule.resource,
        "severity": rule.severity.value,
        "rationale": written.rationale,
        "remediation": msgspec.to_builtins(written.remediation),
        "references": list(written.references),
        "controls": {framework: list(ids) for framework, ids in catalogue.controls[rule_id].items()},
        "aliases": list(written.aliases),
        "parameters": parameters,
        "actions": sorted(needs_of(catalogue, [rule_id]).actions),
    }


def parameter_views(catalogue: "Catalogue", rule_ids: list[str]) -> list[Json]:
    """What plans may set of these rules, a row for each parameter."""
    return [
        {"rule": rule_id, "parameter": name, **msgspec.to_builtins(parameter)}
        for rule_id in rule_ids
        for name, parameter in catalogue.rules[rule_id].parameters.items()
    ]


def set_views(catalogue: "Catalogue") -> list[Json]:
    """The rule sets."""
    return [
        {
            "id": each.id,
            "title": each.title,
            "description": each.description,
            "rules": list(catalogue.rule_sets[each.id]),
        }
        for each in catalogue.rule_set_definitions.values()
    ]
