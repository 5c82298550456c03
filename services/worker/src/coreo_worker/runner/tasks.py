"""Small helpers over asyncio that several parts of the runner need."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from time import monotonic
from typing import Any, TypeVar

from coreo_shared.observability.logs import get_logger
from coreo_worker.runner import planning
from coreo_worker.runner.results import ResultsUnavailableError

T = TypeVar("T")
_log = get_logger(__name__)


async def first_of(*coroutines: Coroutine[Any, Any, T]) -> T:
    """Runs them side by side; what the first one to end gives or raises. The others are cancelled and waited for."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return next(task for task in tasks if task in done).result()


async def happens_within(event: asyncio.Event, seconds: float) -> bool:
    """Whether the event happens, or has happened, within so many seconds."""
    try:
        async with asyncio.timeout(seconds):  # wait_for (3.11) loses a cancellation that comes together with the event
            await event.wait()
    except TimeoutError:
        return False
    return True


async def persistently(call: Callable[[], Awaitable[T]], *, patience: float, what: str) -> T:
    """Makes the call until the results service answers it, for `patience` seconds from the first failure on.

    Raises ResultsUnavailableError then, and at once whatever else the call raises.
    """
    failures, started = 0, 0.0
    while True:
        try:
            return await call()
        except ResultsUnavailableError as error:
            failures += 1
            started = started or monotonic()
            delay = planning.call_delay(failures, random.random())  # noqa: S311  spreads retries, hides nothing
            if monotonic() + delay - started > patience:
                raise
            _log.warning("results_unavailable", call=what, problem=str(error), failures=failures)
        await asyncio.sleep(delay)
