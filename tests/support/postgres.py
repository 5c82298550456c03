"""Real PostgreSQL for tests: one cluster per session, a database per test cloned from a migrated template."""

import importlib
import itertools
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from coreo_embedded.postgres import Postgres

_numbers = itertools.count(1)


class ServiceDatabase:
    """A service's database with its tables, for one test."""

    def __init__(self, postgres: Postgres, name: str) -> None:
        self._postgres = postgres
        self.name = name

    def url(self, role: str) -> str:
        """URL for a role of the service: `coreo_api`, `coreo_api_system`, `coreo_api_owner`; `postgres` sees all."""
        return self._postgres.url(self.name, role)


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


def make_database(postgres: Postgres, service: str) -> ServiceDatabase:
    """A fresh database of `service` ("coreo_api", "coreo_results") with its newest schema."""
    template = f"{service}_template"
    if not postgres.database_exists(template):
        unfinished = f"{template}_unfinished"  # copied when whole: a failed migration leaves no half template
        if postgres.database_exists(unfinished):
            postgres.drop_database(unfinished)
        postgres.create_database(unfinished, service)
        # Imported here: a test of one service must not need the other's code.
        importlib.import_module(f"{service}.migrate").migrate(postgres.url(unfinished, f"{service}_owner"))
        postgres.create_database(template, service, unfinished)
    name = f"{service}_test_{next(_numbers)}"
    postgres.create_database(name, service, template)
    return ServiceDatabase(postgres, name)


@pytest.fixture
def api_database(postgres: Postgres) -> Iterator[ServiceDatabase]:
    """A fresh database of the api."""
    database = make_database(postgres, "coreo_api")
    yield database
    postgres.drop_database(database.name)


@pytest.fixture
def results_database(postgres: Postgres) -> Iterator[ServiceDatabase]:
    """A fresh database of the results service."""
    database = make_database(postgres, "coreo_results")
    yield database
    postgres.drop_database(database.name)
