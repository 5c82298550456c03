"""Turnovers: a team gets a new version of its key, all that the old ones wrap is wrapped anew, and they are destroyed.

Nothing that a team key's keys encrypt is touched. A turnover may be broken off anywhere and goes on from there, in any
process, while the team is being served; several may work at the same one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

from coreo_results.keys.errors import KeyDestroyedError, KeyRetiredError
from coreo_results.keys.repository import KeyRepository
from coreo_results.keys.seal import DamagedError
from coreo_results.keys.service import DERIVED_SECRETS, Keys
from coreo_results.keys.turnover_repository import TurnoverRepository, Wrapped
from coreo_results.keys.vault import Vault
from coreo_results.keys.wrapping import ALL_WRAPPINGS, TeamKey, Wrapping
from coreo_shared.db import Database
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)
_BATCH = 500

# Called with the team and the versions that are about to be destroyed, when nothing in the database is under them any
# more. What is kept elsewhere of wrapped keys is made anew here, and the old forms deleted. It may be called again.
BeforeDestroying = Callable[[UUID, list[int]], Awaitable[None]]


@dataclass(frozen=True)
class Turnover:
    """One that has begun: nothing new is under `old` or anything before it."""

    old: int
    new: int


class Turnovers:
    """Makes, continues and finishes them."""

    def __init__(
        self, database: Database, keys: Keys, vault: Vault, *, before_destroying: Sequence[BeforeDestroying] = ()
    ) -> None:
        self._database = database
        self._keys = keys
        self._vault = vault
        self._before_destroying = before_destroying

    async def run(self, team_id: UUID) -> Turnover:
        """A whole one. Raises NoTeamKeyError, KeyUnavailableError, DamagedError, VaultError."""
        turnover = await self.begin(team_id)
        await self.finish(team_id)
        return turnover

    async def begin(self, team_id: UUID) -> Turnover:
        """A new version, from now on the only one that wraps what is new; all others are retired.

        Called by two at once it may make one version or two. Raises as `run`.
        """
        old = await self._keys.existing_version(team_id)
        await self._keys.team_key(team_id, old.version)  # which puts it into the vault, if it is not there yet
        for name in DERIVED_SECRETS:  # from the first version, which may be what goes
            await self._keys.team_secret(team_id, name)
        new = await self._make_version(team_id, old.version + 1)
        async with self._database.transaction(team_id) as connection:
            repository = KeyRepository(connection)
            await repository.add_version(team_id, new, self._vault.roots.current.name)
            await repository.retire_before(team_id, new)
        _log.info("team_key_turned_over", team_id=str(team_id), old=old.version, new=new)
        return Turnover(old.version, new)

    async def finish(self, team_id: UUID) -> list[int]:
        """Wraps anew what is under retired versions, then destroys these; gives those it destroyed. Raises as `run`."""
        async with self._database.transaction(team_id) as connection:
            retired = await KeyRepository(connection).retired_versions(team_id)
        if not retired:
            return []
        for wrapping in ALL_WRAPPINGS:
            while await self._rewrap_batch(team_id, wrapping):
                pass
        # No transaction can add to a retired version (see check_team_key_version), so this stays true.
        for before in self._before_destroying:
            await before(team_id, retired)
        for version in retired:
            await self._vault.destroy(team_id, version)
            self._keys.forget_version(team_id, version)
        async with self._database.transaction(team_id) as connection:
            await KeyRepository(connection).mark_destroyed(team_id, retired)
        return retired

    async def _make_version(self, team_id: UUID, version: int) -> int:
        while True:
            try:
                await self._vault.create(team_id, version)
                return version
            except KeyDestroyedError:  # the database is an older copy of itself; the vault knows better
                version += 1

    async def _rewrap_batch(self, team_id: UUID, wrapping: Wrapping) -> bool:
        """Whether there was anything left to do."""
        new = await self._keys.newest_team_key(team_id)
        async with self._database.transaction(team_id) as connection:
            repository = TurnoverRepository(connection, team_id, wrapping)
            versions = await repository.old_versions(new.version)
        olds = {key.version: key for key in [await self._old_key(team_id, version) for version in versions] if key}
        if not olds:
            return False
        try:
            async with self._database.transaction(team_id) as connection:
                repository = TurnoverRepository(connection, team_id, wrapping)
                # A row that somebody else has locked is left to a later batch, and waited for when it is the last one:
                # who waits holds no other then, so that nobody can wait for us meanwhile.
                rows = await repository.lock(list(olds), _BATCH) or await repository.lock_one(list(olds))
                anew = await asyncio.to_thread(_rewrapped, wrapping, team_id, olds, new, rows)
                await repository.replace(new.version, anew)
        except KeyRetiredError:
            pass  # another turnover began; the next batch takes its version
        return True

    async def _old_key(self, team_id: UUID, version: int) -> TeamKey | None:
        try:
            return await self._keys.team_key(team_id, version)
        except KeyDestroyedError:
            # By another replica, and then nothing is under it any more; or what is under it is of an old copy of the
            # database that was put back, and lost.
            _log.info("old_team_key_gone", team_id=str(team_id), version=version)
            return None


def _rewrapped(
    wrapping: Wrapping, team_id: UUID, olds: dict[int, TeamKey], new: TeamKey, rows: list[Wrapped]
) -> list[Wrapped]:
    anew = []
    for row in rows:
        try:
            key = wrapping.unwrap(olds[row.version], team_id, row.which, row.wrapped)
        except DamagedError:
            # To go on would be to destroy what may be good in a copy. Whoever deletes these results lets it go on.
            raise DamagedError(f"the {wrapping.kind} {row.which} does not open, so no key can be destroyed") from None
        anew.append(Wrapped(row.which, new.version, wrapping.wrap(new, team_id, row.which, key).wrapped))
    return anew
