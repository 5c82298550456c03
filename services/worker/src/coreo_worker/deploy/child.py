"""A deploy run's process: `python -m coreo_worker.deploy.child PARENT_PID MEMORY_MB LOG_LEVEL`, made by runner.process.

As an audit's it first gives up what it does not need, and only then imports what reads data of others.
"""

import asyncio
import sys

from coreo_worker.runner.child import MEGABYTE, importing, take_pipes
from coreo_worker.runner.hardening import harden_run


def main() -> None:
    """Does one part of a run; exit status 0 when its last frame was sent."""
    parent, memory, level = sys.argv[1:4]
    missing = harden_run(parent=int(parent), memory_bytes=int(memory) * MEGABYTE)
    incoming, outgoing = take_pipes()

    with importing():
        from coreo_shared.observability.logs import configure_logging, get_logger  # noqa: PLC0415  after hardening
        from coreo_worker.deploy.serving import serve  # noqa: PLC0415  after hardening

    configure_logging("worker-deploy", level)
    if missing:
        get_logger(__name__).warning("hardening_incomplete", missing=missing)
    asyncio.run(serve(incoming, outgoing))


if __name__ == "__main__":
    main()
