"""Keeps a message hidden from other workers while this one deals with it."""

import asyncio
from types import TracebackType
from typing import Self

from coreo_shared.observability.logs import get_logger
from coreo_worker.aws.queue import JobQueue, QueueUnavailableError, ReceivedMessage
from coreo_worker.runner.tasks import happens_within

_log = get_logger(__name__)


class MessageKeeper:
    """An async context manager: within it the message's visibility is renewed, each time a third of it has passed."""

    def __init__(self, queue: JobQueue, message: ReceivedMessage, visibility_seconds: int) -> None:
        self._queue = queue
        self._message = message
        self._seconds = visibility_seconds
        self._now = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._keep())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def outlast(self, seconds: int) -> None:
        """From now on each renewal is for at least so long, the first at once.

        A message that comes back before its run's lease has ended would be a delivery spent on hearing that.
        """
        self._seconds = max(self._seconds, seconds)
        self._now.set()

    async def _keep(self) -> None:
        while True:
            await happens_within(self._now, self._seconds / 3)
            self._now.clear()
            try:
                await self._queue.hide(self._message, self._seconds)
            except QueueUnavailableError as error:
                # The next renewal may work. If none does, another worker gets the message, and the fence decides.
                _log.warning("visibility_not_renewed", problem=error.code)
