"""Has exclusions done in the background. One in each replica: who has a team in hand is left alone by the others."""

import asyncio
from uuid import UUID

from coreo_results.exclusions.repository import ExclusionRepository, pending_teams
from coreo_results.exclusions.worker import ExclusionWorker, problem_of
from coreo_shared.db import Database
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)


class ExclusionKeeper:
    """Looks for teams as the system role, and works for each as that team alone."""

    def __init__(
        self, system_database: Database, database: Database, worker: ExclusionWorker, *, interval_seconds: float
    ) -> None:
        self._system_database = system_database
        self._database = database
        self._worker = worker
        self._interval_seconds = interval_seconds
        self._wanted = asyncio.Event()

    def wake(self) -> None:
        """Begins the next round at once."""
        self._wanted.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """A round every interval, until `stopping`; a failure is logged and tried again."""
        stop = asyncio.create_task(stopping.wait())
        try:
            while not stopping.is_set():
                self._wanted.clear()
                try:
                    await self.round(stopping)
                except Exception as error:  # noqa: BLE001  one failure, whatever it is, must not end all rounds
                    _log.error("exclusions_failed", exc_info=error)
                wanted = asyncio.create_task(self._wanted.wait())
                await asyncio.wait({stop, wanted}, timeout=self._interval_seconds, return_when=asyncio.FIRST_COMPLETED)
                wanted.cancel()
        finally:
            stop.cancel()

    async def round(self, stopping: asyncio.Event | None = None) -> None:
        """Works for each team that has something pending. One that it does not work for keeps no other from it."""
        async with self._system_database.transaction() as connection:
            teams = await pending_teams(connection)
        for team_id in teams:
            if stopping is not None and stopping.is_set():
                return
            try:
                await self._worker.work(team_id)
            except Exception as error:  # noqa: BLE001  as above
                _log.error("exclusions_wait", team_id=str(team_id), exc_info=error)
                await self._note(team_id, problem_of(error))

    async def _note(self, team_id: UUID, problem: str) -> None:
        try:
            async with self._database.transaction(team_id) as connection:
                repository = ExclusionRepository(connection, team_id)
                for exclusion in await repository.pending():
                    await repository.failed(exclusion.id, problem)
        except Exception as error:  # noqa: BLE001  it is logged already; the database may be what is away
            _log.error("exclusion_problem_not_noted", team_id=str(team_id), exc_info=error)
