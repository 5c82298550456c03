"""Reads resources: lists them page by page and puts into each item the further facts that the rules need.

What could not be read becomes an `Unknown` in the item, with the IAM actions that would help; a listing that fails
raises. Nothing is asked twice.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from coreo_shared.rules.model import GLOBAL, Call, ResourceType
from coreo_shared.rules.paths import reader
from coreo_shared.rules.values import Item, Unknown
from coreo_worker.audit.enrichments import Answers, Step, steps_of
from coreo_worker.audit.sharing import Asks
from coreo_worker.aws.calls import AbsentError, CallError, DeniedError
from coreo_worker.aws.pages import PAGE_SIZE, pagination

_PARENTS_AT_ONCE = 20  # what the service's slots do not let through yet waits in memory
_PREPARED_WITHIN_SECONDS = 60
_PREPARED_EVERY_SECONDS = 2


@dataclass(frozen=True)
class Account:
    """The account that is read. `home_region` is where global services are asked; `regions` are those of the run."""

    id: str
    partition: str
    home_region: str
    regions: tuple[str, ...]


def unknown_for(error: CallError) -> Unknown:
    """What stands in place of what the call would have told."""
    return Unknown(str(error), error.actions if isinstance(error, DeniedError) else ())


class Reader:
    """Reads one account for one run."""

    def __init__(self, account: Account, asker: Asks) -> None:
        self._account = account
        self._asker = asker
        self._stages: dict[tuple[str, frozenset[str]], list[list[Step]]] = {}

    async def pages(
        self, kind: ResourceType, region: str, fields: Iterable[str], parents: Sequence[Item] = ()
    ) -> AsyncGenerator[list[dict[str, Any]], None]:
        """The items of a unit with the enrichments `fields`, page by page; raises CallError where listing fails.

        `region` is "global" for global types. An item that several regions list comes from one of them only. `parents`
        are the items of that region for each of which the type is listed, if it is such a type.
        """
        fields = frozenset(fields)
        async for listed in self._listed(kind, region, parents):
            items = [item for item in listed if kind.belongs_to(item, region, self._account.regions)]
            await self.complete(kind, region, items, fields)
            yield items

    async def complete(
        self, kind: ResourceType, region: str, items: Sequence[dict[str, Any]], fields: Iterable[str]
    ) -> None:
        """Reads the enrichments `fields` of items that the region listed; what they depend on must be there."""
        for stage in self._stages_of(kind, frozenset(fields)):
            await all_of(
                self._fill(step, item, owner, kind, region)
                for step in stage
                for item in items
                for owner in step.owners(item)
            )

    def _stages_of(self, kind: ResourceType, fields: frozenset[str]) -> list[list[Step]]:
        """The same for every region."""
        if (kind.name, fields) not in self._stages:
            self._stages[kind.name, fields] = steps_of(kind, fields)
        return self._stages[kind.name, fields]

    async def _listed(
        self, kind: ResourceType, region: str, parents: Sequence[Item]
    ) -> AsyncIterator[list[dict[str, Any]]]:
        if kind.listing is None or kind.items is None:
            yield [{"AccountId": self._account.id, "Region": region}]
            return
        where = self._home_of(region, kind)
        if kind.parent is None:
            async for page in self._children(kind, kind.listing, where, None):
                yield page
            return
        failed: list[CallError] = []
        for start in range(0, len(parents), _PARENTS_AT_ONCE):
            pages: list[list[dict[str, Any]]] = []
            batch = parents[start : start + _PARENTS_AT_ONCE]
            await all_of(self._collect(kind, kind.listing, where, parent, pages, failed) for parent in batch)
            for page in pages:
                yield page
        if failed:  # after all that could be listed
            raise failed[0]

    async def _collect(
        self,
        kind: ResourceType,
        listing: Call,
        where: str,
        parent: Item,
        pages: list[list[dict[str, Any]]],
        failed: list[CallError],
    ) -> None:
        try:
            async for page in self._children(kind, listing, where, parent):
                pages.append(page)  # noqa: PERF401  what came before a failure counts
        except CallError as error:
            failed.append(error)

    async def _children(
        self, kind: ResourceType, listing: Call, where: str, parent: Item | None
    ) -> AsyncIterator[list[dict[str, Any]]]:
        """The items that one listing call gives, page by page."""
        arguments = listing.arguments(parent or {}, self._context(where))
        if isinstance(arguments, Unknown) or kind.items is None:
            raise TypeError(f"the listing of {kind.name} depends on what is not listed")
        items_of = reader(kind.items)
        try:
            async for answer in self._answers(listing, where, arguments):
                items = items_of(answer) or []
                if kind.scalar is not None:
                    items = [{kind.scalar: value} for value in items]
                yield items if parent is None else [{**item, "Parent": parent} for item in items]
        except AbsentError:
            return

    async def _fill(
        self, step: Step, item: dict[str, Any], owner: dict[str, Any], kind: ResourceType, region: str
    ) -> None:
        """Makes one call, if it is needed, and puts what it says into the item or the element."""
        where = self._home_of(region if step.locates else self._region_of(kind, item, region), kind)
        wanted = step.wanted(owner)
        arguments = step.call.arguments(owner, self._context(where)) if wanted is True else wanted
        if arguments is False:
            step.put(owner, None)
        elif isinstance(arguments, Unknown):
            step.put(owner, arguments)
        else:
            step.put(owner, await self._ask(step, where, arguments))

    async def _ask(self, step: Step, region: str, arguments: dict[str, Any]) -> Answers:
        deadline = time.monotonic() + _PREPARED_WITHIN_SECONDS
        while True:
            try:
                return [answer async for answer in self._answers(step.call, region, arguments)]
            except AbsentError:
                return None
            except CallError as error:
                late = time.monotonic() > deadline
                if step.prepare is None or error.code not in step.prepare.codes or late:
                    return unknown_for(error)
            try:
                async for _ in self._answers(step.prepare.call, region, {}):
                    await asyncio.sleep(_PREPARED_EVERY_SECONDS)  # AWS tells of progress only when asked again
            except CallError as error:
                return unknown_for(error)

    async def _answers(self, made: Call, region: str, arguments: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Each page of the call's answer; raises CallError. Nothing is held while a page is worked on."""
        paging = pagination(made.service, made.operation) if made.paginated else None
        size = made.page_size or PAGE_SIZE
        more: dict[str, Any] | None = paging.first(size) if paging else {}
        while more is not None:
            answer = await self._asker.ask(made, region, arguments | more)
            yield answer
            more = paging.following(answer, size) if paging else None

    def _region_of(self, kind: ResourceType, item: dict[str, Any], region: str) -> str:
        account = self._account
        return kind.identify(item, account=account.id, region=region, partition=account.partition).region

    def _home_of(self, region: str, kind: ResourceType) -> str:
        return (kind.asked_in or self._account.home_region) if region == GLOBAL else region

    def _context(self, region: str) -> dict[str, str]:
        return {"account": self._account.id, "region": region, "partition": self._account.partition}


async def all_of(coroutines: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Runs all at once; the first error ends the others."""
    async with asyncio.TaskGroup() as group:
        for coroutine in coroutines:
            group.create_task(coroutine)
