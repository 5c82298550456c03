"""The root key: wraps team keys. A port with two adapters, chosen by COREO_ROOT_KEY and by nothing else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol
from uuid import UUID

from coreo_results.keys.material import Sealed, SecretKey


class RootKey(Protocol):
    """Wraps and unwraps team keys. The team's id is bound to the wrapped form."""

    @property
    def name(self) -> str:
        """Which root key this is: stored beside what it wrapped."""
        ...

    async def wrap(self, key: SecretKey, team_id: UUID) -> Sealed:
        """The team's key, encrypted. Raises KeyUnavailableError."""
        ...

    async def unwrap(self, wrapped: bytes, team_id: UUID) -> SecretKey:
        """The team's key. Raises KeyUnavailableError for now, DamagedError for good."""
        ...


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
