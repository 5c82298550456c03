"""The root key: wraps team keys. A port with two adapters, chosen by COREO_ROOT_KEY and by nothing else."""

import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from uuid import UUID

from coreo_results.keys.errors import RootKeyError
from coreo_results.keys.material import Sealed, SecretKey


@dataclass(frozen=True)
class KeyPlace:
    """Which key of a team it is. Its wrapped form opens as no other's.

    `version` is None for what versions of Coreo before the vault stored: they bound the team alone.
    """

    team_id: UUID
    version: int | None


class RootKey(Protocol):
    """Wraps and unwraps team keys."""

    @property
    def name(self) -> str:
        """Which root key this is: stored beside what it wrapped."""
        ...

    async def wrap(self, key: SecretKey, place: KeyPlace) -> Sealed:
        """The team's key, encrypted. Raises KeyUnavailableError."""
        ...

    async def unwrap(self, wrapped: bytes, place: KeyPlace) -> SecretKey:
        """The team's key. Raises KeyUnavailableError for now, DamagedError for good."""
        ...


class RootKeys:
    """The root key in use, and others that may still open what they wrapped, while one takes over from another."""

    def __init__(self, current: RootKey, others: Iterable[RootKey] = ()) -> None:
        self.current = current
        self._by_name = {root.name: root for root in (*others, current)}

    def __iter__(self) -> Iterator[RootKey]:
        """The current one first."""
        yield self.current
        yield from (root for root in self._by_name.values() if root is not self.current)

    def named(self, name: str) -> RootKey | None:
        """The one with this name."""
        return self._by_name.get(name)


def root_id(name: str) -> str:
    """A root key's name as part of a path: 32 hex digits."""
    return hashlib.sha256(name.encode()).hexdigest()[:32]


@asynccontextmanager
async def open_root_key(location: str) -> AsyncIterator[RootKey]:
    """The root key at "file:PATH" or "kms:KEY_ARN". Raises RootKeyError, and never tries another."""
    kind, _, rest = location.partition(":")
    if kind == "file":
        from coreo_results.keys.file_root import FileRootKey  # noqa: PLC0415  only the chosen adapter is loaded

        yield FileRootKey.load(Path(rest))
    else:
        from coreo_results.keys.kms_root import kms_root_key  # noqa: PLC0415  the SDK takes a while to import

        async with kms_root_key(rest) as root:
            yield root


@asynccontextmanager
async def open_root_keys(current: str, others: Iterable[str] = ()) -> AsyncIterator[RootKeys]:
    """The root keys at these places. Raises RootKeyError."""
    async with AsyncExitStack() as stack:
        opened = [await stack.enter_async_context(open_root_key(location)) for location in (current, *others)]
        names = [root.name for root in opened]
        if len(names) != len(set(names)):
            raise RootKeyError("COREO_ROOT_KEY and COREO_OTHER_ROOT_KEYS name the same root key twice")
        yield RootKeys(opened[0], opened[1:])


def check_root_location(value: str) -> str:
    """The location as it is. Raises ValueError."""
    kind, _, rest = value.partition(":")
    if (kind == "file" and Path(rest).is_absolute()) or (kind == "kms" and rest.startswith("arn:")):
        return value
    raise ValueError("expected file:/ABSOLUTE/PATH (see coreo-results create-root-key) or kms:KEY_ARN")
