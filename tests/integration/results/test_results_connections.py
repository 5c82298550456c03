"""A pool that lost its connections: nobody who asks for one notices."""

import asyncio
import threading
from contextlib import AbstractContextManager, nullcontext

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError

from coreo_shared.db import Database
from coreo_shared.db import database as module
from tests.support.postgres import ServiceDatabase

_END = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = $1"


async def end_connections(database: ServiceDatabase) -> None:
    """All to this database but its own."""
    url = make_url(database.url("postgres")).set(drivername="postgresql")
    admin = await asyncpg.connect(url.render_as_string(hide_password=False))
    await admin.execute(_END.replace("$1", f"'{url.database}'"))
    await admin.close()


async def backend(database: Database, closed: asyncio.Event | None = None) -> int:
    """The server's process behind a connection; `closed` is set once the driver knows that it is no more."""
    async with database.transaction() as connection:
        if closed is not None:
            driver = (await connection.get_raw_connection()).driver_connection
            assert driver is not None
            driver.add_termination_listener(lambda _: closed.set())
        return int((await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one())


async def test_connections_that_the_server_closed_are_replaced(results_database: ServiceDatabase) -> None:
    database = Database(results_database.url("coreo_results"), pool_size=3)
    try:
        closed = [asyncio.Event() for _ in range(3)]
        before = set(await asyncio.gather(*[backend(database, each) for each in closed]))
        await end_connections(results_database)
        await asyncio.gather(*[each.wait() for each in closed])
        after = set(await asyncio.gather(*[backend(database) for _ in range(3)]))
        assert not before & after
    finally:
        await database.close()


@pytest.mark.parametrize(("idle", "first"), [(0.0, nullcontext()), (3600.0, pytest.raises(DBAPIError))])
async def test_one_that_was_idle_is_tried_first(
    results_database: ServiceDatabase,
    monkeypatch: pytest.MonkeyPatch,
    idle: float,
    first: AbstractContextManager[object],
) -> None:
    """The loop is kept busy while the server closes it, so that the driver cannot know."""
    monkeypatch.setattr(module, "_IDLE_SECONDS", idle)
    database = Database(results_database.url("coreo_results"), pool_size=1)
    try:
        before = await backend(database)
        thread = threading.Thread(target=lambda: asyncio.run(end_connections(results_database)))
        thread.start()
        thread.join()
        with first:
            await backend(database)
        assert await backend(database) != before
    finally:
        await database.close()


async def test_one_whose_host_is_gone_is_replaced_soon(
    results_database: ServiceDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing comes back on it, neither an answer nor that it was closed; another connection works."""
    monkeypatch.setattr(module, "_IDLE_SECONDS", 0.0)
    monkeypatch.setattr(module, "_TRY_SECONDS", 0.3)
    url = make_url(results_database.url("coreo_results"))
    gone: set[asyncio.StreamReader] = set()
    readers: set[asyncio.StreamReader] = set()
    writers: list[asyncio.StreamWriter] = []

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        readers.add(reader)
        while data := await reader.read(65536):
            if reader not in gone:
                writer.write(data)
        writer.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        other_reader, other_writer = await asyncio.open_connection(url.host, url.port)
        writers.extend((writer, other_writer))
        await asyncio.gather(pump(reader, other_writer), pump(other_reader, writer))

    server = await asyncio.start_server(forward, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    database = Database(url.set(host=host, port=port).render_as_string(hide_password=False), pool_size=1)
    try:
        before = await backend(database)
        assert await backend(database) == before, "one that answers stays"
        gone |= readers
        async with asyncio.timeout(10):
            assert await backend(database) != before
    finally:
        await database.close()
        server.close()
        for each in writers:
            each.close()
        await asyncio.gather(*[each.wait_closed() for each in writers], return_exceptions=True)
