"""What every run's process has: two pipes to its worker, and a way to ask for another session."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Final

from coreo_worker.runner.tasks import happens_within

_SESSION_SECONDS: Final = 60.0  # for the worker to come by a session


async def open_pipes(incoming: int, outgoing: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """These two file descriptors as streams of the running loop."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(incoming, "rb"))
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, os.fdopen(outgoing, "wb"))
    return reader, asyncio.StreamWriter(transport, protocol, None, loop)


class Sessions:
    """Has the worker asked (`ask`) for a session where AWS has ended the last one before its time."""

    def __init__(self, ask: Callable[[], Awaitable[None]]) -> None:
        self._ask = ask
        self._renewed = asyncio.Event()

    async def renew(self) -> None:
        """Returns when there is a new session, or when waiting for one is of no use any more."""
        self._renewed.clear()
        await self._ask()
        await happens_within(self._renewed, _SESSION_SECONDS)

    def renewed(self) -> None:
        """The clients have another session."""
        self._renewed.set()
