"""Tells the results service that this worker is there, and the container that it lives."""

import asyncio
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from uuid import UUID

from coreo_shared.contracts.results import RegisterWorker
from coreo_shared.contracts.terms import Pool
from coreo_shared.observability.logs import get_logger
from coreo_worker.runner.results import Results, ResultsRefusedError, ResultsUnavailableError
from coreo_worker.runner.stopping import Stopping
from coreo_worker.runner.tasks import happens_within

_log = get_logger(__name__)
_FIRST_INTERVAL_SECONDS = 10.0  # until the results service has said how often it wants to hear


@dataclass(frozen=True)
class Identity:
    """Who this worker is."""

    worker_id: str
    pool: Pool
    version: str = field(default_factory=lambda: version("coreo-worker"))
    host: str = field(default_factory=lambda: socket.gethostname()[:256])
    started_at: str = field(default_factory=lambda: datetime.now(UTC).isoformat())


class Fleet:
    """Registers, and reports in each interval. A results service that does not answer keeps nobody from working."""

    def __init__(
        self,
        identity: Identity,
        results: Results,
        stopping: Stopping,
        *,
        current_runs: Callable[[], Sequence[UUID]],
        refused: Mapping[str, int],
        sealing_key: Callable[[], str | None] = lambda: None,
    ) -> None:
        self._identity = identity
        self._results = results
        self._stopping = stopping
        self._current_runs = current_runs
        self._refused = refused
        self._sealing_key = sealing_key
        self._interval = _FIRST_INTERVAL_SECONDS
        self._heard = True

    async def run(self) -> None:
        """Reports until it is cancelled; at once when the worker begins to drain."""
        while True:
            await self.report()
            if self._stopping.draining.is_set():
                await asyncio.sleep(self._interval)
            else:
                await happens_within(self._stopping.draining, self._interval)

    async def report(self) -> None:
        """Says how the worker is, and hears whether it shall drain."""
        who = self._identity
        is_draining = self._stopping.draining.is_set()
        message = RegisterWorker(
            worker_id=who.worker_id,
            pool=who.pool,
            version=who.version,
            host=who.host,
            started_at=who.started_at,
            current_runs=list(self._current_runs()),
            rejected_jobs=dict(self._refused),
            draining=is_draining,
            sealing_key=None if is_draining else self._sealing_key(),  # nothing more is to be sent to this worker
        )
        try:
            answer = await self._results.register(message)
        except (ResultsUnavailableError, ResultsRefusedError) as error:
            if self._heard:  # said once for each outage
                _log.warning("worker_not_registered", problem=str(error))
            self._heard = False
            return
        if not self._heard:
            _log.info("worker_registered_again")
        self._heard = True
        self._interval = answer.interval_seconds
        if answer.drain:
            self._stopping.drain("operator")


async def touch_regularly(path: Path, interval_seconds: float) -> None:
    """Touches the heartbeat file until it is cancelled; an event loop that hangs does not."""
    while True:
        try:
            await asyncio.to_thread(path.touch)
        except OSError as error:
            _log.error("heartbeat_file_not_touched", problem=error.strerror)
        await asyncio.sleep(interval_seconds)
