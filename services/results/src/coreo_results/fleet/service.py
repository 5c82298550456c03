"""Registration and heartbeat of workers."""

from datetime import datetime

from coreo_results.fleet.repository import FleetRepository, Worker
from coreo_shared.contracts.results import RegisterAnswer, RegisterWorker
from coreo_shared.db import Database
from coreo_shared.web.problems import invalid

INTERVAL_SECONDS = 10.0


class Fleet:
    """The registry, on the system role's database."""

    def __init__(self, system_database: Database) -> None:
        self._database = system_database

    async def report(self, worker: RegisterWorker) -> RegisterAnswer:
        """Notes that the worker is there. Raises a 422 Problem."""
        try:
            started_at = datetime.fromisoformat(worker.started_at)
        except ValueError:
            started_at = None
        if started_at is None or started_at.tzinfo is None:
            raise invalid("body.started_at", "expected an RFC 3339 time with its offset")
        async with self._database.transaction() as connection:
            drain = await FleetRepository(connection).report(worker, started_at)
        return RegisterAnswer(interval_seconds=INTERVAL_SECONDS, drain=drain)

    async def workers(self) -> list[Worker]:
        """All workers."""
        async with self._database.transaction() as connection:
            return await FleetRepository(connection).list()
