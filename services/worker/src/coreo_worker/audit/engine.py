"""The audit engine: all units of a run at once, each fact read once, findings handed on as the pages come.

A rule that compares with other resource types waits until these are listed in full, and only these are held in memory.
What it looks up by key is listed when an item has such a key, and its further facts are read of what is found.
"""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from typing import Any, cast

from coreo_shared.catalogue import Catalogue, load_catalogue
from coreo_shared.rules.conditions import Lookup
from coreo_shared.rules.needs import TypeNeeds
from coreo_shared.rules.values import Item, Listing, Relations, Unknown
from coreo_worker.audit.asking import Asker
from coreo_worker.audit.chunks import AuditSink, ChunkWriter
from coreo_worker.audit.evaluate import Judge
from coreo_worker.audit.fetch import Reader, unknown_for
from coreo_worker.audit.limits import Limits
from coreo_worker.audit.lookups import Key, Lookups, keys_of
from coreo_worker.audit.planning import AuditRequest, AuditRequestError, Plan, Unit, plan_audit
from coreo_worker.audit.sharing import SharedAsker
from coreo_worker.aws.calls import CallError, SessionExpiredError
from coreo_worker.aws.clients import Clients

__all__ = ["AuditRequest", "AuditRequestError", "AuditSink", "Limits", "SessionExpiredError", "run_audit"]


async def run_audit(
    request: AuditRequest,
    clients: Clients,
    sink: AuditSink,
    *,
    limits: Limits | None = None,
    catalogue: Catalogue | None = None,
) -> None:
    """Audits the account and gives `sink` the findings of each unit that is not done yet.

    What cannot be read becomes NOT_EVALUATED findings. Raises AuditRequestError or ParameterError for a request that
    cannot be run, SessionExpiredError when the session ends and `clients` has no newer one, and what the sink raises.
    """
    asker = Asker(clients, limits or Limits())
    plan = await plan_audit(request, catalogue or load_catalogue(), asker)
    units = plan.units
    await sink.planned(len(units))
    remaining = [unit for unit in units if unit.name not in request.units_done]
    audit = _Audit(plan, Reader(plan.account, SharedAsker(asker, plan.needs)), sink)
    try:
        await audit.run(remaining)
    except ExceptionGroup as group:
        raise _first_of(group) from group


class _Audit:
    """One run of the engine."""

    def __init__(self, plan: Plan, reader: Reader, sink: AuditSink) -> None:
        self._plan = plan
        self._reader = reader
        self._sink = sink
        self._group = asyncio.TaskGroup()
        self._parts: dict[tuple[str, str], asyncio.Task[Listing]] = {}
        self._relations = Relations(account=plan.account.id)
        self._lookups = Lookups(self._complete)

    async def run(self, units: list[Unit]) -> None:
        """Does these units, and lists what their rules look at besides."""
        async with self._group as group:
            for name in sorted(self._listed_first(units)):
                needs = self._plan.needs.types[name]
                for region in self._plan.regions_of(needs):
                    self._part(needs, region)
            for unit in units:
                group.create_task(self._do(unit))

    def _listed_first(self, units: list[Unit]) -> set[str]:
        """The types that are listed in full and held in memory.

        Rules compare with them, others are listed for each of their items, or they are both judged and looked up.
        """
        types = self._plan.needs.types
        judged = {unit.needs.resource_type.name for unit in units}
        names = set().union(*(unit.needs.waits_for for unit in units))
        names |= judged & {lookup.resource_type for unit in units for lookup in unit.needs.lookups}
        under_way = names | judged
        while under_way:
            under_way = {parent for name in under_way if (parent := types[name].parent) is not None}
            names |= under_way
        return names

    def _part(self, needs: TypeNeeds, region: str) -> asyncio.Task[Listing]:
        """The listing of a type in a region, which is made once."""
        key = needs.resource_type.name, region
        if key not in self._parts:
            self._parts[key] = self._group.create_task(self._list(needs, region))
        return self._parts[key]

    async def _parents(self, needs: TypeNeeds, region: str) -> Listing:
        """The items for each of which a type is listed."""
        if needs.parent is None:
            return Listing()
        return await self._part(self._plan.needs.types[needs.parent], region)

    async def _list(self, needs: TypeNeeds, region: str) -> Listing:
        """All items of a type in a region; `missing` says why some are not there."""
        if self._plan.no_regions is not None and needs.resource_type.scope == "region":
            return Listing(missing=(self._plan.no_regions,))
        items: list[Item] = []
        parents = await self._parents(needs, region)
        kind, fields = needs.resource_type, needs.enrichments
        try:
            async with aclosing(self._reader.pages(kind, region, fields, parents.items)) as pages:
                async for page in pages:
                    items.extend(page)
        except CallError as error:
            return Listing(items, (*parents.missing, unknown_for(error)))
        return Listing(items, parents.missing)

    async def _do(self, unit: Unit) -> None:
        """Reads and judges one unit, and hands on its findings."""
        kind, rules = unit.needs.resource_type, self._plan.rules[unit.needs.resource_type.name]
        writer = ChunkWriter(self._sink, unit.name)
        for name in sorted(unit.needs.waits_for):
            for listing in (await self._related(self._plan.needs.types[name])).values():
                await self._follow(unit, name, listing.items)
        judge = Judge(self._plan.account, kind, unit.region, rules, self._relations.seen_from(unit.region))
        for missing in await self._judge(judge, unit, writer):
            await judge.unread(missing, writer)
        await writer.finish()

    async def _judge(self, judge: Judge, unit: Unit, writer: ChunkWriter) -> tuple[Unknown, ...]:
        """Judges what can be listed of the unit; why the rest could not be, if there is a rest."""
        kind, fields = unit.needs.resource_type, unit.needs.enrichments
        if self._plan.no_regions is not None and kind.scope == "region":
            return (self._plan.no_regions,)
        listed = self._parts.get((kind.name, unit.region))
        if listed is not None:
            listing = await listed
            await self._page(judge, unit, listing.items, writer)
            return tuple(listing.missing)
        parents = await self._parents(unit.needs, unit.region)
        try:
            async with aclosing(self._reader.pages(kind, unit.region, fields, parents.items)) as pages:
                async for page in pages:
                    await self._page(judge, unit, page, writer)
        except CallError as error:
            return (*parents.missing, unknown_for(error))
        return parents.missing

    async def _page(self, judge: Judge, unit: Unit, items: Sequence[Item], writer: ChunkWriter) -> None:
        """Judges items, once what they refer to was read."""
        await self._follow(unit, None, items)
        await judge.page(items, writer)

    async def _follow(
        self, unit: Unit, source: str | None, items: Sequence[Item], seen: set[tuple[Lookup, Key]] | None = None
    ) -> None:
        """Lists and reads what these items refer to, where a rule of the unit looks it up, and so on from there.

        `seen` is what was followed on the way here: types may refer to each other in a circle.
        """
        seen = set() if seen is None else seen
        for lookup in (lookup for lookup in unit.needs.lookups if lookup.source == source):
            keys = {key for key in keys_of(lookup, items) if (lookup, key) not in seen}
            seen.update((lookup, key) for key in keys)
            if keys:
                needs = self._plan.needs.types[lookup.resource_type]
                listed = await self._related(needs, unit.region if lookup.same_region else None)
                found = await self._lookups.complete(needs, listed, lookup.their_field, keys)
                await self._follow(unit, lookup.resource_type, found, seen)

    async def _related(self, needs: TypeNeeds, region: str | None = None) -> dict[str, Listing]:
        """What was listed of a type, by region, for rules to look at: all of it, or that of one region."""
        regions = self._plan.regions_of(needs)
        found = {one: await self._part(needs, one) for one in regions if region in (None, one)}
        for one, listing in found.items():
            self._relations.put(needs.resource_type.name, one, listing)
        return found

    def _complete(self, needs: TypeNeeds, region: str, item: Item) -> asyncio.Task[None]:
        """Reads what is read only of items that are looked up."""
        # The reader's own items, made of AWS's answers.
        items = [cast("dict[str, Any]", item)]
        return self._group.create_task(self._reader.complete(needs.resource_type, region, items, needs.looked_up))


def _first_of(group: BaseExceptionGroup[Any]) -> BaseException:
    """The first error of several that came together: the callers' own kind, not a group."""
    first = group.exceptions[0]
    return _first_of(first) if isinstance(first, BaseExceptionGroup) else first
