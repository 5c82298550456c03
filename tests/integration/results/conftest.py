"""The results service on a database of its own."""

from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from tests.support.backups import Installation
from tests.support.exclusions import Place
from tests.support.postgres import ServiceDatabase
from tests.support.results import ResultsService, Tokens, backup_settings, make_root_key, make_settings, running


@pytest.fixture
async def service(results_database: ServiceDatabase, tmp_path: Path) -> AsyncIterator[ResultsService]:
    """The application with a root key in a file and stores in directories, and clients for it."""
    tokens = Tokens()
    settings = make_settings(results_database, tokens, make_root_key(tmp_path), **backup_settings(tmp_path))
    async with running(settings) as app:
        yield ResultsService(app, tokens)


@pytest.fixture
async def admin(results_database: ServiceDatabase) -> AsyncIterator[asyncpg.Connection]:
    """The database as its superuser: to make time pass, and to look."""
    connection = await asyncpg.connect(results_database.url("postgres").replace("+asyncpg", ""))
    yield connection
    await connection.close()


@pytest.fixture
async def place(results_database: ServiceDatabase, tmp_path: Path) -> AsyncIterator[Place]:
    """Nothing happens in the background but when the tests say so."""
    installation = Installation(tmp_path, results_database)
    async with installation.serving(sweep_seconds=3600) as service:
        service.app.state.services.exclusion_keeper.wake = lambda: None
        yield Place(service, installation, results_database)
