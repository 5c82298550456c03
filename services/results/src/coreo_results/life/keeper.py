"""Compares runs soon after they have ended, however they did. One in each replica: they wait for each other."""

import asyncio

from coreo_results.life.repository import due_runs
from coreo_results.life.service import Life
from coreo_shared.db import Database
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)
_BATCH = 100


class LifeKeeper:
    """Looks for runs across teams as the system role, and compares each as its team alone."""

    def __init__(self, system_database: Database, life: Life, *, interval_seconds: float) -> None:
        self._database = system_database
        self._life = life
        self._interval_seconds = interval_seconds

    async def run(self, stopping: asyncio.Event) -> None:
        """Compares what is due, every interval, until `stopping`; a failure is logged and tried again."""
        while not stopping.is_set():
            try:
                await self.compare_due(stopping)
            except Exception as error:  # noqa: BLE001  one failure, whatever it is, must not end all comparisons
                _log.error("life_failed", exc_info=error)
            try:
                await asyncio.wait_for(stopping.wait(), self._interval_seconds)
            except TimeoutError:
                continue

    async def compare_due(self, stopping: asyncio.Event | None = None) -> None:
        """Compares a batch of the runs that are due. A run that cannot be compared keeps no other from it."""
        async with self._database.transaction() as connection:
            due = await due_runs(connection, _BATCH)
        for team_id, run_id in due:
            if stopping is not None and stopping.is_set():
                return
            try:
                await self._life.ensure(team_id, run_id)
            except Exception as error:  # noqa: BLE001  as above
                _log.error("run_not_compared", team_id=str(team_id), run_id=str(run_id), exc_info=error)
