"""Child processes that never outlive their launcher, and a free port for them to listen on."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

_SHIM = Path(__file__).with_name("_become.py")

# Linux sends the parent-death signal when the *thread* that made the child ends, so one thread that lives as long as
# this process makes them all, whichever thread asks.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


class ProcessFailedError(RuntimeError):
    """A child process ended or stayed silent where it should have become ready; the message has its last output."""


@dataclass(frozen=True)
class User:
    """Whom a child runs as."""

    uid: int
    gid: int


def spawn(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: Path,
    death_signal: signal.Signals = signal.SIGTERM,
    user: User | None = None,
) -> subprocess.Popen[bytes]:
    """Starts `command` (absolute path first) as a direct child that gets `death_signal` should this process die.

    It has a session of its own, so that Ctrl-C reaches the launcher alone; both outputs are appended to `log`.
    """
    uid, gid = (user.uid, user.gid) if user else (-1, -1)
    shim = [sys.executable, "-I", "-S", str(_SHIM), str(int(death_signal)), str(os.getpid()), str(uid), str(gid)]

    def start() -> subprocess.Popen[bytes]:
        with log.open("ab") as output:
            return subprocess.Popen(
                [*shim, *command],
                env=dict(environment),
                cwd="/",  # the caller's folder may be closed to `user`
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    return _spawner.submit(start).result()


def wait_until(
    condition: Callable[[], bool], process: subprocess.Popen[bytes], *, name: str, log: Path, seconds: float
) -> None:
    """Returns once `condition` holds. Raises ProcessFailedError when the process ends or the seconds are over first."""
    deadline = monotonic() + seconds
    while not condition():
        status = _exit_status(process, within=0.01)
        if status is not None:
            raise ProcessFailedError(f"{name} ended with status {status}. Its last output ({log}):\n{_tail(log)}")
        if monotonic() > deadline:
            raise ProcessFailedError(
                f"{name} was not ready after {seconds:g} s. Its last output ({log}):\n{_tail(log)}"
            )


def run_once(command: Sequence[str], *, environment: Mapping[str, str], seconds: float = 60) -> str:
    """What `command` prints; ProcessFailedError with its last words when it fails. It gets just this environment."""
    done = subprocess.run(
        list(command), env=dict(environment), cwd="/", capture_output=True, text=True, timeout=seconds, check=False
    )
    if done.returncode != 0:
        words = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
        raise ProcessFailedError(f"{Path(command[0]).name} ended with status {done.returncode}:\n{words}")
    return done.stdout


def stop(process: subprocess.Popen[bytes], *, how: signal.Signals = signal.SIGTERM, seconds: float = 20) -> None:
    """Ends the child: the polite signal, then SIGKILL after `seconds`. Ended already is fine."""
    if process.poll() is None:
        process.send_signal(how)
    if _exit_status(process, within=seconds) is None:
        process.kill()
        process.wait()


def free_port() -> int:
    """A TCP port nobody listens on at 127.0.0.1 now. Another process may take it before its user does."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def port_is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1:`port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def _exit_status(process: subprocess.Popen[bytes], *, within: float) -> int | None:
    try:
        return process.wait(timeout=within)
    except subprocess.TimeoutExpired:
        return None


def _tail(log: Path, lines: int = 15) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) if log.exists() else "(none)"
