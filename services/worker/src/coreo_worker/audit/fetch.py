"""Reads resources: lists them page by page and puts into each item the further facts that the rules need.

What could not be read becomes an `Unknown` in the item, with the IAM actions that would help; a listing that fails
raises. Nothing is asked twice.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine, Iterable
from dataclasses import dataclass
from typing import Any

from coreo_shared.rules.model import GLOBAL, Call, ResourceType
from coreo_shared.rules.paths import reader
from coreo_shared.rules.values import Unknown
from coreo_worker.audit.enrichments import Answers, Step, steps_of
from coreo_worker.audit.limits import Slots
from coreo_worker.aws.calls import AbsentError, CallError, DeniedError, call
from coreo_worker.aws.clients import ClientFactory
from coreo_worker.aws.pages import PAGE_SIZE, pagination


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

    def __init__(self, account: Account, clients: ClientFactory, slots: Slots) -> None:
        self._account = account
        self._clients = clients
        self._slots = slots

    async def pages(
        self, kind: ResourceType, region: str, fields: Iterable[str]
    ) -> AsyncGenerator[list[dict[str, Any]], None]:
        """The items of a unit with the enrichments `fields`, page by page; raises CallError where listing fails.

        `region` is "global" for global types. An item that several regions list comes from one of them only.
        """
        stages = steps_of(kind, fields)
        async for listed in self._listed(kind, region):
            items = [item for item in listed if kind.belongs_to(item, region, self._account.regions)]
            for stage in stages:
                await all_of(
                    self._fill(step, item, owner, kind, region)
                    for step in stage
                    for item in items
                    for owner in step.owners(item)
                )
            yield items

    async def _listed(self, kind: ResourceType, region: str) -> AsyncIterator[list[dict[str, Any]]]:
        if kind.listing is None or kind.items is None:
            yield [{"AccountId": self._account.id, "Region": region}]
            return
        where = self._home_of(region)
        arguments = kind.listing.arguments({}, self._context(where))
        if isinstance(arguments, Unknown):
            raise TypeError(f"the listing of {kind.name} depends on an item")
        items_of = reader(kind.items)
        async for answer in self._answers(kind.listing, where, arguments, frozenset()):
            yield items_of(answer) or []

    async def _fill(
        self, step: Step, item: dict[str, Any], owner: dict[str, Any], kind: ResourceType, region: str
    ) -> None:
        """Makes one call, if it is needed, and puts what it says into the item or the element."""
        where = self._home_of(region if step.locates else self._region_of(kind, item, region))
        wanted = step.wanted(owner)
        arguments = step.call.arguments(owner, self._context(where)) if wanted is True else wanted
        if arguments is False:
            step.put(owner, None)
        elif isinstance(arguments, Unknown):
            step.put(owner, arguments)
        else:
            step.put(owner, await self._ask(step, where, arguments))

    async def _ask(self, step: Step, region: str, arguments: dict[str, Any]) -> Answers:
        try:
            return [answer async for answer in self._answers(step.call, region, arguments, step.absent_on)]
        except AbsentError:
            return None
        except CallError as error:
            return unknown_for(error)

    async def _answers(
        self, made: Call, region: str, arguments: dict[str, Any], absent_on: frozenset[str]
    ) -> AsyncIterator[dict[str, Any]]:
        """Each page of the call's answer; raises CallError. The slot is free while a page is worked on."""
        paging = pagination(made.service, made.operation) if made.paginated else None
        size = made.page_size or PAGE_SIZE
        more: dict[str, Any] | None = paging.first(size) if paging else {}
        while more is not None:
            async with self._slots.taken(made.service, region):
                answer = await call(
                    self._clients,
                    made.service,
                    region,
                    made.operation,
                    arguments | more,
                    actions=made.actions,
                    absent_on=absent_on,
                )
            yield answer
            more = paging.following(answer, size) if paging else None

    def _region_of(self, kind: ResourceType, item: dict[str, Any], region: str) -> str:
        account = self._account
        return kind.identify(item, account=account.id, region=region, partition=account.partition).region

    def _home_of(self, region: str) -> str:
        return self._account.home_region if region == GLOBAL else region

    def _context(self, region: str) -> dict[str, str]:
        return {"account": self._account.id, "region": region, "partition": self._account.partition}


async def all_of(coroutines: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Runs all at once; the first error ends the others."""
    async with asyncio.TaskGroup() as group:
        for coroutine in coroutines:
            group.create_task(coroutine)
