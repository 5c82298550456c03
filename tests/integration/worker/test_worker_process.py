"""`coreo-worker serve` as it is deployed: a process with its pool's role, its signals, its log, its health command."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from coreo_embedded.calls import AwsRequest
from coreo_embedded.credentials import CredentialEndpoint
from coreo_embedded.deploy import Deployment, deploy
from coreo_embedded.simulator import Simulator
from coreo_shared.contracts.base import decode_json
from coreo_shared.contracts.jobs import job_audience
from coreo_shared.contracts.results import RegisterWorker
from coreo_shared.contracts.terms import Pool
from coreo_shared.crypto.jose import generate_key, public_jwk
from tests.support.worker import EXTERNAL_ID, Jobs, as_environment, until

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

COMMAND = Path(sys.executable).with_name("coreo-worker")
NOWHERE = "http://127.0.0.1:9"
ROLE = "coreo-worker-audit"
# Root may look into any process unless it gives that up for good, as here: CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_PERFMON.
_GIVE_UP = """
import ctypes, os, sys
prctl, PR_CAPBSET_READ, PR_CAPBSET_DROP = ctypes.CDLL(None).prctl, 23, 24
for capability in (19, 21, 38):
    if os.geteuid() == 0 and prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1:
        assert prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""
UNPRIVILEGED = [sys.executable, "-I", "-c", _GIVE_UP]


@dataclass
class Site:
    """Coreo's account with empty queues, and workers on it."""

    aws: Simulator
    deployment: Deployment
    credentials: CredentialEndpoint
    directory: Path
    jobs: Jobs = field(default_factory=Jobs)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def heartbeat(self) -> Path:
        return self.directory / "heartbeat"

    @property
    def log(self) -> list[dict[str, Any]]:
        """The workers' log; every line must be an event."""
        return [json.loads(line) for line in (self.directory / "worker.log").read_text().splitlines()]

    def events(self) -> list[str]:
        return [line["event"] for line in self.log]

    def environment(self, **settings: object) -> dict[str, str]:
        values: dict[str, object] = {
            "pool": "audit",
            "queue_url": self.deployment.queue_urls["audit"],
            "results_url": NOWHERE,
            "api_jwks": {"keys": [public_jwk(self.jobs.tokens.api_jwk)]},
            "fleet_jwk": self.jobs.tokens.fleet_jwks[Pool.AUDIT],
            "heartbeat_file": str(self.heartbeat),
            "heartbeat_file_seconds": "0.2",
            "log_level": "DEBUG",
            **settings,
        }
        return {
            **as_environment(values),
            **self.credentials.environment(self.deployment.role_arns["worker-audit"], "worker-1"),
            "AWS_ENDPOINT_URL": self.aws.endpoint_url,
            "AWS_REGION": self.deployment.region,
        }

    def start(self, **settings: object) -> subprocess.Popen[bytes]:
        """A worker that polls its queue, without the right to look into any process there is."""
        before = len(self.aws.requests)
        with (self.directory / "worker.log").open("ab") as log:
            process = subprocess.Popen([*UNPRIVILEGED, COMMAND, "serve"], env=self.environment(**settings), stderr=log)
        self.started.append(process)
        deadline = time.monotonic() + 30
        while not any(call.operation == "ReceiveMessage" for call in self.calls(before)):
            assert process.poll() is None, (self.directory / "worker.log").read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return process

    def calls(self, since: int = 0) -> list[AwsRequest]:
        """What workers asked of AWS."""
        return [request for request in self.aws.requests[since:] if request.role == ROLE]

    def send(self, body: str) -> None:
        sqs: SQSClient = self.aws.root_client("sqs", self.deployment.account_id)
        sqs.send_message(QueueUrl=self.deployment.queue_urls["audit"], MessageBody=body)

    def end(self, process: subprocess.Popen[bytes]) -> int:
        """The exit status after SIGTERM."""
        process.send_signal(signal.SIGTERM)
        return process.wait(15)


@pytest.fixture
def site(aws: Simulator, new_account: Callable[[], str], tmp_path: Path) -> Iterator[Site]:
    deployment = deploy(aws, account_id=new_account())
    endpoint = CredentialEndpoint.start(aws.client("sts", deployment.launcher))
    made = Site(aws, deployment, endpoint, tmp_path)
    try:
        yield made
    finally:
        for process in made.started:
            process.kill()
            process.wait()
        endpoint.stop()


async def test_what_the_api_did_not_sign_for_the_pool_causes_no_call_but_to_the_queue(site: Site) -> None:
    jobs, now = site.jobs, int(time.time())
    header, _, signature = jobs.sign(jobs.make()).split(".")
    other = jobs.sign(jobs.make()).split(".")[1]
    refused = {
        "unknown_key": Jobs().sign(jobs.make()),
        "bad_signature": f"{header}.{other}.{signature}",
        "expired": jobs.sign(jobs.make(exp=now - 1)),
        "wrong_audience": jobs.sign(jobs.make(aud=job_audience(Pool.DEPLOY))),
        "malformed": json.dumps({"run_id": "canary", "role_arn": "arn:aws:iam::1:role/x"}),
        "wrong_type": jobs.tokens.run(jobs.make().team_id, jobs.make().run_id),
    }
    for body in refused.values():
        site.send(body)
    before = len(site.aws.requests)
    process = site.start()

    def fates() -> Counter[str]:
        return Counter(call.operation for call in site.calls(before) if call.operation != "ReceiveMessage")

    await until(lambda: fates().total() >= len(refused), seconds=30)
    assert site.end(process) == 0
    # An unknown key may be one that this worker has not been given yet.
    assert fates() == {"DeleteMessage": len(refused) - 1, "ChangeMessageVisibility": 1}
    told = [line for line in site.log if line["event"] == "job_refused"]
    assert sorted(line["security_event"] for line in told) == sorted(refused)
    assert "canary" not in (site.directory / "worker.log").read_text()


async def test_a_run_that_cannot_be_claimed_is_no_reason_to_enter_an_account(site: Site) -> None:
    """The results service is down: the message is kept, and no session is asked for before the ledger has said yes."""
    job = site.jobs.make()
    site.send(site.jobs.sign(job))
    before = len(site.aws.requests)
    process = site.start(visibility_seconds="2", grace_seconds="0.2")
    await until(lambda: sum(call.operation == "ChangeMessageVisibility" for call in site.calls(before)) >= 2)
    assert site.events().count("results_unavailable") >= 2
    assert site.end(process) == 0
    operations = [call.operation for call in site.calls(before)]
    assert set(operations) == {"ReceiveMessage", "ChangeMessageVisibility"}
    written = (site.directory / "worker.log").read_text()
    for secret in (EXTERNAL_ID, job.run_token, site.jobs.tokens.fleet_jwks[Pool.AUDIT]["d"]):
        assert secret not in written


async def test_sigterm_ends_an_idle_worker_at_once(site: Site) -> None:
    process = site.start()
    started = time.monotonic()
    assert site.end(process) == 0
    assert time.monotonic() - started < 10  # its long poll would have lasted for 20 s
    assert site.events()[-1] == "worker_stopped"
    assert [line for line in site.log if line["level"] in {"error", "critical"}] == []
    assert {line["service"] for line in site.log} == {"worker"}


async def test_it_listens_nowhere_and_opens_no_file(site: Site) -> None:
    seen = psutil.Process(site.start().pid)
    assert [each for each in seen.net_connections() if each.status == psutil.CONN_LISTEN] == []
    assert {Path(each.path) for each in seen.open_files()} <= {site.directory / "worker.log"}
    assert site.heartbeat.read_bytes() == b""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has prctl and /proc")
def test_its_memory_is_closed_to_others_of_its_user(site: Site) -> None:
    process = site.start()
    assert read_by_neighbour(process.pid) == "PermissionError"
    assert psutil.Process(process.pid).rlimit(psutil.RLIMIT_CORE) == (0, 0)
    assert "NoNewPrivs:\t1" in Path(f"/proc/{process.pid}/status").read_text()
    with subprocess.Popen([*UNPRIVILEGED, sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as ordinary:
        assert read_by_neighbour(ordinary.pid) == "read"  # so it is the worker's own doing
        ordinary.kill()


def read_by_neighbour(pid: int) -> str:
    """What a process of the same user and rights gets when it looks at the environment another one has in memory."""
    look = """
import sys
try:
    open(f"/proc/{sys.argv[1]}/environ", "rb").read(1)
    print("read")
except OSError as error:
    print(type(error).__name__)
"""
    arguments = [*UNPRIVILEGED, sys.executable, "-I", "-c", look, str(pid)]
    return subprocess.run(arguments, capture_output=True, text=True, check=True).stdout.strip()


def health(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "health"],
        env={"COREO_HEARTBEAT_FILE": str(path), "COREO_HEARTBEAT_MAX_AGE_SECONDS": "2"},
        capture_output=True,
        text=True,
        check=False,
    )


async def test_the_health_command_tells_a_live_worker_from_a_lost_one(site: Site) -> None:
    assert "has not started" in health(site.heartbeat).stderr
    process = site.start()
    assert (health(site.heartbeat).returncode, health(site.heartbeat).stdout) == (0, "coreo-worker: alive\n")
    process.send_signal(signal.SIGSTOP)
    try:
        await until(lambda: health(site.heartbeat).returncode == 1)
        assert "hangs or has ended" in health(site.heartbeat).stderr
    finally:
        process.send_signal(signal.SIGCONT)
    await until(lambda: health(site.heartbeat).returncode == 0)


class Registry(ThreadingHTTPServer):
    """The results service's fleet registry, whose operator wants every worker to drain from the second report on."""

    def __init__(self) -> None:
        self.reports: list[RegisterWorker] = []
        super().__init__(("127.0.0.1", 0), self._handler())

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        reports = self.reports

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                reports.append(decode_json(body, RegisterWorker))
                answer = json.dumps({"interval_seconds": 0.2, "drain": len(reports) > 1}).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the standard library's name
                """Nothing."""

        return Handler


async def test_a_worker_that_an_operator_drains_ends_by_itself(site: Site) -> None:
    registry = Registry()
    thread = threading.Thread(target=registry.serve_forever)
    thread.start()
    try:
        process = site.start(results_url=f"http://127.0.0.1:{registry.server_port}", worker_id="w1")
        await until(lambda: process.poll() is not None)
        assert process.returncode == 0
    finally:
        registry.shutdown()
        thread.join()
        registry.server_close()
    assert {report.worker_id for report in registry.reports} == {"w1"}
    assert registry.reports[-1].draining


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"pool": "canary", "fleet_jwk": generate_key("public-only") | {"d": None}}, ["COREO_POOL", "COREO_FLEET_JWK"]),
        ({"heartbeat_file": "/nowhere/canary"}, ["COREO_HEARTBEAT_FILE"]),
    ],
)
def test_wrong_settings_are_named_and_end_the_start(site: Site, settings: dict[str, object], named: list[str]) -> None:
    done = subprocess.run(
        [COMMAND, "serve"], env=site.environment(**settings), capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 2
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == named
    assert "canary" not in done.stderr


def test_a_missing_region_is_named(site: Site) -> None:
    environment = site.environment() | {"AWS_CONFIG_FILE": os.devnull}
    del environment["AWS_REGION"]
    done = subprocess.run([COMMAND, "serve"], env=environment, capture_output=True, text=True, check=False, timeout=30)
    assert (done.returncode, done.stderr) == (2, "AWS_REGION: Field required\n")


@pytest.mark.parametrize("arguments", [["--help"], ["serve", "--help"], ["health", "-h"]])
def test_help_is_quick_and_needs_no_settings(arguments: list[str]) -> None:
    code = "import sys; from coreo_worker.main import run\ntry: run()\nfinally: print('aiobotocore' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False, env={})
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: coreo-worker")
    assert done.stdout.endswith("False\n")
