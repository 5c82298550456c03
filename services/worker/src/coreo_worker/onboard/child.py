"""An onboarding's process: `python -m coreo_worker.onboard.child PARENT_PID MEMORY_MB LOG_LEVEL`.

It is made for one bootstrap, is given what it may open, opens it, carries it out, says how it ended, and ends. The
signed requests are in its memory alone.
"""

import sys

from coreo_worker.runner.child import MEGABYTE, take_pipes
from coreo_worker.runner.hardening import harden_run


def main() -> None:
    """Exit status 0 when it has said how it ended."""
    parent, memory, level = sys.argv[1:4]
    missing = harden_run(parent=int(parent), memory_bytes=int(memory) * MEGABYTE)
    incoming, outgoing = take_pipes()

    from coreo_shared.observability.logs import configure_logging, get_logger  # noqa: PLC0415  after hardening
    from coreo_worker.onboard.opening import serve  # noqa: PLC0415  after hardening

    configure_logging("worker-onboarding", level)
    if missing:
        get_logger(__name__).warning("hardening_incomplete", missing=missing)
    serve(incoming, outgoing)


if __name__ == "__main__":
    main()
