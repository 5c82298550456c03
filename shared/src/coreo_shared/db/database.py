"""One transaction per request or task, bound to a team for row level security.

Policies compare `team_id` with `NULLIF(current_setting('app.team_id', true), '')::uuid`: after a transaction with
`SET LOCAL` the setting is '' on the reused connection, which must mean "no team", not an error.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from sqlalchemy import event, text
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

_IDLE_SECONDS = 20.0  # a connection that nobody used for so long may have been lost on the way, and is tried first
_TRY_SECONDS = 3.0  # a host that is gone answers nothing at all, and the kernel would wait a quarter of an hour


class Database:
    """A pool of connections as one database role. `url`: postgresql+asyncpg://role:password@host:port/database."""

    def __init__(self, url: str, *, pool_size: int = 10) -> None:
        self._engine = create_async_engine(url, pool_size=pool_size, max_overflow=0, hide_parameters=True)
        _look_after(self._engine)
        self._snapshots = self._engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)

    @asynccontextmanager
    async def transaction(
        self, team_id: UUID | None = None, *, snapshot: bool = False
    ) -> AsyncIterator[AsyncConnection]:
        """A transaction that commits when the block ends and rolls back when it raises.

        With `team_id` only that team's rows exist; without, only what the role's own policies allow. In a `snapshot`
        all statements see the database as it was at the first, and can only read (REPEATABLE READ, READ ONLY).
        """
        async with (self._snapshots if snapshot else self._engine).begin() as connection:
            if team_id is not None:
                await connection.execute(text("SELECT set_config('app.team_id', :team, true)"), {"team": str(team_id)})
            yield connection

    async def ping(self) -> None:
        """Raises when the database does not answer."""
        async with self._engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Closes all connections."""
        await self._engine.dispose()


def _look_after(engine: AsyncEngine) -> None:
    """Lost connections are replaced, all of the pool, before anybody gets one.

    SQLAlchemy's pool_pre_ping asks the server three things before each transaction, as many as a transaction of one
    statement has itself. The driver knows by itself when the server went; what it cannot know takes a while to happen.
    In the milliseconds in which the server goes, statements fail, as those do that are under way.
    """

    driver = engine.dialect.loaded_dbapi.asyncpg  # the module

    def left(_: Any, record: Any) -> None:
        record.info["left"] = time.monotonic()

    def taken(connection: Any, record: Any, _: Any) -> None:
        if connection.driver_connection.is_closed():
            raise InvalidatePoolError("the server has closed the connection")
        left_at = record.info.get("left")
        if left_at is not None and time.monotonic() - left_at > _IDLE_SECONDS:
            try:
                connection.run_async(lambda raw: raw.execute("SELECT 1", timeout=_TRY_SECONDS))
            except (
                driver.PostgresError,
                driver.InterfaceError,
                driver.InternalClientError,  # the server said that it goes, and has not gone yet
                OSError,
                TimeoutError,
            ) as error:
                raise InvalidatePoolError("the connection was lost") from error

    event.listen(engine.sync_engine, "checkin", left)
    event.listen(engine.sync_engine, "checkout", taken)
