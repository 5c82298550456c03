"""What a choice of rules needs to know, and so which calls it makes and which IAM actions it takes: no more.

The same computation gives the engine its calls, the customer the required policy and STS the session policy.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from coreo_shared.rules.conditions import Lookup, Read
from coreo_shared.rules.model import Call, ResourceType, Rule
from coreo_shared.rules.resources import order_enrichments

# To find out which regions the account has enabled, when a plan says "all".
REGION_ACTIONS = frozenset({"ec2:DescribeRegions"})


class Definitions(Protocol):
    """What is needed of a catalogue."""

    @property
    def rules(self) -> Mapping[str, Rule]:
        """Rules by id."""

    @property
    def resource_types(self) -> Mapping[str, ResourceType]:
        """Resource types by name."""


@dataclass(frozen=True, slots=True)
class TypeNeeds:
    """What is to be read of one resource type."""

    resource_type: ResourceType
    rules: tuple[str, ...]  # to be judged on its items; none where only relations look at it
    enrichments: tuple[str, ...]  # to be read for each item, in an order that respects `Enrichment.after`
    looked_up: tuple[str, ...]  # enrichments to be read only of items that are looked up, after those above
    is_related: bool  # some rule of the run looks at its items beside its own
    waits_for: frozenset[str]  # the types that its rules compare with: list these in full before judging
    lookups: frozenset[Lookup]  # what its rules look up: list these types when an item has something to look up

    @property
    def parent(self) -> str | None:
        """The type that must be listed before this one can be."""
        return self.resource_type.parent

    @property
    def actions(self) -> frozenset[str]:
        """The IAM actions of these calls."""
        return frozenset(action for call in self.calls for action in call.actions)

    @property
    def calls(self) -> list[Call]:
        """The operations that are asked."""
        enrichments = [self.resource_type.enrichments[name] for name in (*self.enrichments, *self.looked_up)]
        calls = [enrichment.call for enrichment in enrichments]
        calls += [enrichment.prepare.call for enrichment in enrichments if enrichment.prepare is not None]
        if self.resource_type.listing is not None:
            calls.append(self.resource_type.listing)
        return calls


@dataclass(frozen=True, slots=True)
class Needs:
    """What is to be read for a choice of rules, by resource type name."""

    types: Mapping[str, TypeNeeds]

    @property
    def actions(self) -> frozenset[str]:
        """The IAM actions that the run's calls take."""
        return frozenset(action for needs in self.types.values() for action in needs.actions)

    @property
    def actions_by_service(self) -> dict[str, frozenset[str]]:
        """The same by the service that is asked, as the SDK names it: its actions may bear another's name."""
        found: dict[str, frozenset[str]] = {}
        for needs in self.types.values():
            for call in needs.calls:
                found[call.service] = found.get(call.service, frozenset()) | frozenset(call.actions)
        return found


def needs_of(definitions: Definitions, rule_ids: Iterable[str]) -> Needs:
    """What these rules need; KeyError for an id that is not there."""
    rules = [definitions.rules[rule_id] for rule_id in sorted(set(rule_ids))]
    reads: set[Read] = set().union(*(rule.reads for rule in rules))
    looked_up: set[Read] = set().union(*(rule.looked_up for rule in rules))
    related: set[str] = set().union(*(rule.relations for rule in rules))
    names = _with_parents(definitions, {rule.resource for rule in rules} | related)
    return Needs(
        {
            name: _of_type(definitions.resource_types[name], rules, reads, looked_up, is_related=name in related)
            for name in sorted(names)
        }
    )


def _with_parents(definitions: Definitions, names: set[str]) -> set[str]:
    parents = {parent for name in names if (parent := definitions.resource_types[name].parent) is not None}
    return names if parents <= names else _with_parents(definitions, names | parents)


def _of_type(
    resource_type: ResourceType, rules: list[Rule], reads: set[Read], looked_up: set[Read], *, is_related: bool
) -> TypeNeeds:
    own = [rule for rule in rules if rule.resource == resource_type.name]
    always = order_enrichments(resource_type, _read_of(resource_type, reads) | resource_type.key_enrichments)
    sometimes = order_enrichments(resource_type, _read_of(resource_type, looked_up))
    return TypeNeeds(
        resource_type=resource_type,
        rules=tuple(rule.id for rule in own),
        enrichments=always,
        looked_up=tuple(name for name in sometimes if name not in always),
        is_related=is_related,
        waits_for=frozenset().union(*(rule.compared for rule in own)),
        lookups=frozenset().union(*(rule.lookups for rule in own)),
    )


def _read_of(resource_type: ResourceType, reads: set[Read]) -> set[str]:
    """The enrichments that these reads take."""
    paths = {names for name, names in reads if name == resource_type.name}
    return {name for name, enrichment in resource_type.enrichments.items() if _is_read(name, enrichment.each, paths)}


def _is_read(name: str, each: str | None, paths: set[tuple[str, ...]]) -> bool:
    where = (name,) if each is None else (each, name)
    return any(path[: len(where)] == where for path in paths)
