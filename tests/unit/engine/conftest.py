"""The engine's tests run on virtual time: back-offs and pacing are kept, and cost nothing."""

from collections.abc import Callable

from tests.support.virtual_time import VirtualTimeLoop


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], VirtualTimeLoop]]:
    """The event loops of the tests in this folder."""
    return {"virtual": VirtualTimeLoop}
