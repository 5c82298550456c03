"""Event loops whose clock jumps: a wait that nothing else can end is over at once, and takes its time by the clock."""

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time. What it waits for must come from itself, not from threads or other processes."""

    def __init__(self) -> None:
        self._virtual_now = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        """Seconds since the loop was made, those jumped over included."""
        return self._virtual_now

    def jump(self, seconds: float) -> None:
        """Nothing happens for so long."""
        self._virtual_now += seconds


class _Jumping(selectors.DefaultSelector):
    """Waits for files as long as there is no timer, and else not at all."""

    def __init__(self, loop: VirtualTimeLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As a selector."""
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(None if timeout is None else 0)
        if not ready and timeout:
            self._loop.jump(timeout)
        return ready


def virtually(coroutine: Coroutine[Any, Any, T]) -> T:
    """What the coroutine gives, run to its end on virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(coroutine)
