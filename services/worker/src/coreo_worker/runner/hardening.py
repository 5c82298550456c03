"""What a process gives up at start, so that what it holds in memory stays there.

See prctl(2) and setrlimit(2). Only Linux has prctl; elsewhere the limits alone are set, and the log says so.
"""

import ctypes
import os
import resource
import signal
import sys
from typing import Final

PR_SET_PDEATHSIG: Final = 1
PR_GET_DUMPABLE: Final = 3
PR_SET_DUMPABLE: Final = 4
PR_SET_NO_NEW_PRIVS: Final = 38
OPEN_FILES: Final = 4096  # connections to thirty regions' services and some


class HardeningError(RuntimeError):
    """The kernel refused a restriction; the process must not go on without it."""


def harden_worker() -> tuple[str, ...]:
    """For the worker itself. Gives what this system cannot do, for the log."""
    _limit(resource.RLIMIT_CORE, 0)
    return _close_up()


def harden_run(*, parent: int, memory_bytes: int) -> tuple[str, ...]:
    """For a run's process, before it has any secret: it ends with its parent, writes no file and has bounded memory.

    `parent` is the pid of the process that made this one. Gives what this system cannot do, for the log.
    """
    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, 0)  # no byte into any file; pipes and sockets are not files
    _limit(resource.RLIMIT_NOFILE, OPEN_FILES)
    missing = _close_up()
    if sys.platform != "linux":
        return (*missing, "memory limit")
    _limit(resource.RLIMIT_DATA, memory_bytes)  # not RLIMIT_AS: what threads only reserve would count
    _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the call above
        os._exit(1)
    return missing


def _close_up() -> tuple[str, ...]:
    """No core dumps, no reading of memory by processes of the same user, no rights from set-uid programs."""
    if sys.platform != "linux":
        return ("PR_SET_DUMPABLE", "PR_SET_NO_NEW_PRIVS", "PR_SET_PDEATHSIG")
    _prctl(PR_SET_DUMPABLE, 0)
    _prctl(PR_SET_NO_NEW_PRIVS, 1)
    return ()


def _limit(kind: int, wanted: int) -> None:
    """Sets both the soft and the hard limit: it cannot be raised again. A lower one that is there already stays."""
    hard = resource.getrlimit(kind)[1]
    value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(kind, (value, value))


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    arguments = [ctypes.c_ulong(number) for number in (value, 0, 0, 0)]
    if libc.prctl(ctypes.c_int(option), *arguments) != 0:
        raise HardeningError(f"prctl({option}) failed: {os.strerror(ctypes.get_errno())}")
