"""Team keys and runs' data keys: made at need, cached for minutes, never written in clear."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from coreo_results.keys.cache import ExpiringCache
from coreo_results.keys.material import SecretKey
from coreo_results.keys.repository import KeyRepository, WrappedRunKey, WrappedTeamKey
from coreo_results.keys.root import RootKey
from coreo_results.keys.seal import DamagedError, bind, derive, seal, unseal
from coreo_shared.db import Database

CACHE_SECONDS = 300.0  # how long a disabled root key still works for a team in use
_MAX_KEYS = 1024
FIRST_VERSION = 1  # of a team's key: what must stay the same over all runs follows from it


@dataclass(frozen=True)
class TeamKey:
    """A team's key in clear."""

    version: int
    key: SecretKey


@dataclass(frozen=True)
class RunKey:
    """A run's data key and what is derived from it."""

    data: SecretKey
    resources: SecretKey  # for the keyed hashes that find a resource
    cursors: SecretKey  # signs page cursors
    fingerprints: SecretKey  # for keyed hashes of fingerprints: the same for all runs of the team


class NoRunKeyError(Exception):
    """The run was never claimed, or its key was destroyed: nothing of it can be read or written."""


class Keys:
    """The hierarchy over one root key."""

    def __init__(self, database: Database, root: RootKey, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._root = root
        self._team_keys: ExpiringCache[tuple[UUID, int], SecretKey] = ExpiringCache(
            seconds=CACHE_SECONDS, max_entries=_MAX_KEYS, clock=clock
        )
        self._run_keys: ExpiringCache[tuple[UUID, UUID], RunKey] = ExpiringCache(
            seconds=CACHE_SECONDS, max_entries=_MAX_KEYS, clock=clock
        )

    async def newest_team_key(self, team_id: UUID) -> TeamKey:
        """The key for the team's new runs, made if it has none. Raises KeyUnavailableError, DamagedError."""
        async with self._database.transaction(team_id) as connection:
            stored = await KeyRepository(connection).newest_team_key(team_id)
        if stored is None:
            stored = await self._make_team_key(team_id)
        return TeamKey(stored.version, await self._unwrapped(team_id, stored))

    async def team_key(self, team_id: UUID, version: int) -> TeamKey:
        """A version of the team's key. Raises KeyUnavailableError, DamagedError."""
        known = self._team_keys.peek((team_id, version))
        if known is not None:
            return TeamKey(version, known)
        async with self._database.transaction(team_id) as connection:
            stored = await KeyRepository(connection).team_key(team_id, version)
        if stored is None:
            raise DamagedError("a key of this team is missing")
        return TeamKey(version, await self._unwrapped(team_id, stored))

    async def run_key(self, team_id: UUID, run_id: UUID) -> RunKey:
        """The run's keys. Raises NoRunKeyError, KeyUnavailableError, DamagedError."""

        async def load() -> RunKey:
            async with self._database.transaction(team_id) as connection:
                repository = KeyRepository(connection)
                stored = await repository.run_key(team_id, run_id)
                if stored is None:
                    raise NoRunKeyError
                team_key = await repository.team_key(team_id, stored.team_key_version)
                first_key = await repository.team_key(team_id, FIRST_VERSION)
            if team_key is None or first_key is None:
                raise DamagedError("the team key of this run is missing")
            team, first = await self._unwrapped(team_id, team_key), await self._unwrapped(team_id, first_key)
            data = SecretKey(unseal(team, stored.wrapped, _run_context(team_id, run_id, team_key.version)))
            return RunKey(
                data=data,
                resources=derive(data, "resources"),
                cursors=derive(data, "cursors"),
                fingerprints=derive(first, "fingerprints"),
            )

        return await self._run_keys.get((team_id, run_id), load)

    def new_run_key(self, team_id: UUID, run_id: UUID, team: TeamKey) -> WrappedRunKey:
        """A fresh data key for the run, wrapped."""
        data = SecretKey.generate()
        return WrappedRunKey(team.version, seal(team.key, data.reveal(), _run_context(team_id, run_id, team.version)))

    async def _make_team_key(self, team_id: UUID) -> WrappedTeamKey:
        # The root key is asked outside any transaction: KMS may take seconds. If two processes make a key together,
        # the first insert wins and both use that one.
        made = WrappedTeamKey(FIRST_VERSION, await self._root.wrap(SecretKey.generate(), team_id))
        async with self._database.transaction(team_id) as connection:
            repository = KeyRepository(connection)
            await repository.add_team_key(team_id, made, self._root.name)
            stored = await repository.newest_team_key(team_id)
        if stored is None:
            raise DamagedError("the team key just stored is missing")
        return stored

    async def _unwrapped(self, team_id: UUID, stored: WrappedTeamKey) -> SecretKey:
        async def load() -> SecretKey:
            return await self._root.unwrap(stored.wrapped, team_id)

        return await self._team_keys.get((team_id, stored.version), load)


def _run_context(team_id: UUID, run_id: UUID, team_key_version: int) -> bytes:
    return bind("run-key", team_id, run_id, team_key_version)
