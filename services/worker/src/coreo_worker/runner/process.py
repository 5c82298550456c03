"""A run's process as the worker sees it: made fresh for one run, given nothing but what it is sent, ended for sure."""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from coreo_shared.observability.logs import get_logger
from coreo_worker.runner.protocol import RunFrame, WorkerFrame, pack, read_body, read_run_frame

_log = get_logger(__name__)
_LONGEST_LINE = 256 * 1024
# All that a run's process gets of the worker's environment: how AWS is reached. Nothing that says who the worker is.
_PASSED_ON = (
    "AWS_CA_BUNDLE",
    "AWS_ENDPOINT_URL",
    "AWS_USE_DUALSTACK_ENDPOINT",
    "AWS_USE_FIPS_ENDPOINT",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "http_proxy",
    "https_proxy",
    "no_proxy",
)
RUN_MODULE = "coreo_worker.runner.child"
_FIXED = {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
}


def run_environment(worker: Mapping[str, str]) -> dict[str, str]:
    """The environment of a run's process, from the worker's."""
    return {name: worker[name] for name in _PASSED_ON if name in worker} | _FIXED


def run_command(*, memory_mb: int, log_level: str, module: str = RUN_MODULE) -> list[str]:
    """The command of a run's process: isolated from the environment and the folder it starts in, writes no bytecode."""
    python = [sys.executable, "-I", "-B", "-X", "utf8"]
    return [*python, "-m", module, str(os.getpid()), str(memory_mb), log_level]


class RunProcess(Protocol):
    """A run's process at work. Frames are received by one caller at a time."""

    async def send(self, frame: WorkerFrame) -> None:
        """Gives it a frame. One that has ended cannot be told anything: `receive` finds that out."""

    async def receive(self) -> RunFrame | None:
        """Its next frame; None once it has ended or closed the pipe. Raises ProtocolError."""

    async def ending(self) -> str:
        """Waits for the end of one that closed the pipe, and tells how it came about."""


@dataclass
class ChildProcess:
    """A RunProcess that is a child of this one."""

    _process: asyncio.subprocess.Process
    _stdin: asyncio.StreamWriter
    _stdout: asyncio.StreamReader

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def send(self, frame: WorkerFrame) -> None:
        """As the port says."""
        await self.write(pack(frame))

    async def write(self, frame: bytes | bytearray) -> None:
        """Gives it a frame of another protocol, with its length. One that has ended cannot be told anything."""
        with contextlib.suppress(ConnectionError):
            self._stdin.write(frame)
            await self._stdin.drain()

    async def read(self) -> bytes | None:
        """Its next frame of another protocol, without the length; None at the end. Raises ProtocolError."""
        return await read_body(self._stdout)

    async def receive(self) -> RunFrame | None:
        """As the port says."""
        return await read_run_frame(self._stdout)

    async def ending(self) -> str:
        """As the port says."""
        return describe_exit(await self._process.wait())


def describe_exit(status: int) -> str:
    """How a process ended, from its status as the standard library gives it: negative for a signal."""
    if status >= 0:
        return f"exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"{name}, possibly for want of memory" if -status == signal.SIGKILL else name


@contextlib.asynccontextmanager
async def open_process(command: Sequence[str], environment: Mapping[str, str]) -> AsyncIterator[ChildProcess]:
    """A fresh process; after the block it is dead and reaped. What it logs goes to the worker's own log."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=dict(environment),
        cwd="/",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is the worker's matter
        limit=_LONGEST_LINE,
    )
    assert process.stdin is not None  # noqa: S101  PIPE was asked for
    assert process.stdout is not None  # noqa: S101  PIPE was asked for
    assert process.stderr is not None  # noqa: S101  PIPE was asked for
    forwarding = asyncio.create_task(_forward(process.stderr))
    try:
        yield ChildProcess(process, process.stdin, process.stdout)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.stdin.close()
        # To their ends, or the pipes stay open: there is little left in them.
        await asyncio.gather(process.wait(), _discard(process.stdout), forwarding)


async def _discard(reader: asyncio.StreamReader) -> None:
    while await reader.read(_LONGEST_LINE):
        pass


async def _forward(stderr: asyncio.StreamReader) -> None:
    """Our own lines of JSON as they are; anything else, such as an interpreter's last words, as text in one of ours."""
    while True:
        try:
            line = await stderr.readline()
        except ValueError:
            _log.warning("run_process_output_too_long")
            continue
        if not line:
            return
        text = line.decode("utf-8", "replace").rstrip()
        if _is_event(text):
            print(text, file=sys.stderr)  # noqa: T201  it is a whole line of the log already
        elif text:
            _log.warning("run_process_output", text=text[:2_000])


def _is_event(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
