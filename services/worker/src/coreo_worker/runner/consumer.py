"""The queue's end of the worker: takes as many messages as it has hands for, and does to each what became of it."""

import asyncio
from typing import Final

from coreo_shared.observability.logs import get_logger
from coreo_worker.aws.queue import JobQueue, QueueUnavailableError, ReceivedMessage
from coreo_worker.runner import planning
from coreo_worker.runner.handler import JobHandler
from coreo_worker.runner.keeper import MessageKeeper
from coreo_worker.runner.planning import Keep, MessageFate, Return
from coreo_worker.runner.stopping import Stopping
from coreo_worker.runner.tasks import first_of

_log = get_logger(__name__)
_TRIES: Final = 4
_LONGEST_PAUSE_SECONDS: Final = 30.0


class Consumer:
    """Has at most `max_runs` messages at a time, each hidden from others for `visibility_seconds` and then again."""

    def __init__(
        self, queue: JobQueue, handler: JobHandler, stopping: Stopping, *, max_runs: int, visibility_seconds: int
    ) -> None:
        self._queue = queue
        self._handler = handler
        self._draining = stopping.draining
        self._max_runs = max_runs
        self._visibility_seconds = visibility_seconds
        self._failures = 0

    async def run(self) -> None:
        """Until the worker drains and the last message it has is dealt with."""
        at_work: set[asyncio.Task[None]] = set()
        async with asyncio.TaskGroup() as group:
            while not self._draining.is_set():
                if len(at_work) == self._max_runs:
                    await asyncio.wait(at_work, return_when=asyncio.FIRST_COMPLETED)
                else:
                    received = await first_of(self._receive(self._max_runs - len(at_work)), self._drained())
                    at_work |= {group.create_task(self._deal_with(message)) for message in received}
                at_work = {task for task in at_work if not task.done()}

    async def _drained(self) -> list[ReceivedMessage]:
        await self._draining.wait()
        return []

    async def _receive(self, limit: int) -> list[ReceivedMessage]:
        """What a long poll gives; nothing, after a pause, when the queue does not answer."""
        try:
            messages = await self._queue.receive(limit)
        except QueueUnavailableError as error:
            self._failures += 1
            pause = min(error.delay * 2 ** min(self._failures - 1, 16), _LONGEST_PAUSE_SECONDS)
            _log.error("queue_unavailable", problem=error.code, failures=self._failures, pause_seconds=pause)
            await asyncio.sleep(pause)
            return []
        self._failures = 0
        return messages

    async def _deal_with(self, message: ReceivedMessage) -> None:
        async with MessageKeeper(self._queue, message, self._visibility_seconds) as keeper:
            try:
                fate = await self._handler.handle(message, keeper)
            except Exception:  # noqa: BLE001  a bug must not end the other runs; this message comes again
                _log.exception("message_failed", message_id=message.id, delivery=message.receive_count)
                fate = planning.after_bug(message.receive_count)
        await self._apply(fate, message)

    async def _apply(self, fate: MessageFate, message: ReceivedMessage) -> None:
        """Deletes or gives back. Where SQS does not answer, the message comes again, and the ledger knows the rest."""
        for _ in range(_TRIES):
            try:
                if fate is Keep.DELETE:
                    await self._queue.delete(message)
                elif isinstance(fate, Return):
                    await self._queue.hide(message, fate.seconds)
                return
            except QueueUnavailableError as error:
                problem, pause = error.code, error.delay
            await asyncio.sleep(pause)
        _log.error("message_not_settled", message_id=message.id, problem=problem)
