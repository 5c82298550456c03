"""Rounds over teams in the background, as those who back up and exclude make them. What fails is logged, counted and
shown, and keeps nothing else from being done."""

import asyncio
from abc import ABC, abstractmethod
from datetime import UTC, datetime
from typing import ClassVar
from uuid import UUID

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_shared.db import Database
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)


class RoundState(msgspec.Struct, frozen=True, kw_only=True):
    """How a keeper's rounds go in this process, since it began.

    `failures`: of the last rounds, in a row, those that failed as a whole or for a team; `teams`: how many teams the
    last one failed for. `worked_at` and `failed_at`: when a round last was without any failure, and with one.
    """

    name: str
    rounds: int = 0
    failures: int = 0
    teams: int = 0
    worked_at: datetime | None = None
    failed_at: datetime | None = None


class Keeper(ABC):
    """Looks for teams as the system role, and works for each as that team alone. One in each replica."""

    NAME: ClassVar[str]
    ROUND_FAILED: ClassVar[str]  # names of events: of a round, of a team in it, of a problem that could not be noted
    TEAM_FAILED: ClassVar[str]
    NOT_NOTED: ClassVar[str]

    def __init__(self, system_database: Database, database: Database, *, interval_seconds: float) -> None:
        self._system_database = system_database
        self._database = database
        self._interval_seconds = interval_seconds
        self._wanted = asyncio.Event()
        self.state = RoundState(name=self.NAME)

    @abstractmethod
    async def due(self, connection: AsyncConnection) -> list[UUID]:
        """Teams with something to do."""

    @abstractmethod
    async def work(self, team_id: UUID, stopping: asyncio.Event | None) -> bool:
        """Does it; False where some of it does not work, which was logged and noted."""

    @abstractmethod
    async def write_down(self, connection: AsyncConnection, team_id: UUID, error: Exception) -> None:
        """Stores for people why it could not be done."""

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
                    self._count(failed=True)
                    _log.error(self.ROUND_FAILED, failures=self.state.failures, exc_info=error)
                wanted = asyncio.create_task(self._wanted.wait())
                await asyncio.wait({stop, wanted}, timeout=self._interval_seconds, return_when=asyncio.FIRST_COMPLETED)
                wanted.cancel()
        finally:
            stop.cancel()

    async def round(self, stopping: asyncio.Event | None = None) -> None:
        """Works for each team that has something to do. One that it does not work for keeps no other from it."""
        async with self._system_database.transaction() as connection:
            teams = await self.due(connection)
        failed = 0
        for team_id in teams:
            if stopping is not None and stopping.is_set():
                return
            try:
                failed += not await self.work(team_id, stopping)
            except Exception as error:  # noqa: BLE001  as above
                failed += 1
                _log.error(self.TEAM_FAILED, team_id=str(team_id), failures=self.state.failures + 1, exc_info=error)
                await self.note(team_id, error)
        self._count(failed=failed > 0, teams=failed)

    def _count(self, *, failed: bool, teams: int = 0) -> None:
        now, before = datetime.now(UTC), self.state
        self.state = RoundState(
            name=self.NAME,
            rounds=before.rounds + 1,
            failures=before.failures + 1 if failed else 0,
            teams=teams,
            worked_at=before.worked_at if failed else now,
            failed_at=now if failed else before.failed_at,
        )

    async def note(self, team_id: UUID, error: Exception) -> None:
        """Has it written down; raises nothing."""
        try:
            async with self._database.transaction(team_id) as connection:
                await self.write_down(connection, team_id, error)
        except Exception as other:  # noqa: BLE001  the first is logged and counted; the database may be what is away
            _log.error(self.NOT_NOTED, team_id=str(team_id), exc_info=other)
