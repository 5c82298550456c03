"""A run's process: `python -m coreo_worker.runner.child PARENT_PID MEMORY_MB LOG_LEVEL`, made by runner.process.

It first gives up what it does not need, and only then imports what reads data of others.
"""

import asyncio
import gc
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from coreo_worker.runner.hardening import harden_run

MEGABYTE = 1024 * 1024
Serve = Callable[[int, int], None]  # the pipe from the worker, and the one to it


def main() -> None:
    """Runs one audit; exit status 0 when its last frame was sent."""
    carry_out("worker-run", _auditing)


def _auditing() -> Serve:
    from coreo_worker.runner.auditing import serve  # noqa: PLC0415  after hardening

    return lambda incoming, outgoing: asyncio.run(serve(incoming, outgoing))


def carry_out(name: str, load: Callable[[], Serve]) -> None:
    """Hardens this process, then does what `load` imports, with pipes to the worker; `name` is for the log."""
    parent, memory, level = sys.argv[1:4]
    missing = harden_run(parent=int(parent), memory_bytes=int(memory) * MEGABYTE)
    incoming, outgoing = take_pipes()

    with importing():
        from coreo_shared.observability.logs import configure_logging, get_logger  # noqa: PLC0415  after hardening

        serve = load()

    configure_logging(name, level)
    if missing:
        get_logger(__name__).warning("hardening_incomplete", missing=missing)
    serve(incoming, outgoing)


def take_pipes() -> tuple[int, int]:
    """The two pipes under numbers of their own; whatever else prints goes to the log, whatever else reads gets none."""
    incoming, outgoing = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return incoming, outgoing


@contextmanager
def importing() -> Iterator[None]:
    """Imports with less work: what they make stays, so that the collector need not look for garbage in it, ever."""
    gc.disable()
    try:
        yield
        from coreo_shared.heap import settle  # noqa: PLC0415  after hardening

        settle()
    finally:
        gc.enable()


if __name__ == "__main__":
    main()
