"""The container's health command: a worker has no port to ask, it is alive while it touches its heartbeat file."""

import sys
import time

from coreo_shared.settings import load_settings
from coreo_worker.settings import HealthSettings


def main() -> None:
    """Exit status 0 when the heartbeat file is fresh, 1 when it is not; the one line says which and why."""
    problem = find_problem(load_settings(HealthSettings), now=time.time())
    if problem is not None:
        sys.exit(f"coreo-worker: {problem}")
    print("coreo-worker: alive")  # noqa: T201  a command's answer


def find_problem(settings: HealthSettings, *, now: float) -> str | None:
    """What speaks against the worker's being alive; `now` in Unix seconds."""
    try:
        age = now - settings.heartbeat_file.stat().st_mtime
    except OSError as error:
        return (
            f"no heartbeat file ({error.strerror}): the worker has not started, or not with this COREO_HEARTBEAT_FILE"
        )
    if age > settings.heartbeat_max_age_seconds:
        return f"the last heartbeat was {age:.0f} s ago: the worker hangs or has ended"
    return None
