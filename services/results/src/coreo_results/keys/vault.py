"""The vault: where the teams' keys are, and the one place of Coreo's where what is deleted is gone.

An object store without versions holds, for each version of each team's key, that key wrapped by the root key:
`teams/TEAM/VERSION/ROOT.key`, once for each root key that may open it. A version that was destroyed leaves
`teams/TEAM/VERSION/destroyed`, so that neither a lagging process nor an old copy of the database brings it back.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import msgspec

from coreo_results.keys.errors import KeyDestroyedError, VaultUnavailableError
from coreo_results.keys.material import SecretKey
from coreo_results.keys.root import KeyPlace, RootKey, RootKeys, root_id
from coreo_results.keys.seal import DamagedError
from coreo_results.stores import NotStoredError, ObjectStore, StoreConflictError, StoreUnavailableError, open_store
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)
_FORMAT = 1
_DESTROYED = "destroyed"


class VaultError(Exception):
    """The vault cannot be used as configured; the message says what to change."""


class _Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    format: int
    root_key: str
    wrapped: bytes


@dataclass(frozen=True)
class VaultVersion:
    """A version of a team's key as the vault has it."""

    team_id: UUID
    version: int
    roots: frozenset[str]  # `root_id` of each root key that opens it
    is_destroyed: bool


@asynccontextmanager
async def open_vault(location: str, roots: RootKeys) -> AsyncIterator["Vault"]:
    """The vault at dir:/ABSOLUTE/PATH or s3://BUCKET/PREFIX. Raises VaultError, StoreSetupError, StoreUnavailableError.

    A store that keeps versions of what was deleted is refused.
    """
    async with open_store(location) as store:
        vault = Vault(store, roots)
        await vault.check()
        yield vault


class Vault:
    """The teams' keys in clear, to be handed on to nobody but `Keys` and what changes keys."""

    def __init__(self, store: ObjectStore, roots: RootKeys) -> None:
        self._store = store
        self._roots = roots

    @property
    def roots(self) -> RootKeys:
        """The root keys that wrap and open what is in it."""
        return self._roots

    async def check(self) -> None:
        """Raises VaultError where deleting is not final."""
        if await self._store.keeps_versions():
            raise VaultError(
                f"the vault {self._store.name} keeps versions of deleted objects, or once did: a key could be brought "
                "back. Use a bucket that never had versioning"
            )

    async def create(self, team_id: UUID, version: int) -> SecretKey:
        """A fresh key as this version, or the one that is there already.

        Raises KeyDestroyedError, KeyUnavailableError, DamagedError.
        """
        return await self.put(team_id, version, SecretKey.generate())

    async def put(self, team_id: UUID, version: int, key: SecretKey) -> SecretKey:
        """Stores this key, unless another is there, which is given then. Raises as `create`."""
        found = await self._find(team_id, version)
        if found is not None:
            return found
        await self._add(team_id, version, key, self._roots.current)
        return await self.load(team_id, version)  # ours, or that of who was quicker; and it can be read

    async def load(self, team_id: UUID, version: int) -> SecretKey:
        """The key. Raises KeyDestroyedError, KeyUnavailableError, DamagedError."""
        found = await self._find(team_id, version)
        if found is None:
            raise VaultUnavailableError(f"{self._store.name} does not have this key")
        return found

    async def destroy(self, team_id: UUID, version: int) -> None:
        """Makes the version unreadable for good, once or again. Raises VaultError, KeyUnavailableError."""
        await self.check()
        folder = _folder(team_id, version)
        await self._put(folder + _DESTROYED, b"")
        # Those of our root keys also where they are not listed: who deletes may die before nothing is left of them.
        known = {_path(team_id, version, root.name) for root in self._roots}
        for key in sorted(known.union(await self._list(folder))):
            if key != folder + _DESTROYED:
                await self._delete(key)
        if await self._list(folder) != [folder + _DESTROYED]:
            raise VaultUnavailableError(f"{self._store.name} still has a key that was deleted")
        _log.info("team_key_destroyed", team_id=str(team_id), version=version)

    async def wrap_by(self, root: RootKey, team_id: UUID, version: int) -> None:
        """Has this root key wrap the version, and no other any more. Raises as `load`.

        The key is read back before its other forms go; interrupted, it is under both.
        """
        folder, key = _folder(team_id, version), await self.load(team_id, version)
        await self._add(team_id, version, key, root)
        if await self._open(team_id, version, root) != key:
            raise DamagedError("a team key does not come back from the vault as it was stored")
        for other in await self._list(folder):
            if other not in {_path(team_id, version, root.name), folder + _DESTROYED}:
                await self._delete(other)

    async def versions(self, team_id: UUID | None = None) -> AsyncIterator[VaultVersion]:
        """What is in it, of the team or of all. Raises KeyUnavailableError."""
        folder = "teams/" if team_id is None else f"teams/{team_id}/"
        place: tuple[UUID, int] | None = None
        names: set[str] = set()
        for key in await self._list(folder):
            _, team, version, name = key.split("/")
            if place is not None and place != (UUID(team), int(version)):
                yield _version(*place, names)
                names = set()
            place = UUID(team), int(version)
            names.add(name)
        if place is not None:
            yield _version(*place, names)

    async def _find(self, team_id: UUID, version: int) -> SecretKey | None:
        mark = _folder(team_id, version) + _DESTROYED
        known = {_path(team_id, version, root.name) for root in self._roots}
        while True:
            if await self._get(mark) is not None:
                raise KeyDestroyedError
            for root in self._roots:
                found = await self._open(team_id, version, root)
                if found is not None:
                    return found
            there = set(await self._list(_folder(team_id, version)))
            if not there:
                return None
            if not there & {*known, mark}:
                raise VaultUnavailableError("another root key than those in the settings wraps it")
            # While we looked it went from one root key to another, or was destroyed: look again.

    async def _open(self, team_id: UUID, version: int, root: RootKey) -> SecretKey | None:
        content = await self._get(_path(team_id, version, root.name))
        if content is None:
            return None
        try:
            entry = msgspec.json.decode(content, type=_Entry)
        except ValueError:  # no JSON, no UTF-8, or not of this type
            raise DamagedError("a key in the vault is no entry of one") from None
        # Base64 and JSON have more than one spelling of the same.
        if (entry.format, entry.root_key) != (_FORMAT, root.name) or msgspec.json.encode(entry) != content:
            raise DamagedError("a key in the vault is not what its place says")
        return await root.unwrap(entry.wrapped, KeyPlace(team_id, version))

    async def _add(self, team_id: UUID, version: int, key: SecretKey, root: RootKey) -> None:
        wrapped = await root.wrap(key, KeyPlace(team_id, version))
        entry = _Entry(format=_FORMAT, root_key=root.name, wrapped=bytes(wrapped))
        path = _path(team_id, version, root.name)
        await self._put(path, msgspec.json.encode(entry))
        if await self._get(_folder(team_id, version) + _DESTROYED) is not None:  # since we looked
            await self._delete(path)
            raise KeyDestroyedError

    async def _get(self, key: str) -> bytes | None:
        try:
            return await self._store.get(key)
        except NotStoredError:
            return None
        except StoreUnavailableError as error:
            raise _unavailable(error) from error

    async def _put(self, key: str, data: bytes) -> None:
        try:
            await self._store.put(key, data)
        except StoreConflictError:
            return  # somebody was quicker; who needs it, reads it
        except StoreUnavailableError as error:
            raise _unavailable(error) from error

    async def _list(self, folder: str) -> list[str]:
        try:
            return [entry.key async for entry in self._store.list(folder)]
        except StoreUnavailableError as error:
            raise _unavailable(error) from error

    async def _delete(self, key: str) -> None:
        try:
            await self._store.delete(key)
        except StoreUnavailableError as error:
            raise _unavailable(error) from error


def _unavailable(error: StoreUnavailableError) -> VaultUnavailableError:
    _log.error("vault_unavailable", cause=error.cause)
    return VaultUnavailableError(error.cause)


def _folder(team_id: UUID, version: int) -> str:
    return f"teams/{team_id}/{version:010}/"


def _path(team_id: UUID, version: int, root_key: str) -> str:
    return f"{_folder(team_id, version)}{root_id(root_key)}.key"


def _version(team_id: UUID, version: int, names: set[str]) -> VaultVersion:
    roots = frozenset(name.removesuffix(".key") for name in names if name != _DESTROYED)
    return VaultVersion(team_id, version, roots, _DESTROYED in names)
