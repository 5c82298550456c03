"""How a worker ends: first no more messages, then, when its time is up, no more runs."""

import asyncio

from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)


class Stopping:
    """Two events, one after the other. Both stay set.

    `draining`: take no more messages, finish what runs. `giving_back`: give back what still runs.
    """

    def __init__(self, *, grace_seconds: float) -> None:
        self.draining = asyncio.Event()
        self.giving_back = asyncio.Event()
        self._grace_seconds = grace_seconds
        self._deadline: asyncio.TimerHandle | None = None

    def drain(self, cause: str) -> None:
        """Begins the end: runs have the grace time from now on. Again changes nothing."""
        if self.draining.is_set():
            return
        _log.info("draining", cause=cause, grace_seconds=self._grace_seconds)
        self.draining.set()
        self._deadline = asyncio.get_running_loop().call_later(self._grace_seconds, self.giving_back.set)

    def signal(self, name: str) -> None:
        """SIGTERM or SIGINT: the first one drains, the second one does not wait for the runs."""
        if self.draining.is_set():
            _log.info("giving_back", cause=name)
            self.giving_back.set()
        else:
            self.drain(name)

    def close(self) -> None:
        """Forgets the deadline."""
        if self._deadline is not None:
            self._deadline.cancel()
