"""Becomes another program that gets a signal when its launcher dies. A script for `processes.spawn`, not a module.

Arguments: SIGNAL PARENT_PID UID GID PROGRAM [ARGUMENT...]; a UID of -1 keeps the user. It runs before the program,
in the process that becomes it, so that the server is the launcher's direct child and no `preexec_fn` (unsafe beside
threads) is needed. Only Linux knows parent-death signals; elsewhere the program starts without one.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def _become(numbers: list[int], command: list[str]) -> None:
    death_signal, parent, uid, gid = numbers
    if uid >= 0:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if sys.platform == "linux":  # after setuid, which clears it
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
        if os.getppid() != parent:  # the launcher died before the call above
            sys.exit(1)
    os.execv(command[0], command)  # noqa: S606  the command comes from the launcher, as a list


if __name__ == "__main__":
    _become([int(argument) for argument in sys.argv[1:5]], sys.argv[5:])
