"""What the process gives up before it reads a template, so that no template can take more."""

import os
import resource
from typing import Final

MEMORY_BYTES: Final = 384 * 1024 * 1024  # cfn-lint alone takes 130 MB, the largest template 20 more
CPU_SECONDS: Final = 20


def give_up() -> None:
    """No file written, no core dump, no other process, bounded memory and time; whoever serves requests goes first.

    Past the time the kernel ends the process.
    """
    os.nice(10)
    for kind, wanted in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_DATA, MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_SECONDS),
        (resource.RLIMIT_NPROC, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        value = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(kind, (value, value))
