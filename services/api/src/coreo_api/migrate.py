"""Brings the database to the newest schema. Run as the role that owns the tables; several at once are safe."""

import argparse
import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from coreo_api.settings import MigrationSettings
from coreo_shared.settings import load_settings

_LOCK = 0x436F72656F  # "Coreo"; any number that nothing else in this database locks


def main(_arguments: argparse.Namespace) -> None:
    """`coreo-api migrate`."""
    migrate(load_settings(MigrationSettings).migration_database_url.get_secret_value())


def migrate(url: str) -> None:
    """Applies all migrations that are missing. `url`: postgresql+asyncpg://owner:password@host:port/database."""
    asyncio.run(_migrate(url))


async def _migrate(url: str) -> None:
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
            await connection.run_sync(_upgrade)
    finally:
        await engine.dispose()


def _upgrade(connection: Connection) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
