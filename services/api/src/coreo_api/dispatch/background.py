"""Background tasks: steps that run again and again, woken by signals, until the process is asked to stop."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import structlog
from sqlalchemy.exc import DBAPIError

from coreo_api.context import Context
from coreo_api.dispatch.queue import QueueUnavailableError
from coreo_api.dispatch.retries import retry_delay
from coreo_api.results import ResultsUnavailableError
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)
_STOP_SECONDS = 5.0
# Somebody else is not there just now: worth a line, not a traceback.
_OUTAGES = (QueueUnavailableError, ResultsUnavailableError, DBAPIError, OSError, TimeoutError)


@dataclass(frozen=True)
class Task:
    """`step` does what there is to do and gives the seconds until it is worth another look without a signal.

    `channel` is the signal that wakes it early. A failed step is tried again later: steps must bear that.
    `waits_long`: a step may take long without doing anything, so at the end it is cancelled at once.
    """

    name: str
    step: Callable[[], Awaitable[float]]
    channel: str = ""
    waits_long: bool = False


@asynccontextmanager
async def running(context: Context, tasks: Sequence[Task]) -> AsyncIterator[None]:
    """Runs the tasks while the block does. At its end they finish their step, or are cancelled after some seconds."""
    listener = asyncio.create_task(context.signals.listen(), name="signals")
    loops = [asyncio.create_task(repeat(context, task), name=task.name) for task in tasks]
    try:
        yield
    finally:
        context.stopping.set()
        context.signals.ring_all()
        listener.cancel()
        for task, loop in zip(tasks, loops, strict=True):
            if task.waits_long:
                loop.cancel()
        _, late = await asyncio.wait(loops, timeout=_STOP_SECONDS)
        for loop in late:
            loop.cancel()
        await asyncio.gather(listener, *loops, return_exceptions=True)


async def repeat(context: Context, task: Task) -> None:
    """Steps until the process is asked to stop."""
    failures = 0
    with context.signals.bell(task.channel) as bell, structlog.contextvars.bound_contextvars(task=task.name):
        while not context.stopping.is_set():
            try:
                seconds = await task.step()
                failures = 0
            except Exception as error:  # noqa: BLE001  a bug in one step must not end the task for good
                failures += 1
                seconds = retry_delay(failures, random.random())  # noqa: S311  no secret
                _note(error, failures, seconds)
            if seconds > 0:
                await bell.wait(seconds)


def _note(error: Exception, failures: int, seconds: float) -> None:
    if isinstance(error, _OUTAGES):
        _log.warning("task_waits", error=type(error).__name__, failures=failures, retry_seconds=round(seconds, 1))
    else:
        _log.error("task_failed", exc_info=error, failures=failures, retry_seconds=round(seconds, 1))
