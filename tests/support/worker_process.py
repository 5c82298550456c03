"""`coreo-worker serve` as it is deployed: a process with its pool's role on the simulated AWS."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coreo_embedded.calls import AwsRequest
from coreo_embedded.credentials import CredentialEndpoint
from coreo_embedded.deploy import Deployment, Service, deploy
from coreo_embedded.deploy import Pool as PoolName
from coreo_embedded.simulator import Simulator
from coreo_shared.contracts.terms import Pool
from coreo_shared.crypto.jose import public_jwk
from tests.support.worker import Jobs, as_environment

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

COMMAND = Path(sys.executable).with_name("coreo-worker")
NOWHERE = "http://127.0.0.1:9"
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
_SERVICES: dict[PoolName, Service] = {"audit": "worker-audit", "onboard": "worker-onboard"}


@dataclass
class WorkerSite:
    """Coreo's account with empty queues, and workers of one pool on it."""

    aws: Simulator
    deployment: Deployment
    credentials: CredentialEndpoint
    directory: Path
    pool: PoolName = "audit"
    jobs: Jobs = field(default_factory=Jobs)
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def heartbeat(self) -> Path:
        """The workers' heartbeat file."""
        return self.directory / "heartbeat"

    @property
    def log(self) -> list[dict[str, Any]]:
        """The workers' log; every line must be an event."""
        return [json.loads(line) for line in (self.directory / "worker.log").read_text().splitlines()]

    def events(self) -> list[str]:
        """What the workers' log tells of."""
        return [line["event"] for line in self.log]

    def environment(self, **settings: object) -> dict[str, str]:
        """A worker's environment, with these settings instead of the usual ones."""
        values: dict[str, object] = {
            "pool": self.pool,
            "queue_url": self.deployment.queue_urls[self.pool],
            "results_url": NOWHERE,
            "api_jwks": {"keys": [public_jwk(self.jobs.tokens.api_jwk)]},
            "fleet_jwk": self.jobs.tokens.fleet_jwks[Pool(self.pool)],
            "heartbeat_file": str(self.heartbeat),
            "heartbeat_file_seconds": "0.2",
            "log_level": "DEBUG",
            **settings,
        }
        return {
            **as_environment(values),
            **self.credentials.environment(self.deployment.role_arns[_SERVICES[self.pool]], "worker-1"),
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
        return [request for request in self.aws.requests[since:] if request.role == f"coreo-worker-{self.pool}"]

    def send(self, body: str) -> None:
        """Puts a message on the pool's queue."""
        sqs: SQSClient = self.aws.root_client("sqs", self.deployment.account_id)
        sqs.send_message(QueueUrl=self.deployment.queue_urls[self.pool], MessageBody=body)

    def end(self, process: subprocess.Popen[bytes]) -> int:
        """The exit status after SIGTERM."""
        process.send_signal(signal.SIGTERM)
        return process.wait(15)


@contextmanager
def worker_site(aws: Simulator, account_id: str, directory: Path, pool: PoolName = "audit") -> Iterator[WorkerSite]:
    """A site of its own; its workers are gone afterwards."""
    deployment = deploy(aws, account_id=account_id)
    endpoint = CredentialEndpoint.start(aws.client("sts", deployment.launcher))
    made = WorkerSite(aws, deployment, endpoint, directory, pool)
    try:
        yield made
    finally:
        for process in made.started:
            process.kill()
            process.wait()
        endpoint.stop()
