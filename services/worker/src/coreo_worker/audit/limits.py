"""How many calls may be under way at once: an audit stays far below AWS's rates, and nobody holds up the rest."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Calls under way at once: in the account, of one service, and of one service in one region.

    A service that hangs holds at most `service` of the account's slots, a region at most `region` of its service's.
    """

    account: int = 48
    service: int = 12
    region: int = 6


class Slots:
    """The slots of one run: `async with slots.taken("ec2", "eu-west-1"):` around each call."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._account = asyncio.Semaphore(limits.account)
        self._services: dict[str, asyncio.Semaphore] = {}
        self._regions: dict[tuple[str, str], asyncio.Semaphore] = {}

    @asynccontextmanager
    async def taken(self, service: str, region: str) -> AsyncIterator[None]:
        """Holds a slot. Narrowest first: who waits for his own service holds none of the account's."""
        of_service = self._services.setdefault(service, asyncio.Semaphore(self._limits.service))
        of_region = self._regions.setdefault((service, region), asyncio.Semaphore(self._limits.region))
        async with of_region, of_service, self._account:
            yield
