"""The platform container's process: each service gets its own role from its own folder, and nothing outlives it."""

import json
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import httpx
import psutil
import pytest
from aiobotocore.session import get_session
from botocore.exceptions import ClientError

from coreo_embedded import platform_service
from coreo_embedded.deploy import COREO_ACCOUNT
from coreo_embedded.platform_service import SERVICES, Places, PlatformError, find_problem, run_platform
from coreo_embedded.processes import port_is_free, spawn, stop, wait_until
from coreo_embedded.proxy import Listen

COMMAND = [sys.executable, "-m", "coreo_embedded.main"]
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
# The loopback address by another name: to the proxy not private, as in a container, but nobody else reaches it.
OPEN_HOST = "127.1"


@dataclass(frozen=True)
class Platform:
    """One that runs. Each service's folder below `credentials` is what its container sees as its working directory."""

    process: "subprocess.Popen[bytes]"
    credentials: Path
    private: Path

    @property
    def url(self) -> str:
        url: str = json.loads((self.private / "root.json").read_text())["url"]
        return url

    def queue(self, pool: str) -> str:
        return f"{self.url}/{COREO_ACCOUNT}/coreo-{pool}"


@contextmanager
def folders() -> Iterator[Path]:
    """Not pytest's, whose paths are too long for a socket."""
    root = Path(tempfile.mkdtemp(prefix="coreo-platform-"))
    try:
        for service in SERVICES:
            (root / "credentials" / service).mkdir(parents=True)
        yield root
    finally:
        shutil.rmtree(root)


@contextmanager
def running(root: Path) -> Iterator[Platform]:
    credentials, private, log = root / "credentials", root / "private", root / f"{uuid4()}.log"
    options = ["--credentials", str(credentials), "--mount", ".", "--private", str(private), "--host", OPEN_HOST]

    def is_ready() -> bool:  # credentials of an earlier one may be there until it says so
        return "listens on" in log.read_text() and is_well(credentials)

    process = spawn([*COMMAND, "platform", *options], environment=ENVIRONMENT, log=log)
    try:
        wait_until(is_ready, process, name="The platform", log=log, seconds=60)
        yield Platform(process, credentials, private)
    finally:
        stop(process)


def is_well(credentials: Path) -> bool:
    return find_problem(credentials, now=datetime.now(UTC)) is None


@pytest.fixture(scope="module")
def platform() -> Iterator[Platform]:
    with folders() as root, running(root) as started:
        yield started


@pytest.fixture
def call(platform: Platform, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Asks AWS as a service in its container would: `await call("api", "sqs", "send_message", ...)`."""

    async def ask(caller: str, service: str, operation: str, **parameters: Any) -> Any:
        monkeypatch.chdir(platform.credentials / caller)
        monkeypatch.setenv("AWS_CONFIG_FILE", str(platform.credentials / caller / "config"))
        monkeypatch.setenv("AWS_ENDPOINT_URL", platform.url)
        monkeypatch.setenv("AWS_REGION", "us-east-1")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        async with get_session().create_client(service, region_name="us-east-1") as client:  # type: ignore[call-overload]  # the name comes from the test
            return await getattr(client, operation)(**parameters)

    return ask


@pytest.mark.parametrize("service", SERVICES)
async def test_sdk_of_a_service_gets_its_own_role(service: str, call: Callable[..., Any]) -> None:
    identity = await call(service, "sts", "get_caller_identity")

    assert identity["Arn"] == f"arn:aws:sts::{COREO_ACCOUNT}:assumed-role/coreo-{service}/{service}"


async def test_roles_are_those_of_the_templates(platform: Platform, call: Callable[..., Any]) -> None:
    sent = await call("api", "sqs", "send_message", QueueUrl=platform.queue("audit"), MessageBody="job")
    for service, pool in (("api", "audit"), ("worker-audit", "deploy"), ("worker-deploy", "audit")):
        with pytest.raises(ClientError, match="AccessDenied"):
            await call(service, "sqs", "receive_message", QueueUrl=platform.queue(pool))

    received = await call("worker-audit", "sqs", "receive_message", QueueUrl=platform.queue("audit"))
    assert [message["MessageId"] for message in received["Messages"]] == [sent["MessageId"]]


def test_only_the_owner_can_read_what_the_platform_writes(platform: Platform) -> None:
    files = {
        *(platform.credentials / service / name for service in SERVICES for name in ("config", "credentials.json")),
        platform.private / "root.json",
    }

    assert {path for path in platform.credentials.rglob("*") if path.is_file()} <= files
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}


def test_each_folder_has_credentials_of_its_own(platform: Platform) -> None:
    keys = {read_session(platform.credentials, service)["AccessKeyId"] for service in SERVICES}

    assert len(keys) == len(SERVICES) == 4


def test_health_names_the_service_without_credentials(platform: Platform) -> None:
    def health() -> "subprocess.CompletedProcess[str]":
        return run("platform-health", "--credentials", str(platform.credentials))

    assert health().returncode == 0
    kept = platform.credentials / "worker-audit" / "credentials.json"
    away = kept.rename(kept.with_name("away"))
    try:
        ill = health()
    finally:
        away.rename(kept)

    assert ill.returncode == 1
    assert "worker-audit has no credentials yet" in ill.stderr


async def test_planted_account_lets_the_audit_worker_in(platform: Platform, call: Callable[..., Any]) -> None:
    account = "222222222222"
    done = plant(platform, account)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"arn:aws:iam::{account}:role/CoreoAudit\n"

    role = {"RoleArn": done.stdout.strip(), "RoleSessionName": "audit"}
    assumed = await call("worker-audit", "sts", "assume_role", **role, ExternalId="our-secret")
    assert assumed["AssumedRoleUser"]["Arn"].startswith(f"arn:aws:sts::{account}:")
    with pytest.raises(ClientError, match="AccessDenied"):
        await call("worker-audit", "sts", "assume_role", **role)
    with pytest.raises(ClientError, match="AccessDenied"):
        await call("api", "sts", "assume_role", **role, ExternalId="our-secret")

    again = plant(platform, account)
    assert again.returncode == 1
    assert again.stderr.startswith("coreo-embedded: The account was not made: ")
    assert "EntityAlreadyExists" in again.stderr


@pytest.mark.parametrize("path", ["/_coreo/requests", "/_coreo/faults", "/_ministack/health"])
def test_services_reach_neither_log_nor_faults_nor_administration(path: str, platform: Platform) -> None:
    answers = [httpx.request(method, platform.url + path, json={"kind": "deny"}) for method in ("GET", "POST")]

    assert [answer.status_code for answer in answers] == [403, 403]


def test_sigterm_ends_it_with_status_0_and_nothing_is_left() -> None:
    with folders() as root:
        with running(root) as platform:
            children = psutil.Process(platform.process.pid).children(recursive=True)
            port = int(platform.url.rpartition(":")[2])
            assert children
            assert not port_is_free(port)

            platform.process.send_signal(signal.SIGTERM)
            assert platform.process.wait(timeout=20) == 0

        assert psutil.wait_procs(children, timeout=10)[1] == []
        assert port_is_free(port)
        assert {path.name for path in (root / "private").iterdir()} <= {"simulator.log", "state", "s3"}


def test_killed_platform_leaves_nothing_running_and_starts_again() -> None:
    with folders() as root:
        with running(root) as platform:
            children = psutil.Process(platform.process.pid).children(recursive=True)
            before = read_session(platform.credentials, "api")
            platform.process.kill()
            platform.process.wait(timeout=20)

        assert children
        assert psutil.wait_procs(children, timeout=10)[1] == []
        with running(root) as platform:
            assert read_session(platform.credentials, "api") != before


def test_credentials_are_refreshed_until_aws_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform_service, "REFRESH_SECONDS", 0.05)
    stopping = threading.Event()
    with folders() as root, ThreadPoolExecutor(max_workers=1) as pool:
        before = set(psutil.Process().children())
        credentials = root / "credentials"
        serving = pool.submit(run_platform, Places(root / "private", credentials, "."), Listen(), stopping)
        try:
            wait_for(lambda: serving.done() or is_well(credentials))
            first = {service: read_session(credentials, service) for service in SERVICES}
            wait_for(lambda: serving.done() or all(read_session(credentials, s) != first[s] for s in SERVICES))
            assert not serving.done()
            # On 127.0.0.1 the log is open: that it is closed elsewhere is no accident.
            url = json.loads((root / "private" / "root.json").read_text())["url"]
            assert httpx.get(f"{url}/_coreo/requests").status_code == 200

            (simulator,) = set(psutil.Process().children()) - before
            simulator.kill()
            with pytest.raises(PlatformError, match=r"The simulated AWS no longer gives .* Start the platform anew\."):
                serving.result(timeout=20)
        finally:
            stopping.set()


def test_missing_volume_is_named_before_anything_starts(tmp_path: Path) -> None:
    options = ["--credentials", str(tmp_path), "--mount", "/run/coreo", "--private", str(tmp_path / "private")]
    done = run("platform", *options)

    assert done.returncode == 1
    assert f"No folder {tmp_path}/api: mount the volume of api there" in done.stderr
    assert not (tmp_path / "private").exists()


def test_address_that_cannot_be_listened_on_is_named() -> None:
    with folders() as root:
        options = ["--credentials", str(root / "credentials"), "--mount", ".", "--private", str(root / "private")]
        done = run("platform", *options, "--host", "192.0.2.1")

    assert done.returncode == 1
    assert "coreo-embedded: The proxy of the simulated AWS did not start" in done.stderr
    assert "192.0.2.1" in done.stderr
    assert "Traceback" not in done.stderr


def run(*arguments: str, text: str = "") -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *arguments], env=ENVIRONMENT, input=text, capture_output=True, text=True, check=False, timeout=60
    )


def plant(platform: Platform, account: str) -> "subprocess.CompletedProcess[str]":
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": f"arn:aws:iam::{COREO_ACCOUNT}:role/coreo-worker-audit"},
        "Action": "sts:AssumeRole",
        "Condition": {"StringEquals": {"sts:ExternalId": "our-secret"}},
    }
    text = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    return run("plant", "--account-id", account, "--private", str(platform.private), text=text)


def read_session(credentials: Path, service: str) -> dict[str, str]:
    session: dict[str, str] = json.loads((credentials / service / "credentials.json").read_text())
    return session


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert monotonic() < deadline
        pause.wait(0.02)
