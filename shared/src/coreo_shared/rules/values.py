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
    """The items of one resource type in one region (or "global"). `missing` says why some could not be listed."""

    items: Sequence[Item] = ()
    missing: tuple[Unknown, ...] = ()


_NOT_LISTED = Listing(missing=(Unknown("the resources that this rule compares with were not read"),))


class Relations:
    """Other resources of the run, by type and region; what a rule may look at beside the item it judges.

    Give it what `Needs` says is related. A type or region that was not listed is unknown, never empty.
    `account` is the account's number, where it is known.
    """

    def __init__(
        self,
        listings: Mapping[str, Mapping[str, Listing]] | None = None,
        region: str | None = None,
        account: str | None = None,
    ) -> None:
        self._listings: dict[str, dict[str, Listing]] = {name: dict(found) for name, found in (listings or {}).items()}
        self._region = region
        self.account = account
        self._whole: dict[str, Listing] = {}
        self._indexes: dict[tuple[str, str | None, str], dict[Any, list[Item]]] = {}

    def seen_from(self, region: str) -> "Relations":
        """The same, for judging items of this region."""
        relations = Relations(None, region, self.account)
        relations._listings, relations._whole, relations._indexes = self._listings, self._whole, self._indexes
        return relations

    def put(self, resource_type: str, region: str, listing: Listing) -> None:
        """Takes what was listed of a type in a region: before anything looks at it, and always the same."""
        self._listings.setdefault(resource_type, {}).setdefault(region, listing)

    def all(self, resource_type: str, *, here: bool = False) -> Listing:
        """Every item of the type that the run knows; with `here`, of the judged item's region alone."""
        regions = self._listings.get(resource_type)
        if not regions:
            return _NOT_LISTED
        if here:
            return regions.get(self._region or "", _NOT_LISTED)
        whole = self._whole.get(resource_type)
        if whole is None:
            items = [item for listing in regions.values() for item in listing.items]
            missing = tuple(unknown for listing in regions.values() for unknown in listing.missing)
            whole = self._whole[resource_type] = Listing(items, missing)
        return whole

    def by_field(self, resource_type: str, name: str, value: Any, *, here: bool = False) -> Listing:
        """The items of the type whose top-level field `name` has this value. The first call makes an index."""
        listing = self.all(resource_type, here=here)
        key = (resource_type, self._region if here else None, name)
        index = self._indexes.get(key)
        if index is None:
            index = self._indexes[key] = {}
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
    return hashlib.sha256(f"{account_id}\0{rule_id}\0{resource}".encode()).hexdigest()[:32]
