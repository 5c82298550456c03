"""Real PostgreSQL for tests: one cluster per session, an empty database per test, cloned from a migrated template.

A database that a test leaves with its schema and rights as they were is emptied for the next one, which is ten times
as fast as a new clone. A trigger in the template notices whoever changes them; such a database is dropped.
"""

import asyncio
import importlib
import itertools
import shutil
import tempfile
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import asyncpg
import pytest

from coreo_embedded.postgres import Postgres

T = TypeVar("T")
_numbers = itertools.count(1)
_WATCH = """
CREATE SCHEMA watch;
DO $$ DECLARE name text; BEGIN  -- what the migrations put into tables
  FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
    EXECUTE format('CREATE TABLE watch.%1$I AS TABLE public.%1$I', name);
  END LOOP;
END $$;
CREATE TABLE watch.changes_ (tag text);
CREATE FUNCTION watch.note() RETURNS event_trigger LANGUAGE plpgsql SECURITY DEFINER AS
  $$ BEGIN INSERT INTO watch.changes_ VALUES (tg_tag); END $$;
CREATE EVENT TRIGGER watch_changes ON ddl_command_end EXECUTE FUNCTION watch.note();
"""
_EMPTY = """
SET lock_timeout = '10s';
SET session_replication_role = replica;  -- no triggers
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid();
DO $$ DECLARE name text; has_rows boolean; BEGIN
  FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
    EXECUTE format('SELECT EXISTS (SELECT FROM public.%I)', name) INTO has_rows;
    IF pg_relation_size(format('public.%I', name)::regclass) > 262144 THEN  -- deleted rows would stay in the way
      EXECUTE format('TRUNCATE public.%I CASCADE', name);
    ELSIF has_rows THEN  -- to truncate a table takes longer than all that is done here
      EXECUTE format('DELETE FROM public.%I', name);
    END IF;
  END LOOP;
  FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
    EXECUTE format('SELECT EXISTS (SELECT FROM watch.%I)', name) INTO has_rows;
    IF has_rows THEN
      EXECUTE format('INSERT INTO public.%1$I OVERRIDING SYSTEM VALUE TABLE watch.%1$I', name);
    END IF;
  END LOOP;
  PERFORM setval(format('%I.%I', schemaname, sequencename)::regclass, start_value, false)
    FROM pg_sequences WHERE schemaname = 'public' AND last_value IS NOT NULL;
END $$;
"""


class ServiceDatabase:
    """A service's database with its tables, for one test."""

    def __init__(self, postgres: Postgres, name: str) -> None:
        self.server = postgres
        self.name = name

    def url(self, role: str) -> str:
        """URL for a role of the service: `coreo_api`, `coreo_api_system`, `coreo_api_owner`; `postgres` sees all."""
        return self.server.url(self.name, role)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A running cluster with Coreo's roles and empty databases."""
    # Not pytest's tmp_path: its parents are closed to `nobody`, who runs the server when the tests run as root.
    directory = Path(tempfile.mkdtemp(prefix="coreo-postgres-"))
    try:
        server = Postgres.start(directory, durable=False)
        try:
            server.bootstrap()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory)


class Databases:
    """Databases of one cluster for tests to use, one test at a time each."""

    def __init__(self, postgres: Postgres) -> None:
        self.server = postgres
        self._templates: dict[str, str] = {}
        self._idle: dict[str, list[ServiceDatabase]] = {}
        self._admin = _Admin()

    @contextmanager
    def empty(self, service: str) -> Iterator[ServiceDatabase]:
        """A database of `service` ("coreo_api", "coreo_results") with its newest schema and no rows."""
        idle = self._idle.setdefault(service, [])
        database = idle.pop() if idle else self._clone(service)
        yield database
        if self._admin.empties(database.url("postgres")):
            idle.append(database)
        else:
            self.server.drop_database(database.name)

    def close(self) -> None:
        """Its own connections."""
        self._admin.close()

    def _clone(self, service: str) -> ServiceDatabase:
        name = f"{service}_test_{next(_numbers)}"
        self.server.create_database(name, service, self._template(service))
        return ServiceDatabase(self.server, name)

    def _template(self, service: str) -> str:
        if service not in self._templates:
            name = f"{service}_template"
            self.server.create_database(name, service)
            # Imported here: a test of one service must not need the other's code.
            importlib.import_module(f"{service}.migrate").migrate(self.server.url(name, f"{service}_owner"))
            self._admin.watches(self.server.url(name, "postgres"))
            self._templates[service] = name
        return self._templates[service]


class _Admin:
    """Superuser's connections that stay open between tests, in an event loop of their own beside that of the test."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._connections: dict[str, asyncpg.Connection[asyncpg.Record]] = {}

    def watches(self, url: str) -> None:
        """Has a template notice changes of its schema and rights, and of those of its copies."""
        self._do(self._watch(url))

    def empties(self, url: str) -> bool:
        """Empties the database; False if it is not what it was, and must not be used again."""
        return self._do(self._empty(url))

    def close(self) -> None:
        """Ends connections and loop."""
        for url in list(self._connections):
            self._do(self._leave(url))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _at(self, url: str) -> "asyncpg.Connection[asyncpg.Record]":
        found = self._connections.get(url)
        if found is None or found.is_closed():
            found = self._connections[url] = await asyncpg.connect(url.replace("+asyncpg", ""))
        return found

    async def _leave(self, url: str) -> None:
        await self._connections.pop(url).close()

    async def _watch(self, url: str) -> None:
        await (await self._at(url)).execute(_WATCH)
        await self._leave(url)

    async def _empty(self, url: str) -> bool:
        connection = await self._at(url)
        if await connection.fetchval("SELECT EXISTS (SELECT FROM watch.changes_)"):
            await self._leave(url)
            return False
        await connection.execute(_EMPTY)
        return True


@pytest.fixture(scope="session")
def databases(postgres: Postgres) -> Iterator[Databases]:
    """Databases of the session's cluster."""
    made = Databases(postgres)
    yield made
    made.close()


@pytest.fixture
def api_database(databases: Databases) -> Iterator[ServiceDatabase]:
    """An empty database of the api."""
    with databases.empty("coreo_api") as database:
        yield database


@pytest.fixture
def results_database(databases: Databases) -> Iterator[ServiceDatabase]:
    """An empty database of the results service."""
    with databases.empty("coreo_results") as database:
        yield database
