"""What a database that was made anew takes over: the versions of a team's key from the vault, secrets from a copy."""

from uuid import UUID

from coreo_results.keys.repository import KeyRepository
from coreo_results.keys.seal import DamagedError
from coreo_results.keys.service import Keys
from coreo_results.keys.vault import Vault
from coreo_results.keys.wrapping import TEAM_SECRETS, TeamKey, WrappedKey
from coreo_shared.db import Database


class Adoption:
    """For a restore. It writes what is not there, and changes nothing that is."""

    def __init__(self, database: Database, keys: Keys, vault: Vault) -> None:
        self._database = database
        self._keys = keys
        self._vault = vault

    async def versions(self, team_id: UUID) -> int | None:
        """Registers what the vault has of the team's key; gives the version that wraps what is new, None for none.

        What was destroyed is registered as that. Should a turnover have been broken off, the older version is retired,
        and what was stored under it must be wrapped anew to be stored. Raises KeyUnavailableError.
        """
        found = [version async for version in self._vault.versions(team_id)]
        live = [version.version for version in found if not version.is_destroyed]
        async with self._database.transaction(team_id) as connection:
            repository = KeyRepository(connection)
            for version in found:
                await repository.add_version(team_id, version.version, self._vault.roots.current.name)
            destroyed = [version.version for version in found if version.is_destroyed]
            await repository.retire(team_id, destroyed)
            await repository.mark_destroyed(team_id, destroyed)
            if live:
                await repository.retire_before(team_id, live[-1])
        return live[-1] if live else None

    async def secret(self, team_id: UUID, name: str, copy: WrappedKey) -> None:
        """Takes over a secret as it was stored, wherever that is in time, if its version is in the vault.

        Raises KeyDestroyedError, KeyUnavailableError, and DamagedError where the team has another one.
        """
        old = await self._keys.team_key(team_id, copy.team_key_version)
        secret = TEAM_SECRETS.unwrap(old, team_id, name, copy.wrapped)

        async def store(team: TeamKey) -> None:
            async with self._database.transaction(team_id) as connection:
                made = TEAM_SECRETS.wrap(team, team_id, name, secret)
                await KeyRepository(connection).add_secret(team_id, name, made)

        await self._keys.with_team_key(team_id, store)
        if await self._keys.team_secret(team_id, name) != secret:
            raise DamagedError(f"the team has another secret {name}")
