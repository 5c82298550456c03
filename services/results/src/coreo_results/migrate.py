"""Brings the database to the newest schema."""

from concurrent.futures import ThreadPoolExecutor

from alembic import command
from alembic.config import Config


def migrate(url: str) -> None:
    """Runs all migrations not yet applied, as the role that owns the tables; several at once wait for each other.

    `url`: postgresql+asyncpg://coreo_results_owner:…; blocks, and may be called where an event loop runs.
    """
    config = Config()
    config.set_main_option("script_location", "coreo_results:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["url"] = url
    with ThreadPoolExecutor(max_workers=1) as thread:  # a thread has no loop, so env.py can run one
        thread.submit(command.upgrade, config, "head").result()
