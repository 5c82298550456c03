"""The catalogue: resource types, rules, rule sets and regions, as data in this package."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from coreo_shared.catalogue.frameworks import check_objectives, controls_of
from coreo_shared.rules.cases import Case, read_case
from coreo_shared.rules.definitions import build_rule, convert, read_document
from coreo_shared.rules.errors import DefinitionError, UnknownNameError, did_you_mean
from coreo_shared.rules.model import GLOBAL, ResourceType, ResourceTypeDefinition, Rule, RuleSetDefinition
from coreo_shared.rules.resources import define_resource_type, order_enrichments
from coreo_shared.rules.shapes import FieldType, Shapes, load_snapshot
from coreo_shared.rules.yamltext import line_of

_FOLDER = Path(__file__).parent


class Partition(msgspec.Struct, frozen=True):
    """A partition of AWS: its regions, and the one whose endpoints answer for global services such as IAM.

    `not_offered`: the regions without a service, by the SDK's name of the service.
    """

    home: str
    regions: tuple[str, ...]
    not_offered: dict[str, frozenset[str]] = {}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Everything that Coreo knows to look for."""

    shapes: Shapes
    resource_types: Mapping[str, ResourceType]
    rules: Mapping[str, Rule]
    rule_sets: Mapping[str, tuple[str, ...]]  # rule ids, sorted
    rule_set_definitions: Mapping[str, RuleSetDefinition]
    partitions: Mapping[str, Partition]
    controls: Mapping[str, Mapping[str, tuple[str, ...]]]  # rule id -> framework -> control ids, objectives' included

    @property
    def regions(self) -> dict[str, tuple[str, ...]]:
        """Region names by partition."""
        return {name: partition.regions for name, partition in self.partitions.items()}

    @property
    def item_types(self) -> dict[str, FieldType]:
        """The type of each resource type's items."""
        return {name: self.shapes.type_of(name) for name in self.resource_types}

    def select(self, rules: Iterable[str], rule_sets: Iterable[str]) -> list[str]:
        """The ids of these rules and of those in these rule sets, sorted; UnknownNameError says which is not there."""
        chosen: set[str] = set()
        for position, name in enumerate(rule_sets):
            if name not in self.rule_sets:
                raise UnknownNameError("rule_set", position, did_you_mean(name, self.rule_sets))
            chosen.update(self.rule_sets[name])
        for position, name in enumerate(rules):
            if name not in self.rules:
                raise UnknownNameError("rule", position, did_you_mean(name, self.rules))
            chosen.add(name)
        return sorted(chosen)


@cache
def load_catalogue() -> Catalogue:
    """The catalogue that is part of this release; read once per process."""
    shapes = Shapes(load_snapshot(file.read_bytes() for file in sorted((_FOLDER / "shapes").glob("*.json"))))
    resource_types = _resource_types(shapes)
    rules = _rules(shapes, {name: shapes.type_of(name) for name in resource_types})
    controls = {name: controls_of(rule.definition) for name, rule in rules.items()}
    definitions, rule_sets = _rule_sets(rules, controls)
    return Catalogue(
        shapes=shapes,
        resource_types=resource_types,
        rules=rules,
        rule_sets=rule_sets,
        rule_set_definitions=definitions,
        partitions=msgspec.json.decode((_FOLDER / "regions.json").read_bytes(), type=dict[str, Partition]),
        controls=controls,
    )


def load_cases() -> dict[str, tuple[Case, ...]]:
    """The example cases of the catalogue's rules, by rule id. Not read by `load_catalogue`: no audit needs them."""
    catalogue = load_catalogue()
    found: dict[str, tuple[Case, ...]] = {}
    for file in sorted((_FOLDER / "cases").glob("*.yaml")):

        def make(raw: Any) -> None:
            for rule_id, cases in convert(raw, dict[str, list[Any]], ()).items():
                if rule_id not in catalogue.rules:
                    raise DefinitionError(f"no such rule{did_you_mean(rule_id, catalogue.rules)}", (rule_id,))
                rule, types = catalogue.rules[rule_id], catalogue.item_types
                found[rule_id] = tuple(
                    read_case(one, rule, catalogue.shapes, types, (rule_id, index)) for index, one in enumerate(cases)
                )

        read_document(file.read_text(encoding="utf-8"), file.name, make)
    return found


def read_resource_documents() -> dict[str, ResourceTypeDefinition]:
    """The resource types as written, by file name; not yet checked against the shapes."""
    return {
        file.name: read_document(
            file.read_text(encoding="utf-8"), file.name, lambda raw: convert(raw, ResourceTypeDefinition, ())
        )
        for file in sorted((_FOLDER / "resources").glob("*.yaml"))
    }


def _resource_types(shapes: Shapes) -> dict[str, ResourceType]:
    found: dict[str, ResourceType] = {}
    documents = read_resource_documents()
    for name in _parents_first(documents):
        try:
            made = define_resource_type(documents[name], shapes, ())
            order_enrichments(made, made.enrichments)
        except DefinitionError as error:
            text = (_FOLDER / "resources" / name).read_text(encoding="utf-8")
            raise error.at(name, line_of(text, error.path)) from None
        if name != f"{made.name}.yaml":
            raise DefinitionError(f"the file must be named {made.name}.yaml", ("type",), file=name)
        found[made.name] = made
    return dict(sorted(found.items()))


def _parents_first(documents: Mapping[str, ResourceTypeDefinition]) -> list[str]:
    """The file names, each after that of the type for each of whose items its own is listed."""
    ordered: dict[str, None] = {}

    def visit(name: str, under_way: tuple[str, ...]) -> None:
        listing = documents[name].listing
        parent = f"{listing.for_each}.yaml" if listing else ""
        if name in under_way:
            raise DefinitionError("is listed for each of itself, by way of others", ("list", "for_each"), file=name)
        if parent in documents:
            visit(parent, (*under_way, name))
        ordered[name] = None

    for name in documents:
        visit(name, ())
    return list(ordered)


def _rules(shapes: Shapes, item_types: Mapping[str, FieldType]) -> dict[str, Rule]:
    found: dict[str, Rule] = {}
    for file in sorted((_FOLDER / "rules").glob("*.yaml")):

        def make(raw: Any) -> None:
            for index, one in enumerate(convert(raw, list[Any], ())):
                rule = build_rule(one, (index,), shapes, item_types)
                check_objectives(rule.definition, (index,))
                if rule.id in found:
                    raise DefinitionError("another rule has this id", (index, "id"))
                found[rule.id] = rule

        read_document(file.read_text(encoding="utf-8"), file.name, make)
    return dict(sorted(found.items()))


def _rule_sets(
    rules: Mapping[str, Rule], controls: Mapping[str, Mapping[str, tuple[str, ...]]]
) -> tuple[dict[str, RuleSetDefinition], dict[str, tuple[str, ...]]]:
    file = _FOLDER / "rule_sets.yaml"

    def make(raw: Any) -> tuple[dict[str, RuleSetDefinition], dict[str, tuple[str, ...]]]:
        definitions = {one.id: one for one in convert(raw, list[RuleSetDefinition], ())}
        chosen: dict[str, tuple[str, ...]] = {}
        for position, definition in enumerate(definitions.values()):
            for index, name in enumerate(definition.rules):
                if name not in rules:
                    raise DefinitionError(f"no such rule{did_you_mean(name, rules)}", (position, "rules", index))
            mapped = {name for name, bears_on in controls.items() if definition.framework in bears_on}
            chosen[definition.id] = tuple(sorted(mapped | set(definition.rules)))
        return definitions, chosen

    return read_document(file.read_text(encoding="utf-8"), file.name, make)


__all__ = ["GLOBAL", "Catalogue", "Partition", "load_cases", "load_catalogue", "read_resource_documents"]
