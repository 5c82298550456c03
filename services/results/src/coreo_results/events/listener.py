"""Wakes whoever waits for events when any replica stores one: PostgreSQL's LISTEN on a connection of its own."""

import asyncio
from contextlib import suppress

import asyncpg
from sqlalchemy.engine import make_url

from coreo_results.ledger.repository import EVENTS_CHANNEL
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)
_RETRY_SECONDS = 1.0


class Wakeup:
    """Many tasks wait; each `ring` wakes those that wait at that moment."""

    def __init__(self) -> None:
        self._next = asyncio.Event()

    def ring(self) -> None:
        """Wakes all."""
        current, self._next = self._next, asyncio.Event()
        current.set()

    def ticket(self) -> asyncio.Event:
        """Set at the next ring after this call: take it before looking, wait after."""
        return self._next


class EventListener:
    """Rings a Wakeup for every notification, and after each reconnect, as some may have been missed."""

    def __init__(self, url: str, wakeup: Wakeup) -> None:
        plain = make_url(url).set(drivername="postgresql")
        self._dsn = plain.render_as_string(hide_password=False)
        self._wakeup = wakeup

    async def run(self, stopping: asyncio.Event) -> None:
        """Listens until `stopping`; a lost connection is made again."""
        while not stopping.is_set():
            try:
                await self._listen(stopping)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                _log.warning("event_listener_lost", cause=type(error).__name__)
                with suppress(TimeoutError):
                    await asyncio.wait_for(stopping.wait(), _RETRY_SECONDS)

    async def _listen(self, stopping: asyncio.Event) -> None:
        connection = await asyncpg.connect(self._dsn, timeout=10)
        try:
            closed = asyncio.Event()
            connection.add_termination_listener(lambda _connection: closed.set())
            await connection.add_listener(EVENTS_CHANNEL, lambda *_details: self._wakeup.ring())
            self._wakeup.ring()
            await _first_of(closed, stopping)
        finally:
            with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError):
                await connection.close(timeout=2)
        if not stopping.is_set():
            raise ConnectionResetError("the server closed the connection")


async def _first_of(*events: asyncio.Event) -> None:
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()
