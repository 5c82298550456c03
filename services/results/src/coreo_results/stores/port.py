"""The port: objects are written once, read, listed and deleted; nothing is ever overwritten."""

import asyncio
import hashlib
import re
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from coreo_shared.web import Problem

PIECE_BYTES = 1024 * 1024  # what a streamed read yields at most at a time
MAX_KEY = 200  # characters
_KEY = re.compile(r"[a-z0-9][a-z0-9._-]*(?:/[a-z0-9][a-z0-9._-]*)*")


class StoreSetupError(Exception):
    """The store cannot be used as configured; the message says what to change."""


class NotStoredError(Exception):
    """There is no object under this key."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} is not stored")
        self.key = key


class StoreConflictError(Exception):
    """Other bytes are stored under this key; they stay as they are."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} is stored already, with another content")
        self.key = key


class StoreUnavailableError(Problem):
    """The store does not do this now. Trying again later works, unless its settings or rights are wrong."""

    def __init__(self, store: str, cause: str) -> None:
        detail = (
            f"The store {store} cannot be used at the moment ({cause}). Try again; if it lasts, check that it is there "
            "and that the results service may use it."
        )
        super().__init__(503, "store_unavailable", detail, title="Store unavailable", headers={"Retry-After": "5"})
        self.cause = cause


@dataclass(frozen=True)
class StoredObject:
    """An object as a listing has it."""

    key: str
    size: int  # bytes
    modified: datetime  # by the store's clock, UTC


class ObjectStore(Protocol):
    """Any of the calls may raise StoreUnavailableError.

    A key is lower-case path segments: `teams/0197…/log/0000000001.jws`, at most 200 characters. It is a bug to use
    another (ValueError), or one that is the folder of another.
    """

    @property
    def name(self) -> str:
        """Where it is, as its setting says it: for messages and reports."""
        ...

    async def keeps_versions(self) -> bool:
        """Whether someone other than the store's users could bring back what was deleted or replaced."""
        ...

    async def put(self, key: str, data: bytes | AsyncIterable[bytes]) -> None:
        """Stores a new object, whole or not at all; it lasts once this returns. Parts are taken one at a time.

        The same bytes under the same key again do no harm. Raises StoreConflictError for others.
        """
        ...

    async def get(self, key: str) -> bytes:
        """The whole object. Raises NotStoredError."""
        ...

    def read(self, key: str) -> AsyncIterator[bytes]:
        """The object in pieces of at most PIECE_BYTES. Raises NotStoredError before the first."""
        ...

    def list(self, prefix: str = "", after: str = "") -> AsyncIterator[StoredObject]:
        """Objects below `prefix` (empty, or a folder that ends with a slash) with keys after `after`, in their order.

        The order is that of the keys' bytes.
        """
        ...

    async def delete(self, key: str) -> None:
        """Deletes the object for good, with every version of it; one that is not there is deleted already.

        A reader of the object meanwhile may get an error or wrong bytes.
        """
        ...


def check_key(key: str) -> str:
    """The key. Raises ValueError for what is none, and so could lead out of the store."""
    if len(key) > MAX_KEY or not _KEY.fullmatch(key):
        raise ValueError(f"no key of an object store: {key!r}")
    return key


def check_prefix(prefix: str) -> str:
    """The prefix of a listing. Raises ValueError."""
    if prefix and not (prefix.endswith("/") and check_key(prefix[:-1])):
        raise ValueError(f"a prefix ends with a slash: {prefix!r}")
    return prefix


async def in_parts(data: bytes | AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """What `put` takes, as parts."""
    if isinstance(data, bytes):
        yield data
    else:
        async for part in data:
            yield part


async def rechunked(data: bytes | AsyncIterable[bytes], size: int) -> AsyncIterator[bytes]:
    """What `put` takes, in parts of this size, the last one shorter; nothing for nothing."""
    buffer = bytearray()
    async for part in in_parts(data):
        buffer += part
        while len(buffer) >= size:
            yield bytes(buffer[:size])
            del buffer[:size]
    if buffer:
        yield bytes(buffer)


async def digest_of(store: ObjectStore, key: str) -> bytes | None:
    """SHA-256 of a stored object, read in pieces; None when there is none."""
    digest = hashlib.sha256()
    try:
        async for piece in store.read(key):
            await asyncio.to_thread(digest.update, piece)
    except NotStoredError:
        return None
    return digest.digest()
