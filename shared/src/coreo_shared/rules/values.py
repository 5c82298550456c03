"""What rules judge and what they answer: unknown values, relations between resources, verdicts, fingerprints."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from coreo_shared.contracts.terms import FindingStatus

Item = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Unknown:
    """Stands in an item, or for a listing, where something could not be read. It decides nothing.

    `reason` is a sentence a person can act on; `actions` are the IAM actions whose lack is the cause, if that is known.
    None is no Unknown: it is AWS's word that there is nothing.
    """

    reason: str
    actions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Listing:
    """The items of one resource type in this run. `missing` says which parts (regions) could not be listed, and why."""

    items: Sequence[Item] = ()
    missing: tuple[Unknown, ...] = ()


_NOT_LISTED = Listing(missing=(Unknown("the resources that this rule compares with were not read"),))


class Relations:
    """Other resources of the run, by type; what a rule may look at beside the item it judges.

    Give it what `Needs` says is related. A type that was not listed is unknown, never empty.
    """

    def __init__(self, listings: Mapping[str, Listing] | None = None) -> None:
        self._listings = dict(listings or {})
        self._indexes: dict[tuple[str, str], dict[Any, list[Item]]] = {}

    def all(self, resource_type: str) -> Listing:
        """Every item of the type that the run knows."""
        return self._listings.get(resource_type, _NOT_LISTED)

    def by_field(self, resource_type: str, name: str, value: Any) -> Listing:
        """The items of the type whose top-level field `name` has this value. The first call makes an index."""
        listing = self.all(resource_type)
        index = self._indexes.get((resource_type, name))
        if index is None:
            index = self._indexes[resource_type, name] = {}
            for item in listing.items:
                index.setdefault(item.get(name), []).append(item)
        return Listing(index.get(value, ()), listing.missing)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule says of an item.

    `evidence` holds the values that the rule's author chose, by field path, as AWS gave them (dates as datetime).
    `reason` and `missing_actions` are for NOT_EVALUATED.
    """

    status: FindingStatus
    message: str
    evidence: dict[str, Any] = field(default_factory=dict)
    reason: str | None = None
    missing_actions: tuple[str, ...] = ()


def describe_unknowns(unknowns: Iterable[Unknown]) -> tuple[str, tuple[str, ...]]:
    """Reason and missing IAM actions of all these together, the same in whatever order they come."""
    unknowns = set(unknowns)
    reasons = sorted({unknown.reason for unknown in unknowns})
    actions = sorted({action for unknown in unknowns for action in unknown.actions})
    return "; ".join(reasons), tuple(actions)


def fingerprint(account_id: str, rule_id: str, resource: str) -> str:
    """32 hex digits that name this finding in every run. `resource` is its ARN or, where it has none, type and id."""
    text = "\0".join((account_id, rule_id, resource))
    return hashlib.sha256(text.encode()).hexdigest()[:32]
