"""Reads of the feed that wait for news (long poll)."""

import asyncio
import re
from contextlib import suppress

from coreo_results.events.listener import Wakeup
from coreo_results.events.repository import EventRepository, FeedPosition, FeedSlice
from coreo_shared.contracts.results import EventPage
from coreo_shared.db import Database
from coreo_shared.web.problems import invalid

_CURSOR = re.compile(r"(?P<xid>[0-9]{1,19})-(?P<seq>[0-9]{1,18})", re.ASCII)
# Nothing tells us when the transaction that hides a committed event ends, so look again soon; and as a lost
# notification must cost only time, look again now and then in any case.
_HELD_BACK_SECONDS = 0.02
_LOOK_AGAIN_SECONDS = 5.0


class Events:
    """The feed over all teams, on the system role's database."""

    def __init__(self, system_database: Database, wakeup: Wakeup, stopping: asyncio.Event) -> None:
        self._database = system_database
        self._wakeup = wakeup
        self._stopping = stopping

    async def page(self, after: str, *, limit: int, wait_seconds: float) -> EventPage:
        """Events behind the cursor `after` ("" is the start), waiting so long for the first. Raises a 422 Problem."""
        position = _position(after)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait_seconds
        while True:
            ticket = self._wakeup.ticket()
            found = await self._read(position, limit)
            left = deadline - loop.time()
            if found.events or left <= 0 or self._stopping.is_set():
                cursor = found.events[-1].cursor if found.events else after
                return EventPage(events=found.events, cursor=cursor)
            with suppress(TimeoutError):
                pause = _HELD_BACK_SECONDS if found.held_back else _LOOK_AGAIN_SECONDS
                await asyncio.wait_for(ticket.wait(), min(left, pause))

    async def _read(self, position: FeedPosition, limit: int) -> FeedSlice:
        async with self._database.transaction() as connection:
            return await EventRepository(connection).after(position, limit)


def _position(cursor: str) -> FeedPosition:
    if not cursor:
        return FeedPosition()
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise invalid("query.after", "after: use the cursor of an earlier answer, or leave it out to start")
    return FeedPosition(int(found["xid"]), int(found["seq"]))
