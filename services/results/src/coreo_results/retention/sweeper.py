"""Has results expire when their time is over, and clears what is left of those that went.

One in each replica: who has a run in hand is passed over by the others.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import UUID

from coreo_results.retention.repository import due_runs, teams_with_counts, uncleared_runs
from coreo_results.retention.service import Retention
from coreo_shared.db import Database
from coreo_shared.observability.logs import get_logger

_BATCH = 100
_log = get_logger(__name__)


class RetentionSweeper:
    """Looks for runs across teams as the system role, and deletes as each one's team."""

    def __init__(self, system_database: Database, retention: Retention, *, interval_seconds: float) -> None:
        self._database = system_database
        self._retention = retention
        self._interval_seconds = interval_seconds

    async def run(self, stopping: asyncio.Event) -> None:
        """A sweep after every interval, until `stopping`; a failure is logged and tried again.

        Not one at once: who has just put in this version has the interval's time to say how long to keep results.
        """
        while not stopping.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), self._interval_seconds)
                return
            try:
                await self.sweep(stopping)
            except Exception as error:  # noqa: BLE001  one failure, whatever it is, must not end all sweeps
                _log.error("retention_failed", exc_info=error)

    async def sweep(self, stopping: asyncio.Event | None = None) -> int:
        """Deletes all that is due, batch by batch; says how many runs expired."""
        expired = 0
        while found := await self._expire_some(stopping):
            expired += found
        while await self._clear_some(stopping):
            pass
        async with self._database.transaction() as connection:
            teams = await teams_with_counts(connection)
        for team_id in teams:
            await self._retention.forget_counts(team_id)
        return expired

    async def _expire_some(self, stopping: asyncio.Event | None) -> int:
        async with self._database.transaction() as connection:
            due = await due_runs(connection, _BATCH)
        return sum([await self._each(self._expire, run, stopping) for run in due])

    async def _clear_some(self, stopping: asyncio.Event | None) -> int:
        async with self._database.transaction() as connection:
            left = await uncleared_runs(connection, _BATCH)
        return sum([await self._each(self._retention.clear, run, stopping) for run in left])

    async def _expire(self, team_id: UUID, run_id: UUID) -> bool:
        if not await self._retention.expire(team_id, run_id):
            return False
        await self._retention.clear(team_id, run_id)
        return True

    async def _each(
        self,
        work: Callable[[UUID, UUID], Awaitable[bool]],
        run: tuple[UUID, UUID],
        stopping: asyncio.Event | None,
    ) -> bool:
        """Whether the work was done. A run that cannot be dealt with holds up no other."""
        if stopping is not None and stopping.is_set():
            return False
        team_id, run_id = run
        try:
            return await work(team_id, run_id)
        except Exception as error:  # noqa: BLE001  as above
            _log.error("results_not_deleted", team_id=str(team_id), run_id=str(run_id), exc_info=error)
            return False
