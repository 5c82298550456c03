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
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from coreo_embedded.simulator import Simulator
from coreo_shared.contracts.base import decode_json
from coreo_shared.contracts.jobs import job_audience
from coreo_shared.contracts.results import RegisterWorker
from coreo_shared.contracts.terms import Pool
from coreo_shared.crypto.jose import generate_key
from tests.support.worker import EXTERNAL_ID, Jobs, until
from tests.support.worker_process import COMMAND, UNPRIVILEGED, WorkerSite, worker_site


@pytest.fixture
def site(aws: Simulator, new_account: Callable[[], str], tmp_path: Path) -> Iterator[WorkerSite]:
    with worker_site(aws, new_account(), tmp_path) as made:
        yield made


async def test_what_the_api_did_not_sign_for_the_pool_causes_no_call_but_to_the_queue(site: WorkerSite) -> None:
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


async def test_a_run_that_cannot_be_claimed_is_no_reason_to_enter_an_account(site: WorkerSite) -> None:
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


async def test_sigterm_ends_an_idle_worker_at_once(site: WorkerSite) -> None:
    process = site.start()
    started = time.monotonic()
    assert site.end(process) == 0
    assert time.monotonic() - started < 10  # its long poll would have lasted for 20 s
    assert site.events()[-1] == "worker_stopped"
    assert [line for line in site.log if line["level"] in {"error", "critical"}] == []
    assert {line["service"] for line in site.log} == {"worker"}


async def test_it_listens_nowhere_and_opens_no_file(site: WorkerSite) -> None:
    seen = psutil.Process(site.start().pid)
    assert [each for each in seen.net_connections() if each.status == psutil.CONN_LISTEN] == []
    assert {Path(each.path) for each in seen.open_files()} <= {site.directory / "worker.log"}
    assert site.heartbeat.read_bytes() == b""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has prctl and /proc")
def test_its_memory_is_closed_to_others_of_its_user(site: WorkerSite) -> None:
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


async def test_the_health_command_tells_a_live_worker_from_a_lost_one(site: WorkerSite) -> None:
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


async def test_a_worker_that_an_operator_drains_ends_by_itself(site: WorkerSite) -> None:
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
def test_wrong_settings_are_named_and_end_the_start(
    site: WorkerSite, settings: dict[str, object], named: list[str]
) -> None:
    done = subprocess.run(
        [COMMAND, "serve"], env=site.environment(**settings), capture_output=True, text=True, check=False, timeout=30
    )
    assert done.returncode == 2
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == named
    assert "canary" not in done.stderr


def test_a_missing_region_is_named(site: WorkerSite) -> None:
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
