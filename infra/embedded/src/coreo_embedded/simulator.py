"""The embedded AWS: ministack in an environment of its own, every check on, behind our proxy.

`AUTH=true` makes it enforce signatures, identity, trust, session and key policies. It takes any signature of an
account's root (a 12-digit access key id), so the proxy asks those for a session token that is random for each start.
"""

import http.client
import json
import os
import secrets
import socket
import subprocess
import threading
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Unpack

import boto3
from botocore.config import Config

from coreo_embedded import processes
from coreo_embedded.calls import AwsRequest
from coreo_embedded.faults import Fault, FaultFields
from coreo_embedded.proxy import Listen, Proxy

REGION = "us-east-1"
_REPOSITORY = Path(__file__).parents[4]
_INSIDE = Path(__file__).parent / "inside"  # what that other environment's interpreter runs
_READY_SECONDS = 30
_ROOT_SECRET = "unchecked"
_SOCKET_PATH_LIMIT = 100  # bytes; the kernel's is 104 to 108


class SimulatorError(RuntimeError):
    """The simulated AWS could not be started; the message says what to do."""


@dataclass(frozen=True)
class Credentials:
    """Keys for the SDK; the secrets are not in the repr."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)

    def environment(self) -> dict[str, str]:
        """As the SDK reads them from the environment."""
        values = {"AWS_ACCESS_KEY_ID": self.access_key_id, "AWS_SECRET_ACCESS_KEY": self.secret_access_key}
        return values | ({"AWS_SESSION_TOKEN": self.session_token} if self.session_token else {})


class Simulator:
    """A running simulated AWS with any number of accounts, each made by its first use."""

    def __init__(self, directory: Path, listen: Listen | None = None) -> None:
        self._directory = directory
        self._listen = listen or Listen()
        self._log = directory / "simulator.log"
        self._socket = directory / "aws.sock"
        self._root_token = secrets.token_urlsafe(24)
        self._session = boto3.session.Session()  # one, as each loads the services' models anew; not thread-safe
        self._session_lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._proxy: Proxy | None = None

    @classmethod
    def start(cls, directory: Path, *, log_file: Path | None = None, listen: Listen | None = None) -> "Simulator":
        """Starts with no accounts; blocks until ready. `log_file` gets each request as a line of JSON besides.

        `directory` takes its log, socket and temporary files; `listen` opens it to others than this machine.
        Raises SimulatorError, ProxyError or ProcessFailedError.
        """
        self = cls(directory, listen)
        if len(os.fsencode(self._socket)) > _SOCKET_PATH_LIMIT:
            raise SimulatorError(f"The path {self._socket} is too long for a unix socket; choose a shorter folder")
        python = _simulator_python()
        directory.mkdir(parents=True, exist_ok=True)
        self._proxy = Proxy.start(self._socket, self._root_token, log_file=log_file, listen=self._listen)
        try:
            self._start(python)
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Ends the simulator and its proxy; all its state is gone. Stopped already is fine."""
        if self._proxy is not None:
            self._proxy.stop()
            self._proxy = None
        if self._process is not None:
            # Its state is gone with it; threads that wait for a stack's signals would hold up a polite end for minutes.
            processes.stop(self._process, seconds=1)
            self._process = None
        self._socket.unlink(missing_ok=True)

    @property
    def proxy(self) -> Proxy:
        """The proxy in front. Raises SimulatorError when stopped."""
        if self._proxy is None:
            raise SimulatorError("The simulated AWS is stopped")
        return self._proxy

    @property
    def endpoint_url(self) -> str:
        """For AWS_ENDPOINT_URL."""
        return self.proxy.url

    @property
    def pid(self) -> int:
        """Process id of the simulator. Raises SimulatorError when stopped."""
        if self._process is None:
            raise SimulatorError("The simulated AWS is stopped")
        return self._process.pid

    @property
    def requests(self) -> list[AwsRequest]:
        """Every request that arrived so far, oldest first."""
        return self.proxy.requests

    def fault(self, **fields: Unpack[FaultFields]) -> AbstractContextManager[Fault]:
        """Plays a fault while the block runs; see faults.Fault."""
        return self.proxy.fault(**fields)

    def root_credentials(self, account_id: str) -> Credentials:
        """The root user of an account (12 digits), for building what tests and demos need in it."""
        return Credentials(account_id, _ROOT_SECRET, self._root_token)

    def client(self, service: str, credentials: Credentials, region: str = REGION, *, read_timeout: float = 60) -> Any:
        """A boto3 client without retries. It is not typed: annotate it (`sqs: SQSClient = aws.client(...)`)."""
        with self._session_lock:
            return self._session.client(
                service,  # type: ignore[call-overload]  # the name comes from the caller
                endpoint_url=self.endpoint_url,
                region_name=region,
                aws_access_key_id=credentials.access_key_id,
                aws_secret_access_key=credentials.secret_access_key,
                aws_session_token=credentials.session_token,
                config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=read_timeout),
            )

    def root_client(self, service: str, account_id: str, region: str = REGION) -> Any:
        """A boto3 client of the account's root user."""
        return self.client(service, self.root_credentials(account_id), region)

    def _start(self, python: Path) -> None:
        self._socket.unlink(missing_ok=True)
        command = [str(python), "-m", "hypercorn", "strict_aws:app", "--bind", f"unix:{self._socket}"]
        self._process = processes.spawn(
            [*command, "--keep-alive", "75", "--graceful-timeout", "0", "--workers", "0"],
            environment=self._environment(),
            log=self._log,
        )
        processes.wait_until(
            self._is_ready, self._process, name="The simulated AWS", log=self._log, seconds=_READY_SECONDS
        )

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": "/usr/bin:/bin",
            "HOME": str(self._directory),
            "PYTHONPATH": str(_INSIDE),
            "PYTHONDONTWRITEBYTECODE": "1",
            "TMPDIR": str(self._directory),
            "STATE_DIR": str(self._directory / "state"),
            "S3_DATA_DIR": str(self._directory / "s3"),
            "AUTH": "true",
            "MINISTACK_REGION": REGION,
            # Host and port that it names in queue URLs are the proxy's; it listens on the socket alone.
            "MINISTACK_HOST": self._listen.name,
            "GATEWAY_PORT": str(self.proxy.port),
            "LOG_LEVEL": "WARNING",
            # No second listener, no Docker.
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "DOCKER_HOST": f"unix://{self._directory}/no-docker",
        }

    def _is_ready(self) -> bool:
        with closing(_UnixConnection(self._socket)) as connection:
            try:
                connection.request("GET", "/_ministack/health")
                answer = connection.getresponse()
                return answer.status == 200 and "services" in json.loads(answer.read())
            except (OSError, http.client.HTTPException):
                return False


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def _simulator_python() -> Path:
    """The interpreter that has ministack: COREO_SIMULATOR_PYTHON, or the one `make setup` made."""
    chosen = os.environ.get("COREO_SIMULATOR_PYTHON")
    python = Path(chosen) if chosen else _REPOSITORY / ".venv-aws" / "bin" / "python"
    if not python.is_file():
        raise SimulatorError(
            f"No interpreter at {python}; run `make setup`, or name one with ministack in COREO_SIMULATOR_PYTHON"
        )
    return python
