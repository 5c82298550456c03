"""Sees to what is due with team keys: into the vault, out of the database, turnovers to their end. One per replica."""

import asyncio
from uuid import UUID

from coreo_results.keys.repository import due_teams, lately_retired
from coreo_results.keys.service import CACHE_SECONDS, Keys
from coreo_results.keys.turnover import Turnovers
from coreo_shared.db import Database
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)


class KeyKeeper:
    """Looks for teams as the system role, which sees no key, and works for each as that team alone."""

    def __init__(self, system_database: Database, keys: Keys, turnovers: Turnovers, *, interval_seconds: float) -> None:
        self._database = system_database
        self._keys = keys
        self._turnovers = turnovers
        self._interval_seconds = interval_seconds

    async def run(self, stopping: asyncio.Event) -> None:
        """Does what is due, every interval, until `stopping`; a failure is logged and tried again."""
        while not stopping.is_set():
            try:
                await self.keep()
            except Exception as error:  # noqa: BLE001  one failure, whatever it is, must not end all of this
                _log.error("keys_not_kept", exc_info=error)
            try:
                await asyncio.wait_for(stopping.wait(), self._interval_seconds)
            except TimeoutError:
                continue

    async def keep(self) -> None:
        """Once for each team that something is due for. One that fails keeps no other from it."""
        self._keys.forget_expired()
        async with self._database.transaction() as connection:
            due = await due_teams(connection)
            retired = await lately_retired(connection, CACHE_SECONDS)
        for team_id, version in retired:  # wherever they were retired
            self._keys.forget_version(team_id, version)
        for team_id in due:
            try:
                await self._keep(team_id)
            except Exception as error:  # noqa: BLE001  as above
                _log.error("team_key_not_kept", team_id=str(team_id), exc_info=error)

    async def _keep(self, team_id: UUID) -> None:
        await self._keys.leave_database(team_id)
        await self._turnovers.finish(team_id)
