"""What commands begin with: a client of the api that the user is logged in to. Loads httpx only when asked to."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from coreo_cli.config import Connection, load_connection

if TYPE_CHECKING:
    from coreo_cli.client import Client


@contextmanager
def connect(connection: Connection | None = None) -> Iterator["Client"]:
    """A client, closed after the block. Raises CliError when the user is not logged in."""
    from coreo_cli.client import Client  # noqa: PLC0415  httpx takes longer to load than --help may

    with Client(connection or load_connection()) as client:
        yield client


def query(**filters: Sequence[str] | str | None) -> list[tuple[str, str]]:
    """Query parameters: those that are None are left out, sequences are repeated."""
    pairs: list[tuple[str, str]] = []
    for name, value in filters.items():
        if isinstance(value, str):
            pairs.append((name, value))
        elif value is not None:
            pairs += [(name, each) for each in value]
    return pairs
