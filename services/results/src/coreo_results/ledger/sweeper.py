"""Ends runs that nobody works on any more, so that every run ends. One in each replica: they skip each other's rows.

A deploy that waits too long for a worker is first sent to one again; one that may have changed something in AWS is not
ended, but its outcome is unknown.
"""

import asyncio

from coreo_results.events.repository import EventRepository
from coreo_results.fleet.repository import FleetRepository
from coreo_results.ledger import deploys, states
from coreo_results.ledger.repository import RunRepository
from coreo_results.ledger.service import log_change
from coreo_shared.db import Database
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)
_BATCH = 100
_TIDY_SECONDS = 3600.0


class Sweeper:
    """Runs across teams, so its database connects with the system role."""

    def __init__(self, system_database: Database, *, abandon_after_seconds: float, interval_seconds: float) -> None:
        self._database = system_database
        self._abandon_after_seconds = abandon_after_seconds
        self._interval_seconds = interval_seconds

    async def run(self, stopping: asyncio.Event) -> None:
        """A sweep every interval, and a tidying every hour, until `stopping`; a failure is logged and tried again."""
        loop = asyncio.get_running_loop()
        tidy_at = loop.time()
        while not stopping.is_set():
            try:
                await self.sweep()
                if loop.time() >= tidy_at:
                    await self.tidy()
                    tidy_at = loop.time() + _TIDY_SECONDS
            except Exception as error:  # noqa: BLE001  one failure, whatever it is, must not end all sweeps
                _log.error("sweep_failed", exc_info=error)
            try:
                await asyncio.wait_for(stopping.wait(), self._interval_seconds)
            except TimeoutError:
                continue

    async def sweep(self) -> int:
        """Ends or sends again what is due; says how many runs it changed."""
        changed = 0
        while batch := await self._sweep_batch():
            changed += batch
        return changed

    async def tidy(self) -> None:
        """Forgets superseded events and workers long silent: the newest event of each run stays."""
        async with self._database.transaction() as connection:
            await EventRepository(connection).forget_superseded()
            await FleetRepository(connection).forget_silent()

    async def _sweep_batch(self) -> int:
        seconds = self._abandon_after_seconds
        async with self._database.transaction() as connection:
            runs = RunRepository(connection)
            changed = 0
            for run in await runs.lock_lapsed(abandon_after_seconds=seconds, limit=_BATCH):
                after = states.sweep(run, abandon_after_seconds=seconds)
                if after is run:
                    after = deploys.sweep(run, abandon_after_seconds=seconds)
                if after != run:
                    await runs.save(after)
                    changed += 1
                    _log.warning(
                        "run_sent_again" if after.is_parked else "run_swept",
                        team_id=str(run.identity.team_id),
                        run_id=str(run.identity.run_id),
                        was=run.state,
                        state=after.state,
                        reason=after.reason,
                    )
                    log_change(run, after)
            return changed
