"""A store in a directory, for the embedded stack and installations without S3.

An object is a file of mode 0600. It is written beside, synced and then linked to its name, which is there whole or not
at all and is never replaced. Deleting takes the name away, overwrites the content and syncs, so that nothing of it is
left on a disk that writes in place (flash and copying file systems may keep blocks: encrypt those disks).
"""

import asyncio
import hashlib
import os
import secrets
import stat
import time
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from coreo_results.stores.port import (
    PIECE_BYTES,
    NotStoredError,
    StoreConflictError,
    StoredObject,
    StoreSetupError,
    StoreUnavailableError,
    check_key,
    check_prefix,
    digest_of,
    rechunked,
)

_PARTIAL = ".partial"  # no key begins with a dot
_DELETING = ".deleting"
_STALE_SECONDS = 24 * 3600.0  # no write takes as long
_LIST_BATCH = 500
_WRITE_BYTES = PIECE_BYTES


class DirectoryStore:
    """An ObjectStore. Several processes may use the same directory."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.name = f"dir:{root}"

    def __repr__(self) -> str:
        return f"DirectoryStore({self.name!r})"

    @classmethod
    async def open(cls, root: Path) -> "DirectoryStore":
        """The directory, which must be there and its owner's alone. Raises StoreSetupError.

        It is never made here: an empty one in place of a disk that was not mounted would pass for a store.
        """
        self = cls(root)
        await asyncio.to_thread(self._prepare)
        return self

    async def keeps_versions(self) -> bool:
        """See ObjectStore."""
        return False

    async def put(self, key: str, data: bytes | AsyncIterable[bytes]) -> None:
        """See ObjectStore."""
        target, partial = self._path(key), self._root / _PARTIAL / secrets.token_hex(16)
        parts = rechunked(data, _WRITE_BYTES)
        first = await anext(parts, b"")  # what the source raises is its own
        if len(first) < _WRITE_BYTES:
            with self._errors(key):
                linked, digest = await asyncio.to_thread(self._put_at_once, partial, target, first)
        else:
            linked, digest = await self._put_in_parts(partial, target, first, parts)
        if not linked and await digest_of(self, key) != digest:
            raise StoreConflictError(key)

    async def get(self, key: str) -> bytes:
        """See ObjectStore."""
        with self._errors(key):
            return await asyncio.to_thread(self._path(key).read_bytes)

    async def read(self, key: str) -> AsyncIterator[bytes]:
        """See ObjectStore."""
        path = self._path(key)
        with self._errors(key):
            file = await asyncio.to_thread(path.open, "rb", buffering=0)
        try:
            while True:
                with self._errors(key):
                    piece = await asyncio.to_thread(file.read, PIECE_BYTES)
                if not piece:
                    return
                yield piece
        finally:
            file.close()

    async def list(self, prefix: str = "", after: str = "") -> AsyncIterator[StoredObject]:
        """See ObjectStore."""
        found = self._walk(check_prefix(prefix), after)
        while True:
            with self._errors(prefix):
                batch = await asyncio.to_thread(_take, found, _LIST_BATCH)
            if not batch:
                return
            for entry in batch:
                yield entry

    async def delete(self, key: str) -> None:
        """See ObjectStore."""
        path = self._path(key)
        with self._errors(key):
            await asyncio.to_thread(self._erase, path, self._root / _DELETING / key.replace("/", "~"))

    def _path(self, key: str) -> Path:
        return self._root / check_key(key)

    def _prepare(self) -> None:
        try:
            mode = self._root.stat().st_mode
        except OSError as error:
            hint = f"make it with: mkdir -m 700 {self._root}"
            raise StoreSetupError(f"store {self.name}: {error.strerror}; {hint}") from None
        if not stat.S_ISDIR(mode):
            raise StoreSetupError(f"store {self.name}: not a directory")
        if stat.S_IMODE(mode) & 0o077:
            raise StoreSetupError(f"store {self.name} is open to others; run: chmod 700 {self._root}")
        try:
            for folder in (_PARTIAL, _DELETING):
                (self._root / folder).mkdir(mode=0o700, exist_ok=True)
            for left in (self._root / _PARTIAL).iterdir():  # of writers that died
                if left.stat().st_mtime < time.time() - _STALE_SECONDS:
                    left.unlink(missing_ok=True)
            for left in (self._root / _DELETING).iterdir():  # of who died deleting: nobody may ask for it again
                _shred(left)
        except OSError as error:
            raise StoreSetupError(f"store {self.name} cannot be written: {error.strerror}") from None

    def _put_at_once(self, partial: Path, target: Path, data: bytes) -> tuple[bool, bytes]:
        writer = _Writer(partial)
        try:
            writer.write(data)
            return writer.finish(self._link, target), writer.digest()
        finally:
            writer.discard()

    async def _put_in_parts(
        self, partial: Path, target: Path, first: bytes, parts: AsyncIterator[bytes]
    ) -> tuple[bool, bytes]:
        with self._errors(target.name):
            writer = await asyncio.to_thread(_Writer, partial)
        try:
            part: bytes | None = first
            while part is not None:
                with self._errors(target.name):
                    await asyncio.to_thread(writer.write, part)
                part = await anext(parts, None)
            with self._errors(target.name):
                return await asyncio.to_thread(writer.finish, self._link, target), writer.digest()
        finally:
            await asyncio.to_thread(writer.discard)

    def _link(self, partial: Path, target: Path) -> bool:
        """Gives the file its name; False if something has that name."""
        self._make_folders(target.parent)
        try:
            os.link(partial, target)
        except FileExistsError:
            return False
        _sync_folder(target.parent)
        return True

    def _make_folders(self, folder: Path) -> None:
        if folder.is_dir():
            return
        self._make_folders(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
        _sync_folder(folder.parent)

    def _erase(self, path: Path, doomed: Path) -> None:
        # Renamed first, so that no reader finds half of it; under a name that follows from the key, so that whoever
        # asks again after a crash finishes what was begun.
        with suppress(FileNotFoundError, NotADirectoryError):
            path.rename(doomed)
            _sync_folder(path.parent)
            _sync_folder(doomed.parent)
        _shred(doomed)

    def _walk(self, prefix: str, after: str) -> Iterator[StoredObject]:
        folder = self._root / prefix
        try:
            entries = [(f"{entry.name}/" if entry.is_dir() else entry.name, entry) for entry in os.scandir(folder)]
        except (FileNotFoundError, NotADirectoryError):
            return
        for name, entry in sorted(entries, key=lambda pair: pair[0]):  # a folder's slash counts in the keys' order
            key = prefix + name
            if name.startswith("."):
                continue
            if entry.is_dir():
                if key > after or after.startswith(key):
                    yield from self._walk(key, after)
            elif key > after:
                with suppress(FileNotFoundError):  # deleted meanwhile
                    status = entry.stat()
                    yield StoredObject(key, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))

    @contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            if not self._root.is_dir():
                raise StoreUnavailableError(self.name, "the directory is gone") from error
            raise NotStoredError(key) from None
        except OSError as error:
            raise StoreUnavailableError(self.name, error.strerror or type(error).__name__) from error


class _Writer:
    """A file that has no name in the store yet."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._digest = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self._digest.update(data)
        view = memoryview(data)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def finish(self, link: Callable[[Path, Path], bool], target: Path) -> bool:
        os.fsync(self._descriptor)
        return link(self._path, target)

    def discard(self) -> None:
        os.close(self._descriptor)
        self._path.unlink(missing_ok=True)

    def digest(self) -> bytes:
        return self._digest.digest()


def _shred(path: Path) -> None:
    with suppress(FileNotFoundError):  # another process may be at it too
        _overwrite(path)
        path.unlink()
        _sync_folder(path.parent)


def _overwrite(path: Path) -> None:
    with path.open("r+b", buffering=0) as file:
        left = os.fstat(file.fileno()).st_size
        while left > 0:
            left -= file.write(bytes(min(left, PIECE_BYTES)))
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _take(source: Iterator[StoredObject], count: int) -> list[StoredObject]:
    return list(islice(source, count))
