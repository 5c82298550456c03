"""A run's process as it is: the production command, driven by frames, against the simulated AWS."""

import asyncio
import fcntl
import json
import os
import signal
import subprocess
import sys
import termios
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from coreo_embedded.simulator import Simulator
from coreo_shared.contracts.terms import FindingStatus
from coreo_worker.aws.clients import SessionCredentials
from coreo_worker.runner.auditing import PipeSink
from coreo_worker.runner.hardening import OPEN_FILES
from coreo_worker.runner.process import ChildProcess, open_process, run_command, run_environment
from coreo_worker.runner.protocol import (
    Cancel,
    Chunk,
    Credentials,
    Ended,
    NewCredentials,
    Planned,
    RunFrame,
    SessionOver,
    Start,
    read_run_frame,
)
from tests.support.results import make_finding
from tests.support.worker import until

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

RULE = "s3-bucket-versioning"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has prctl and /proc")


@pytest.fixture
def account(aws: Simulator, new_account: Callable[[], str]) -> str:
    """An account with two buckets."""
    made = new_account()
    s3: S3Client = aws.root_client("s3", made)
    for name in ("one", "two"):
        s3.create_bucket(Bucket=f"{name}-{made}")
    return made


@pytest.fixture
async def process(aws: Simulator) -> AsyncIterator[ChildProcess]:
    async with open_process(run_command(memory_mb=768, log_level="INFO"), environment_at(aws)) as made:
        yield made


def environment_at(aws: Simulator) -> dict[str, str]:
    return run_environment({"AWS_ENDPOINT_URL": aws.endpoint_url})


def start(aws: Simulator, account: str, **changes: Any) -> Start:
    values: dict[str, Any] = {
        "run_id": "run",
        "team_id": "team",
        "account_id": account,
        "partition": "aws",
        "rules": (RULE,),
        "regions": ("us-east-1",),
        "parameters": {},
        "units_done": frozenset(),
        "credentials": credentials_of(aws, account),
    }
    return Start(**{**values, **changes})


def credentials_of(aws: Simulator, account: str) -> Credentials:
    root = aws.root_credentials(account)
    assert root.session_token is not None
    session = SessionCredentials(root.access_key_id, root.secret_access_key, root.session_token, expires_at=2e9)
    return Credentials.of(session)


def proc_file(pid: int, name: str) -> bytes:
    """What the kernel tells of a process."""
    return Path(f"/proc/{pid}/{name}").read_bytes()


def unread(process: ChildProcess) -> int:
    """Bytes that the process has not read yet."""
    pipe = process._stdin.get_extra_info("pipe")
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, b"\0\0\0\0"), sys.byteorder)


async def frames_of(process: ChildProcess) -> list[RunFrame]:
    """Everything it says from now on."""
    frames = []
    async with asyncio.timeout(30):
        while (frame := await process.receive()) is not None:
            frames.append(frame)
    return frames


async def test_an_audit_goes_in_and_its_findings_come_out(aws: Simulator, account: str, process: ChildProcess) -> None:
    await process.send(start(aws, account))
    planned, chunk, ended = await frames_of(process)
    assert planned == Planned(units_total=1)
    assert isinstance(chunk, Chunk)
    assert (chunk.unit, chunk.index, chunk.final) == ("aws.s3.bucket@global", 0, True)
    assert {(f.resource_id, f.status) for f in chunk.findings} == {
        (f"{name}-{account}", FindingStatus.FAIL) for name in ("one", "two")
    }
    assert ended == Ended(outcome="completed")
    assert await process.ending() == "exit status 0"


async def test_units_done_earlier_are_not_read_again(aws: Simulator, account: str, process: ChildProcess) -> None:
    before = len(aws.requests)
    await process.send(start(aws, account, units_done=frozenset({"aws.s3.bucket@global"})))
    assert await frames_of(process) == [Planned(units_total=1), Ended(outcome="completed")]
    assert [request for request in aws.requests[before:] if request.account == account] == []


async def test_a_request_that_cannot_be_run_fails_with_the_fields_name(
    aws: Simulator, account: str, process: ChildProcess
) -> None:
    await process.send(start(aws, account, rules=("canary",)))
    (ended,) = await frames_of(process)
    assert isinstance(ended, Ended)
    assert ended.outcome == "failed"
    assert "rules.0: this worker knows no such rule" in ended.reason
    assert "canary" not in ended.reason


async def test_cancel_stops_it_in_the_middle(aws: Simulator, account: str, process: ChildProcess) -> None:
    with aws.fault(kind="hang", service="s3"):
        await process.send(start(aws, account))
        assert await process.receive() == Planned(units_total=1)
        await process.send(Cancel())
        assert await frames_of(process) == [Ended(outcome="canceled")]


async def test_new_credentials_are_used_from_then_on(
    aws: Simulator, account: str, new_account: Callable[[], str], process: ChildProcess
) -> None:
    """They are another account's here, so that the log of requests shows it."""
    other = new_account()
    before = len(aws.requests)
    with aws.fault(kind="hang", service="ec2", operation="DescribeRegions"):
        await process.send(start(aws, account, regions=("all",), rules=(RULE, "ebs-volume-unencrypted")))
        await until(lambda: any(request.operation == "DescribeRegions" for request in aws.requests[before:]))
        await process.send(NewCredentials(credentials=credentials_of(aws, other)))
        await asyncio.sleep(0.3)  # frames are not answered; the next call shows that this one arrived
    frames = await frames_of(process)
    assert frames[-1] == Ended(outcome="completed")
    used = {request.account for request in aws.requests[before:] if request.operation == "DescribeVolumes"}
    assert used == {other}


async def test_a_session_that_ends_in_the_middle_is_asked_for_and_gone_on_with(
    aws: Simulator, account: str, process: ChildProcess
) -> None:
    with aws.fault(kind="expired", service="s3", times=1):
        await process.send(start(aws, account))
        assert await process.receive() == Planned(units_total=1)
        assert await process.receive() == SessionOver()
    await process.send(NewCredentials(credentials=credentials_of(aws, account)))
    chunk, ended = await frames_of(process)
    assert isinstance(chunk, Chunk)
    assert len(chunk.findings) == 2
    assert ended == Ended(outcome="completed")


async def test_it_ends_when_the_worker_lets_go_of_it(aws: Simulator, account: str) -> None:
    async with open_process(run_command(memory_mb=768, log_level="INFO"), environment_at(aws)) as process:
        with aws.fault(kind="hang", service="s3"):
            await process.send(start(aws, account))
            assert await process.receive() == Planned(units_total=1)
            process._stdin.close()
            assert (await frames_of(process))[-1:] == [Ended(outcome="canceled")]
            assert await process.ending() == "exit status 0"


async def test_killed_it_says_nothing_more_and_tells_why(aws: Simulator, account: str, process: ChildProcess) -> None:
    with aws.fault(kind="hang", service="s3"):
        await process.send(start(aws, account))
        assert await process.receive() == Planned(units_total=1)
        os.kill(process.pid, signal.SIGKILL)
        assert await frames_of(process) == []
    assert (await process.ending()).startswith("SIGKILL")
    await process.send(Cancel())  # telling the dead is no error


async def test_nothing_of_it_is_left_after_the_block(aws: Simulator, account: str) -> None:
    with aws.fault(kind="hang", service="s3"):
        async with open_process(run_command(memory_mb=768, log_level="INFO"), environment_at(aws)) as process:
            await process.send(start(aws, account))
            assert await process.receive() == Planned(units_total=1)
            pid = process.pid
        assert not psutil.pid_exists(pid)


async def test_a_full_pipe_holds_the_audit_back() -> None:
    loop, (reading, writing) = asyncio.get_running_loop(), os.pipe()
    transport, protocol = await loop.connect_write_pipe(asyncio.streams.FlowControlMixin, os.fdopen(writing, "wb"))
    sink = PipeSink(asyncio.StreamWriter(transport, protocol, None, loop))
    findings = [make_finding(number, evidence={"text": "x" * 10_000}) for number in range(50)]
    sending = [
        asyncio.create_task(sink.chunk(f"unit-{number}@global", 0, final=True, findings=findings))
        for number in range(3)
    ]
    done, _ = await asyncio.wait(sending, timeout=0.3)
    assert done == set()
    assert transport.get_write_buffer_size() < 1_000_000  # one chunk waits in memory, not three
    reader = asyncio.StreamReader()
    incoming, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb"))
    for number in range(3):
        frame = await read_run_frame(reader)
        assert isinstance(frame, Chunk)
        assert frame.unit == f"unit-{number}@global"
    await asyncio.gather(*sending)
    transport.close()
    incoming.close()


async def test_its_log_is_the_workers_log(aws: Simulator, account: str, capfd: pytest.CaptureFixture[str]) -> None:
    command = [
        sys.executable,
        "-I",
        "-c",
        "import sys; sys.stderr.write('{\"event\": \"x\"}\\nplain words\\n' + 'y' * 600000 + '\\n')",
    ]
    async with open_process(command, {}) as process:
        assert await process.receive() is None
        await process.ending()
    written = capfd.readouterr()
    assert '{"event": "x"}\n' in written.err
    assert "plain words" in written.out + written.err
    assert "run_process_output_too_long" in written.out + written.err


@LINUX
async def test_what_it_has_given_up_is_seen_from_outside(aws: Simulator, account: str, process: ChildProcess) -> None:
    with aws.fault(kind="hang", service="s3"):
        await process.send(start(aws, account))
        assert await process.receive() == Planned(units_total=1)
        seen = psutil.Process(process.pid)
        limits = {name: seen.rlimit(getattr(psutil, f"RLIMIT_{name}")) for name in ("CORE", "FSIZE", "NOFILE", "DATA")}
        status = proc_file(process.pid, "status").decode()
        assert limits["CORE"] == limits["FSIZE"] == (0, 0)
        assert limits["NOFILE"] == (OPEN_FILES, OPEN_FILES)
        assert limits["DATA"] == (768 * 1024 * 1024, 768 * 1024 * 1024)
        assert "NoNewPrivs:\t1" in status
        assert [each for each in seen.net_connections() if each.status == psutil.CONN_LISTEN] == []
        assert seen.cmdline()[1:3] == ["-I", "-B"]
        opened = {Path(each.path) for each in seen.open_files()}
        assert {path for path in opened if "botocore" not in path.parts} == set()  # the SDK's models come and go


@LINUX
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look into a process that cannot be dumped")
async def test_its_environment_is_the_little_it_was_given(
    aws: Simulator, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "worker-secret-canary")
    monkeypatch.setenv("AWS_ENDPOINT_URL", aws.endpoint_url)
    environment = run_environment(os.environ)
    async with open_process(run_command(memory_mb=768, log_level="INFO"), environment) as process:
        with aws.fault(kind="hang", service="s3"):
            await process.send(start(aws, account))
            assert await process.receive() == Planned(units_total=1)
            block = proc_file(process.pid, "environ")
    assert dict(entry.split("=", 1) for entry in block.decode().split("\0") if entry) == environment
    assert b"canary" not in block
    assert credentials_of(aws, account).session_token.encode() not in block


PROBE = """
import json, os, resource, sys
from coreo_worker.runner.hardening import PR_GET_DUMPABLE, harden_run
import ctypes
harden_run(parent=os.getppid(), memory_bytes=200 * 1024 * 1024)
def failing(action):
    try:
        action()
    except (OSError, MemoryError, ValueError) as error:
        return type(error).__name__ + ":" + str(getattr(error, "errno", ""))
    return None
def write():
    with open(sys.argv[1], "w") as file:
        file.write("evidence")
print(json.dumps({
    "dumpable": ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0),
    "write": failing(write),
    "memory": failing(lambda: bytearray(400 * 1024 * 1024)),
    "raise limit": failing(lambda: resource.setrlimit(resource.RLIMIT_CORE, (1, 1))) if os.geteuid() else "root may",
}))
"""


@LINUX
def test_it_can_write_no_file_and_take_no_more_memory(tmp_path: Path) -> None:
    path = tmp_path / "evidence"
    done = subprocess.run([sys.executable, "-B", "-c", PROBE, path], capture_output=True, text=True, check=True, env={})
    seen = json.loads(done.stdout)
    assert seen["dumpable"] == 0
    assert seen["write"] == "OSError:27"  # EFBIG
    assert seen["memory"] == "MemoryError:"
    assert path.read_bytes() == b""


ORPHAN = """
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE)
print(child.stdout.readline().decode(), end="", flush=True)
os._exit(0)
"""
LIVES_ON = """
import os, time
from coreo_worker.runner.hardening import harden_run
harden_run(parent=os.getppid(), memory_bytes=10**9)
print(os.getpid(), flush=True)
time.sleep(60)
"""


@LINUX
async def test_it_ends_with_the_worker_that_made_it() -> None:
    done = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", ORPHAN, LIVES_ON], capture_output=True, text=True, check=True
    )
    pid = int(done.stdout)
    await until(lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)


@LINUX
def test_it_ends_when_its_worker_was_gone_before() -> None:
    code = "from coreo_worker.runner.hardening import harden_run\nharden_run(parent=1 << 22, memory_bytes=10**9)\n"
    code += "print('went on')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")


async def test_too_little_memory_completes_nothing(aws: Simulator, account: str) -> None:
    async with open_process(run_command(memory_mb=20, log_level="INFO"), environment_at(aws)) as process:
        await process.send(start(aws, account))
        frames = await frames_of(process)
    assert Ended(outcome="completed") not in frames
