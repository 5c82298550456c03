"""What items refer to by key: found among another type's items, and completed once, whoever refers to it."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from coreo_shared.rules.conditions import Lookup
from coreo_shared.rules.needs import TypeNeeds
from coreo_shared.rules.paths import reader
from coreo_shared.rules.values import Item, Listing

Key = str | int
Complete = Callable[[TypeNeeds, str, Item], "asyncio.Task[None]"]


def keys_of(lookup: Lookup, items: Iterable[Item]) -> set[Key]:
    """The keys that these items have.

    What could not be read, or is not of the form that AWS answers in, is none: judging the item tells of that.
    """
    read = reader(lookup.path)
    return {key for item in items for key in _all_of(read, item) if isinstance(key, Key)}


def _all_of(read: Callable[[Any], Any], item: Item) -> list[Any]:
    try:
        value = read(item)
    except (AttributeError, TypeError):
        return []
    return value if isinstance(value, list) else [value]


class Lookups:
    """Finds items by key and has them completed. They must live as long as this does: it knows them by identity."""

    def __init__(self, complete: Complete) -> None:
        self._complete = complete
        self._completed: dict[int, asyncio.Task[None]] = {}
        self._indexes: dict[tuple[str, str, str], dict[Key, list[Item]]] = {}

    async def complete(
        self, needs: TypeNeeds, listings: Mapping[str, Listing], field: str, keys: Iterable[Key]
    ) -> list[Item]:
        """The items of the listings (by region) whose field is among the keys, once they have all their facts."""
        wanted = sorted(keys, key=str)
        found: list[Item] = []
        tasks: list[asyncio.Task[None]] = []
        for region, listing in listings.items():
            index = self._index(needs.resource_type.name, region, field, listing)
            here = [item for key in wanted for item in index.get(key, ())]
            found += here
            tasks += (self._completing(needs, region, item) for item in here if needs.looked_up)
        for task in tasks:
            await task
        return found

    def _completing(self, needs: TypeNeeds, region: str, item: Item) -> asyncio.Task[None]:
        if id(item) not in self._completed:
            self._completed[id(item)] = self._complete(needs, region, item)
        return self._completed[id(item)]

    def _index(self, name: str, region: str, field: str, listing: Listing) -> Mapping[Key, list[Item]]:
        if (name, region, field) not in self._indexes:
            index: dict[Key, list[Item]] = {}
            for item in listing.items:
                if isinstance(key := item.get(field), Key):
                    index.setdefault(key, []).append(item)
            self._indexes[name, region, field] = index
        return self._indexes[name, region, field]
