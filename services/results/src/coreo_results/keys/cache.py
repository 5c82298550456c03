"""A cache that forgets: for unwrapped keys, which must not outlive a change of what wraps them by more than minutes."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class ExpiringCache(Generic[K, V]):
    """At most `max_entries` values for `seconds` each. Callers that miss the same key together load it once."""

    def __init__(self, *, seconds: float, max_entries: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._max_entries = max_entries
        self._clock = clock
        self._entries: OrderedDict[K, tuple[float, V]] = OrderedDict()
        self._loading: dict[K, asyncio.Lock] = {}

    async def get(self, key: K, load: Callable[[], Awaitable[V]]) -> V:
        """The cached value, or the awaited `load()`. What `load` raises is raised, and never cached."""
        found = self._fresh(key)
        if found is not None:
            return found[0]
        lock = self._loading.setdefault(key, asyncio.Lock())
        async with lock:
            try:
                found = self._fresh(key)
                if found is not None:
                    return found[0]
                value = await load()
                self._store(key, value)
                return value
            finally:
                self._loading.pop(key, None)

    def peek(self, key: K) -> V | None:
        """The cached value, or None."""
        found = self._fresh(key)
        return None if found is None else found[0]

    def forget(self, key: K) -> None:
        """Drops the value, if there is one."""
        self._entries.pop(key, None)

    def forget_expired(self) -> None:
        """Drops what nobody has asked for since its time was over."""
        now = self._clock()
        for key in [key for key, (until, _) in self._entries.items() if until <= now]:
            del self._entries[key]

    def _fresh(self, key: K) -> tuple[V] | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] <= self._clock():
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return (entry[1],)

    def _store(self, key: K, value: V) -> None:
        self._entries[key] = (self._clock() + self._seconds, value)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)
