"""Processes that die at a chosen point: parts that count the steps taken through them, and end at one of them."""

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.stores import ObjectStore, StoredObject
from coreo_shared.db import Database

_WRITES = text("SELECT pg_current_xact_id_if_assigned() IS NOT NULL")


class Crash(BaseException):
    """No `except Exception` keeps a process alive that was killed."""


class Crasher:
    """Dies at the `at`th step: a transaction, or a change of a store. `after`: when the step's effect is there."""

    def __init__(self, at: int = 0, *, after: bool = False) -> None:
        self._at = at
        self._after = after
        self.steps = 0

    @asynccontextmanager
    async def step(self) -> AsyncIterator[None]:
        """Around what has an effect."""
        self.steps += 1
        is_last = self.steps == self._at
        if is_last and not self._after:
            raise Crash
        yield
        if is_last:
            raise Crash


class CrashingDatabase(Database):
    """A database whose transactions are steps. Another process may take over the connections, with another crasher:
    to connect takes longer than most of what they do."""

    def __init__(self, url: str, crasher: Crasher, *, pool_size: int = 2) -> None:
        super().__init__(url, pool_size=pool_size)
        self.crasher = crasher

    @asynccontextmanager
    async def transaction(
        self, team_id: UUID | None = None, *, snapshot: bool = False
    ) -> AsyncIterator[AsyncConnection]:
        async with self.crasher.step(), super().transaction(team_id, snapshot=snapshot) as connection:
            yield connection


class CrashingWrites(CrashingDatabase):
    """A database whose transactions are steps if they write anything: to die in another is to die before the next."""

    @asynccontextmanager
    async def transaction(
        self, team_id: UUID | None = None, *, snapshot: bool = False
    ) -> AsyncIterator[AsyncConnection]:
        async with Database.transaction(self, team_id, snapshot=snapshot) as connection:
            yield connection
            if (await connection.execute(_WRITES)).scalar_one():
                async with self.crasher.step():
                    pass


class CrashingStore:
    """An ObjectStore whose changes are steps."""

    def __init__(self, store: ObjectStore, crasher: Crasher) -> None:
        self._store = store
        self._crasher = crasher
        self.name = store.name

    async def keeps_versions(self) -> bool:
        return await self._store.keeps_versions()

    async def put(self, key: str, data: bytes | AsyncIterable[bytes]) -> None:
        async with self._crasher.step():
            await self._store.put(key, data)

    async def get(self, key: str) -> bytes:
        return await self._store.get(key)

    def read(self, key: str) -> AsyncIterator[bytes]:
        return self._store.read(key)

    def list(self, prefix: str = "", after: str = "") -> AsyncIterator[StoredObject]:
        return self._store.list(prefix, after)

    async def delete(self, key: str) -> None:
        async with self._crasher.step():
            await self._store.delete(key)
