"""A deploy run's process: `python -m coreo_worker.deploy.child PARENT_PID MEMORY_MB LOG_LEVEL`, made by runner.process.

As an audit's it first gives up what it does not need, and only then imports what reads data of others.
"""

import asyncio

from coreo_worker.runner.child import Serve, carry_out


def main() -> None:
    """Does one part of a run; exit status 0 when its last frame was sent."""
    carry_out("worker-deploy", _deploying)


def _deploying() -> Serve:
    from coreo_worker.deploy.serving import serve  # noqa: PLC0415  after hardening

    return lambda incoming, outgoing: asyncio.run(serve(incoming, outgoing))


if __name__ == "__main__":
    main()
