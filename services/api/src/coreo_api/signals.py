"""PostgreSQL's LISTEN/NOTIFY as bells: whoever waits wakes when a transaction that concerns it commits, here or at
another replica. A signal may be lost (the connection broke), so all bells ring on a new connection, and waiters look at
the data instead of trusting the signal."""

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import asyncpg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_shared.observability.logs import get_logger

OUTBOX = "coreo_outbox"  # rows to deliver, or room for more
SCHEDULE = "coreo_schedule"  # a plan's next tick has changed
TASKS = "coreo_tasks"  # a task in a cloud account waits to be sent
RUNS = "coreo_runs"  # a run has changed; the payload is its id

_CHANNELS = (OUTBOX, SCHEDULE, TASKS, RUNS)
_CHECK_SECONDS = 30.0
_RECONNECT_SECONDS = 1.0
_log = get_logger(__name__)


async def announce(connection: AsyncConnection, channel: str, run_id: UUID | None = None) -> None:
    """Rings the channel's bells at every replica when the transaction commits."""
    payload = "" if run_id is None else str(run_id)
    await connection.execute(text("SELECT pg_notify(:channel, :payload)"), {"channel": channel, "payload": payload})


class Bell:
    """Remembers one ring until somebody waits."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Wakes who waits, or lets the next wait return at once."""
        self._rung.set()

    async def wait(self, seconds: float) -> bool:
        """Whether it rang within so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True


class Signals:
    """One listening connection for the process. `url`: as of Database."""

    def __init__(self, url: str) -> None:
        self._url = url.replace("postgresql+asyncpg://", "postgresql://", 1)
        self._bells: set[tuple[str, str | None, Bell]] = set()

    @contextlib.contextmanager
    def bell(self, channel: str, run_id: UUID | None = None) -> Iterator[Bell]:
        """A bell for the channel; with `run_id` only for that run."""
        bell = Bell()
        entry = (channel, None if run_id is None else str(run_id), bell)
        self._bells.add(entry)
        try:
            yield bell
        finally:
            self._bells.discard(entry)

    def ring_all(self) -> None:
        """Wakes everybody."""
        for _, _, bell in self._bells:
            bell.ring()

    async def listen(self) -> None:
        """Listens until cancelled, and connects again when the connection breaks."""
        while True:
            try:
                await self._listen_once()
            except Exception as error:  # noqa: BLE001  a cut at a bad moment makes the driver raise internal errors too
                _log.warning("listening_failed", error=type(error).__name__)
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _listen_once(self) -> None:
        connection = await asyncpg.connect(self._url, timeout=10, command_timeout=10)
        try:
            closed = asyncio.Event()
            connection.add_termination_listener(lambda _: closed.set())
            for channel in _CHANNELS:
                await connection.add_listener(channel, self._heard)
            self.ring_all()
            while not closed.is_set():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_CHECK_SECONDS):
                        await closed.wait()
                if not closed.is_set():
                    await connection.execute("SELECT 1")  # a connection cut on the way does not say so by itself
        finally:
            connection.terminate()

    def _heard(self, _connection: Any, _pid: int, channel: str, payload: str) -> None:
        for wanted, run_id, bell in self._bells:
            if wanted == channel and run_id in {None, payload}:
                bell.ring()
