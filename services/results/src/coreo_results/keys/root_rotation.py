"""Replaces the root key: every key in the vault is wrapped by another. Online, and broken off anywhere it goes on."""

from dataclasses import dataclass
from uuid import UUID

from coreo_results.keys.errors import KeyDestroyedError
from coreo_results.keys.repository import KeyRepository, due_teams
from coreo_results.keys.root import root_id
from coreo_results.keys.service import Keys
from coreo_results.keys.vault import Vault
from coreo_shared.db import Database
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)


@dataclass(frozen=True)
class Rotated:
    """What was done."""

    wrapped: int  # versions of team keys that the root key wraps by now and did not before
    untouched: int  # those that it alone wrapped already


class RootRotation:
    """From whatever root keys the settings name to the first of them, COREO_ROOT_KEY."""

    def __init__(self, database: Database, system_database: Database, keys: Keys, vault: Vault) -> None:
        self._database = database
        self._system_database = system_database
        self._keys = keys
        self._vault = vault

    async def run(self) -> Rotated:
        """Wraps all by the current root key alone. Raises KeyUnavailableError, DamagedError.

        Services go on meanwhile, if their settings name both root keys.
        """
        async with self._system_database.transaction() as connection:
            teams = await due_teams(connection)
        for team_id in teams:  # what an older version of Coreo left in the database
            await self._keys.leave_database(team_id)
        current, wrapped, untouched = self._vault.roots.current, 0, 0
        async for version in self._vault.versions():
            if version.is_destroyed:
                continue
            if version.roots == {root_id(current.name)}:
                untouched += 1
            elif await self._wrap(version.team_id, version.version):
                wrapped += 1
        _log.info("root_key_rotated", root_key=current.name, wrapped=wrapped, untouched=untouched)
        return Rotated(wrapped, untouched)

    async def _wrap(self, team_id: UUID, version: int) -> bool:
        current = self._vault.roots.current
        try:
            await self._vault.wrap_by(current, team_id, version)
        except KeyDestroyedError:  # meanwhile
            return False
        async with self._database.transaction(team_id) as connection:
            await KeyRepository(connection).mark_root(team_id, version, current.name)
        return True
