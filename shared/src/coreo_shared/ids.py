"""Identifiers: UUIDs of version 7 (RFC 9562), so that they sort by the time they were made."""

import os
import threading
import time
from uuid import UUID

_RANDOM_BITS = 74
_STEP_BITS = 32
_lock = threading.Lock()
_last = (0, 0)  # milliseconds and random part of this process's newest


def new_id() -> UUID:
    """A fresh UUIDv7: 48 bits of Unix milliseconds, then 74 random bits.

    Those that a process makes are in order, also within a millisecond: the random part then grows, by a random step
    (RFC 9562, 6.2, method 2). What is sorted by id is so in the order in which it happened.
    """
    global _last  # noqa: PLW0603  one order for the process
    with _lock:
        milliseconds, random = time.time_ns() // 1_000_000, _random(_RANDOM_BITS)
        if milliseconds <= _last[0]:  # or the clock was set back
            milliseconds, random = _last[0], _last[1] + 1 + _random(_STEP_BITS)
            if random >> _RANDOM_BITS:
                milliseconds, random = milliseconds + 1, _random(_RANDOM_BITS)
        _last = milliseconds, random
    high, low = random >> 62, random & ((1 << 62) - 1)
    return UUID(int=(milliseconds & ((1 << 48) - 1)) << 80 | 7 << 76 | high << 64 | 2 << 62 | low)


def _random(bits: int) -> int:
    return int.from_bytes(os.urandom(10), "big") >> (80 - bits)
