"""Team keys, and what they wrap: made at need, cached for minutes, never written in clear.

A team's key has versions. The newest wraps what is new; an older one is retired, and destroyed once nothing is under
it any more (see `turnover`). What must outlast versions is wrapped by them: runs' data keys, keys of backups, and the
team's secrets.
"""

import time
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.keys.cache import ExpiringCache
from coreo_results.keys.errors import (
    KeyDestroyedError,
    KeyRetiredError,
    KeyUnavailableError,
    NoRunKeyError,
    NoTeamKeyError,
    StaleRunKeyError,
)
from coreo_results.keys.material import SecretKey
from coreo_results.keys.repository import KeyRepository, TeamKeyVersion, WrappedRunKey
from coreo_results.keys.root import KeyPlace
from coreo_results.keys.seal import DamagedError, derive
from coreo_results.keys.vault import Vault
from coreo_results.keys.wrapping import BACKUP_KEYS, RUN_KEYS, TEAM_SECRETS, TeamKey, WrappedKey
from coreo_shared.db import Database

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
W = TypeVar("W", bound=WrappedKey)
CACHE_SECONDS = 300.0  # how long a disabled root key still works for a team in use
FIRST_VERSION = 1
TAGS, DECISIONS = "tags", "decisions"
# The team's secrets that versions of Coreo without team secrets derived from the first version, and from what. They
# begin as that in every team, so that what is stored stays readable.
DERIVED_SECRETS = {TAGS: "fingerprints", DECISIONS: "decisions"}
_MAX_KEYS = 1024


@dataclass(frozen=True)
class RunKey:
    """A run's data key and what is derived from it."""

    data: SecretKey
    resources: SecretKey  # for the keyed hashes that find a resource
    cursors: SecretKey  # signs page cursors; the same for all runs of the team
    fingerprints: SecretKey  # for keyed hashes of fingerprints: the same for all runs of the team
    generation: int = 1


@dataclass(frozen=True)
class BackupKey:
    """A run's backup key, in clear and as it is stored."""

    key: SecretKey
    wrapped: WrappedKey


class Keys:
    """The hierarchy over one vault."""

    def __init__(self, database: Database, vault: Vault, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._vault = vault
        self._team_keys: ExpiringCache[tuple[UUID, int], SecretKey] = _cache(clock)
        self._run_keys: ExpiringCache[tuple[UUID, UUID], RunKey] = _cache(clock)
        self._secrets: ExpiringCache[tuple[UUID, str], SecretKey] = _cache(clock)

    async def newest_team_key(self, team_id: UUID) -> TeamKey:
        """The key that wraps what is new, made if the team has none. Raises KeyUnavailableError, DamagedError."""
        tried = 0
        while True:
            async with self._database.transaction(team_id) as connection:
                stored = await KeyRepository(connection).newest_version(team_id)
            if stored is None:
                stored = await self._make_team_key(team_id)
            try:
                return TeamKey(stored.version, await self._in_clear(team_id, stored))
            except KeyDestroyedError:  # a whole turnover since we looked?
                if stored.version == tried:
                    # No: the register is older than the vault, as a copy of the database is that was put back.
                    raise DamagedError("the newest key of this team that the database knows was destroyed") from None
                tried = stored.version

    async def team_key(self, team_id: UUID, version: int) -> TeamKey:
        """A version of the team's key. Raises KeyDestroyedError, KeyUnavailableError, DamagedError."""
        known = self._team_keys.peek((team_id, version))
        if known is not None:
            return TeamKey(version, known)
        async with self._database.transaction(team_id) as connection:
            stored = await KeyRepository(connection).version(team_id, version)
        if stored is None:
            raise DamagedError("a key of this team is missing")
        return TeamKey(version, await self._in_clear(team_id, stored))

    async def with_team_key(self, team_id: UUID, work: Callable[[TeamKey], Awaitable[T]]) -> T:
        """What `work` gives with the newest key; it is done again where that key was retired meanwhile.

        `work` stores in one transaction what the key wraps, under `refusing_retired_keys`.
        """
        while True:
            try:
                return await work(await self.newest_team_key(team_id))
            except KeyRetiredError:
                continue  # a newer one is registered, or it would not be retired

    async def run_key(self, team_id: UUID, run_id: UUID) -> RunKey:
        """The run's keys, as they were at most minutes ago: see `with_run_key`.

        Raises NoRunKeyError, KeyUnavailableError, DamagedError.
        """

        async def load() -> RunKey:
            async def stored() -> WrappedRunKey:
                async with self._database.transaction(team_id) as connection:
                    found = await KeyRepository(connection).run_key(team_id, run_id)
                if found is None:
                    raise NoRunKeyError
                return found

            found, team = await self._under_team_key(team_id, stored)
            data = RUN_KEYS.unwrap(team, team_id, run_id, found.wrapped)
            return _run_key(data, await self.team_secret(team_id, TAGS), found.generation)

        return await self._run_keys.get((team_id, run_id), load)

    async def open_run_key(self, team_id: UUID, run_id: UUID, stored: WrappedRunKey) -> RunKey:
        """The run's keys from what a snapshot of the database has, as all else that is read in it.

        Raises StaleRunKeyError where the team's key that wraps it was destroyed meanwhile, KeyUnavailableError,
        DamagedError.
        """
        try:
            team = await self.team_key(team_id, stored.team_key_version)
        except KeyDestroyedError:
            raise StaleRunKeyError from None
        data = RUN_KEYS.unwrap(team, team_id, run_id, stored.wrapped)
        return _run_key(data, await self.team_secret(team_id, TAGS), stored.generation)

    async def with_run_key(self, team_id: UUID, run_id: UUID, work: Callable[[RunKey], Awaitable[T]]) -> T:
        """What `work` gives with the run's keys; it is done again where the run was keyed anew meanwhile.

        `work` calls `confirm` with its key, in the transaction that it stores or reads in, after what it reads.
        Raises as `run_key` and `work`.
        """
        while True:
            key = await self.run_key(team_id, run_id)
            try:
                return await work(key)
            except StaleRunKeyError:
                self._run_keys.forget((team_id, run_id))

    async def confirm(self, connection: AsyncConnection, team_id: UUID, run_id: UUID, key: RunKey) -> None:
        """Whether what the transaction has read so far of the run is under this key. Raises StaleRunKeyError.

        A run is keyed anew in one transaction, and generations only grow: if this one is not over now, none was before.
        """
        if await KeyRepository(connection).run_key_generation(team_id, run_id) != key.generation:
            raise StaleRunKeyError

    def new_run_key(self, team_id: UUID, run_id: UUID, team: TeamKey) -> WrappedRunKey:
        """A fresh data key for the run, wrapped."""
        made = RUN_KEYS.wrap(team, team_id, run_id, SecretKey.generate())
        return WrappedRunKey(made.team_key_version, made.wrapped)

    def fresh_run_key(
        self, team_id: UUID, run_id: UUID, team: TeamKey, tags: SecretKey
    ) -> tuple[RunKey, WrappedRunKey]:
        """As `new_run_key`, in clear too. `tags`: the team's secret of that name."""
        key = _run_key(SecretKey.generate(), tags, 1)
        made = RUN_KEYS.wrap(team, team_id, run_id, key.data)
        return key, WrappedRunKey(made.team_key_version, made.wrapped)

    def next_run_key(self, team_id: UUID, run_id: UUID, team: TeamKey, old: RunKey) -> tuple[RunKey, WrappedRunKey]:
        """The run's keys with another data key, of the next generation, in clear and as it is stored."""
        new = _run_key(SecretKey.generate(), old.fingerprints, old.generation + 1)
        made = RUN_KEYS.wrap(team, team_id, run_id, new.data)
        return new, WrappedRunKey(made.team_key_version, made.wrapped, new.generation)

    def new_backup_key(self, team_id: UUID, run_id: UUID, team: TeamKey) -> BackupKey:
        """A fresh key for the run's backup. Store it within `with_team_key`."""
        key = SecretKey.generate()
        return BackupKey(key, BACKUP_KEYS.wrap(team, team_id, run_id, key))

    async def open_backup_key(
        self, team_id: UUID, run_id: UUID, stored: Callable[[], Awaitable[WrappedKey]]
    ) -> SecretKey:
        """The key of a run's backup. `stored` reads it, again where its version was destroyed meanwhile.

        Raises what `stored` raises, KeyUnavailableError, DamagedError.
        """
        found, team = await self._under_team_key(team_id, stored)
        return BACKUP_KEYS.unwrap(team, team_id, run_id, found.wrapped)

    async def team_secret(self, team_id: UUID, name: str) -> SecretKey:
        """A key that stays the same as long as the team is there, made at first use.

        Raises KeyUnavailableError, DamagedError.
        """

        async def load() -> SecretKey:
            async def stored() -> WrappedKey:
                async with self._database.transaction(team_id) as connection:
                    found = await KeyRepository(connection).secret(team_id, name)
                return found or await self._make_secret(team_id, name)

            found, team = await self._under_team_key(team_id, stored)
            return TEAM_SECRETS.unwrap(team, team_id, name, found.wrapped)

        return await self._secrets.get((team_id, name), load)

    async def existing_version(self, team_id: UUID) -> TeamKeyVersion:
        """The newest version as registered. Raises NoTeamKeyError."""
        async with self._database.transaction(team_id) as connection:
            stored = await KeyRepository(connection).newest_version(team_id)
        if stored is None:
            raise NoTeamKeyError
        return stored

    async def leave_database(self, team_id: UUID) -> None:
        """Moves keys that an older version of Coreo left in the database into the vault.

        Called again an hour later it drops them, when no process of such a version needs them any more.
        Raises KeyUnavailableError, DamagedError.
        """
        async with self._database.transaction(team_id) as connection:
            found = await KeyRepository(connection).leaving_versions(team_id)
        for stored in found:
            if not stored.in_vault:
                await self._move(team_id, stored)
                continue
            await self._vault.load(team_id, stored.version)  # it can be had from there: the other copy may go
            async with self._database.transaction(team_id) as connection:
                await KeyRepository(connection).forget_wrapped(team_id, stored.version)

    def forget_version(self, team_id: UUID, version: int) -> None:
        """Drops the version from memory."""
        self._team_keys.forget((team_id, version))

    def forget_run(self, team_id: UUID, run_id: UUID) -> None:
        """Drops the run's keys from memory."""
        self._run_keys.forget((team_id, run_id))

    def forget_expired(self) -> None:
        """Drops from memory what has been there long enough, and that nobody asks for."""
        for cache in (self._team_keys, self._run_keys, self._secrets):
            cache.forget_expired()

    async def _under_team_key(self, team_id: UUID, stored: Callable[[], Awaitable[W]]) -> tuple[W, TeamKey]:
        """What is stored, and the key that wraps it. It may be re-wrapped, and its version destroyed, in between."""
        tried = 0
        while True:
            found = await stored()
            try:
                return found, await self.team_key(team_id, found.team_key_version)
            except KeyDestroyedError:
                if found.team_key_version == tried:
                    raise DamagedError("this is under a version of the team's key that was destroyed") from None
                tried = found.team_key_version

    async def _make_team_key(self, team_id: UUID) -> TeamKeyVersion:
        # Vault and root key are asked outside any transaction: they may take seconds. If two processes make a key
        # together, both get the one that is in the vault.
        await self._team_keys.get((team_id, FIRST_VERSION), lambda: self._vault.create(team_id, FIRST_VERSION))
        async with self._database.transaction(team_id) as connection:
            repository = KeyRepository(connection)
            await repository.add_version(team_id, FIRST_VERSION, self._vault.roots.current.name)
            stored = await repository.newest_version(team_id)
        if stored is None:
            raise DamagedError("the team key just stored is missing")
        return stored

    async def _make_secret(self, team_id: UUID, name: str) -> WrappedKey:
        secret = await self._first_secret(team_id, name)

        async def store(team: TeamKey) -> WrappedKey:
            made = TEAM_SECRETS.wrap(team, team_id, name, secret)
            async with self._database.transaction(team_id) as connection:
                repository = KeyRepository(connection)
                await repository.add_secret(team_id, name, made)
                stored = await repository.secret(team_id, name)
            if stored is None:
                raise DamagedError("the secret just stored is missing")
            return stored

        return await self.with_team_key(team_id, store)

    async def _first_secret(self, team_id: UUID, name: str) -> SecretKey:
        purpose = DERIVED_SECRETS.get(name)
        if purpose is None:
            return SecretKey.generate()
        await self.newest_team_key(team_id)  # so that the team has a key
        try:
            return derive((await self.team_key(team_id, FIRST_VERSION)).key, purpose)
        except KeyDestroyedError:
            raise DamagedError("a secret of this team is missing") from None

    async def _in_clear(self, team_id: UUID, stored: TeamKeyVersion) -> SecretKey:
        async def load() -> SecretKey:
            if stored.is_destroyed:
                raise KeyDestroyedError
            if stored.in_vault:
                return await self._vault.load(team_id, stored.version)
            return await self._move(team_id, stored)

        return await self._team_keys.get((team_id, stored.version), load)

    async def _move(self, team_id: UUID, stored: TeamKeyVersion) -> SecretKey:
        """Puts a key that an older version of Coreo left in the database into the vault."""
        root = self._vault.roots.named(stored.root_key)
        if root is None or stored.wrapped is None:
            raise KeyUnavailableError("another root key than those in the settings wraps a team's key")
        key = await root.unwrap(stored.wrapped, KeyPlace(team_id, None))
        if await self._vault.put(team_id, stored.version, key) != key:
            raise DamagedError("the vault has another key of this team than the database")
        async with self._database.transaction(team_id) as connection:
            await KeyRepository(connection).mark_moved(team_id, stored.version, self._vault.roots.current.name)
        return key


def _run_key(data: SecretKey, tags: SecretKey, generation: int) -> RunKey:
    return RunKey(
        data=data,
        resources=derive(data, "resources"),
        cursors=derive(tags, "cursors"),
        fingerprints=tags,
        generation=generation,
    )


def _cache(clock: Callable[[], float]) -> ExpiringCache[K, V]:
    return ExpiringCache(seconds=CACHE_SECONDS, max_entries=_MAX_KEYS, clock=clock)
