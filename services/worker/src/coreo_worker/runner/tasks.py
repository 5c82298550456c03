"""Small helpers over asyncio that several parts of the runner, and runs' own processes, need."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


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
