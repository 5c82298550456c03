"""The small helpers: nothing that was cancelled goes on, nothing that was cancelled is left behind."""

import asyncio

import pytest

from coreo_worker.runner.tasks import first_of, happens_within


async def test_the_first_to_end_decides_and_the_others_are_cancelled() -> None:
    cancelled = []

    async def waits() -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # even one that needs a moment for it has ended afterwards
            cancelled.append(True)
            raise
        return "never"

    async def ends() -> str:
        await asyncio.sleep(0)
        return "ended"

    assert await first_of(waits(), ends(), waits()) == "ended"
    assert cancelled == [True, True]


async def test_an_error_of_the_first_is_raised() -> None:
    async def fails() -> str:
        await asyncio.sleep(0)
        raise ZeroDivisionError

    async def waits() -> str:
        await asyncio.Event().wait()
        return "never"

    with pytest.raises(ZeroDivisionError):
        await first_of(waits(), fails())


async def test_of_two_that_end_together_the_one_named_first_decides() -> None:
    async def ends(name: str) -> str:
        return name

    assert await first_of(ends("a"), ends("b")) == "a"


async def test_cancelling_the_whole_cancels_each() -> None:
    ended = []

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    whole = asyncio.create_task(first_of(waits(), waits()))
    await asyncio.sleep(0.01)
    whole.cancel()
    with pytest.raises(asyncio.CancelledError):
        await whole
    assert ended == [True, True]


async def test_an_event_is_waited_for_so_long() -> None:
    event = asyncio.Event()
    assert not await happens_within(event, 0.01)
    event.set()
    assert await happens_within(event, 0.01)


@pytest.mark.parametrize("steps", range(4))
async def test_a_cancellation_that_comes_with_the_event_is_not_lost(steps: int) -> None:
    event = asyncio.Event()

    async def loops() -> None:
        while True:
            await happens_within(event, 60)
            event.clear()

    task = asyncio.create_task(loops())
    await asyncio.sleep(0.01)
    event.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    task.cancel()
    done, _ = await asyncio.wait({task}, timeout=1)
    assert done == {task}
    assert task.cancelled()
