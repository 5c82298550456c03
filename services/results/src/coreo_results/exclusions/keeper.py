"""Has exclusions done in the background. Who has a team in hand is left alone by other replicas."""

import asyncio
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.exclusions.repository import ExclusionRepository, pending_teams
from coreo_results.exclusions.worker import ExclusionWorker, problem_of
from coreo_results.rounds import Keeper
from coreo_shared.db import Database


class ExclusionKeeper(Keeper):
    """Has all that is pending done."""

    NAME = "exclusions"
    ROUND_FAILED, TEAM_FAILED, NOT_NOTED = "exclusions_failed", "exclusions_wait", "exclusion_problem_not_noted"

    def __init__(
        self, system_database: Database, database: Database, worker: ExclusionWorker, *, interval_seconds: float
    ) -> None:
        super().__init__(system_database, database, interval_seconds=interval_seconds)
        self._worker = worker

    async def due(self, connection: AsyncConnection) -> list[UUID]:
        """See Keeper."""
        return await pending_teams(connection)

    async def work(self, team_id: UUID, stopping: asyncio.Event | None) -> bool:  # noqa: ARG002  it takes seconds
        """What one exclusion alone waits for is noted with it. Raises what all of them need."""
        if await self._worker.work(team_id):
            return True
        async with self._database.transaction(team_id) as connection:  # or another process is at it
            return all(each.problem is None for each in await ExclusionRepository(connection, team_id).pending())

    async def write_down(self, connection: AsyncConnection, team_id: UUID, error: Exception) -> None:
        """With each that is pending."""
        repository = ExclusionRepository(connection, team_id)
        for exclusion in await repository.pending():
            await repository.failed(exclusion.id, problem_of(error))
