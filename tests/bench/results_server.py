"""What the benchmarks of the results service have in common: a durable PostgreSQL of their own."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from coreo_embedded.postgres import Postgres
from coreo_results.migrate import migrate
from coreo_shared.heap import settle
from coreo_shared.observability.logs import configure_logging
from tests.bench.bars import note_load
from tests.support.postgres import ServiceDatabase


@contextmanager
def results_server() -> Iterator[tuple[ServiceDatabase, Path]]:
    """The service's database, and a directory that is gone afterwards. PostgreSQL is durable (fsync on)."""
    configure_logging("bench", "WARNING")
    settle()  # as the service and its commands do
    note_load()
    directory = Path(tempfile.mkdtemp(prefix="coreo-bench-"))
    try:
        server = Postgres.start(directory)
        try:
            server.bootstrap()
            database = ServiceDatabase(server, "coreo_results")
            migrate(database.url("coreo_results_owner"))
            yield database, directory
        finally:
            server.stop()
    finally:
        shutil.rmtree(directory)
