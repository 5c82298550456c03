"""An onboarding's process: `python -m coreo_worker.onboard.child PARENT_PID MEMORY_MB LOG_LEVEL`.

It is made for one bootstrap, is given what it may open, opens it, carries it out, says how it ended, and ends. The
signed requests are in its memory alone.
"""

from coreo_worker.runner.child import Serve, carry_out


def main() -> None:
    """Exit status 0 when it has said how it ended."""
    carry_out("worker-onboarding", _onboarding)


def _onboarding() -> Serve:
    from coreo_worker.onboard.opening import serve  # noqa: PLC0415  after hardening

    return serve


if __name__ == "__main__":
    main()
