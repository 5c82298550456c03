"""Calls to a results service that may be down for a while."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import TypeVar

from coreo_shared.observability.logs import get_logger
from coreo_worker.runner import planning
from coreo_worker.runner.results import ResultsUnavailableError

T = TypeVar("T")
_log = get_logger(__name__)


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
