"""The results service's database in the schema of an older version."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from alembic import command
from alembic.config import Config

from coreo_embedded.postgres import Postgres
from coreo_results.migrate import migrate
from tests.support.postgres import ServiceDatabase

_NAME = "coreo_results_versions"


@contextmanager
def results_database_of_versions(postgres: Postgres) -> Iterator[ServiceDatabase]:
    """A database of its own, as its schema goes back and forth."""
    postgres.create_database(_NAME, "coreo_results")
    database = ServiceDatabase(postgres, _NAME)
    migrate(database.url("coreo_results_owner"))
    yield database
    postgres.drop_database(_NAME)


def go_back(database: ServiceDatabase, revision: str) -> None:
    """To the schema of an older version."""
    config = Config()
    config.set_main_option("script_location", "coreo_results:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["url"] = database.url("coreo_results_owner")
    with ThreadPoolExecutor(max_workers=1) as thread:
        thread.submit(command.downgrade, config, revision).result()
