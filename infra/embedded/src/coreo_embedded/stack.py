"""The whole of Coreo on loopback: PostgreSQL, the simulated AWS made from our templates, the services as processes.

Each service is an OS process of its own with only its own settings, database roles and AWS role, as in production.
"""

import itertools
import json
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGKILL
from subprocess import Popen
from typing import Any, Self
from urllib.error import URLError

from coreo_embedded.credentials import CredentialEndpoint
from coreo_embedded.deploy import Deployment, Pool, Service, deploy
from coreo_embedded.postgres import Postgres
from coreo_embedded.processes import free_port, run_once, spawn, stop, wait_until
from coreo_embedded.simulator import Simulator
from coreo_shared.crypto.jose import Signer, generate_key, public_jwk

START_SECONDS = 60
_COMMANDS = Path(sys.executable).parent  # coreo-api and the others are installed beside the interpreter
_STORES = {"vault": "COREO_VAULT", "backups": "COREO_BACKUP_STORE", "ledger": "COREO_LEDGER_STORE"}
_POOLS: tuple[Pool, ...] = ("audit", "deploy", "onboard")


@dataclass(frozen=True)
class Process:
    """A running service. `url` is empty for a worker, which listens nowhere."""

    name: str
    handle: Popen[bytes] = field(repr=False)
    log: Path
    url: str = ""

    @property
    def pid(self) -> int:
        """The process id."""
        return self.handle.pid

    def stop(self) -> None:
        """SIGTERM, then SIGKILL if it stays."""
        stop(self.handle)

    def kill(self) -> None:
        """SIGKILL: the process gets no chance to tidy up."""
        self.handle.send_signal(SIGKILL)
        self.handle.wait()


class Stack:
    """Starts what is asked for and stops all of it, newest first, when the block ends. `directory` holds everything."""

    def __init__(self, directory: Path, *, log_level: str = "INFO", durable: bool = True) -> None:
        self.directory = directory
        self._log_level = log_level
        self._durable = durable
        self._processes: list[Process] = []
        self._signing_key = generate_key("api-1")
        self._custody_key = generate_key("custody-1")
        self._fleet_keys = {pool: generate_key(f"fleet-{pool}-1") for pool in _POOLS}
        self._numbers: dict[str, Iterator[int]] = {}
        self._results: Process | None = None
        self._credentials: CredentialEndpoint | None = None

    def __enter__(self) -> Self:
        try:
            self._start_platform()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start_platform(self) -> None:
        """What the cloud provides: the database server, AWS, and each role's credentials."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.logs = self.directory / "logs"
        self.logs.mkdir(exist_ok=True)
        self.directory.chmod(0o711)  # run by root, PostgreSQL is another user's, who passes through here
        with ThreadPoolExecutor(max_workers=3) as pool:  # AWS is made while the databases migrate
            aws = pool.submit(self._start_aws)
            databases = pool.submit(self._start_databases, pool)
            databases.result()
            aws.result()

    def _start_aws(self) -> None:
        self.simulator = Simulator.start(self.directory / "aws", log_file=self.logs / "aws-requests.jsonl")
        self.deployment: Deployment = deploy(self.simulator)
        self._credentials = CredentialEndpoint.start(self.simulator.client("sts", self.deployment.launcher))

    def _start_databases(self, pool: ThreadPoolExecutor) -> None:
        self.postgres = Postgres.start(self.directory / "postgres", durable=self._durable)
        self.postgres.bootstrap()
        api = pool.submit(self._migrate, "coreo-api")
        self._migrate("coreo-results")
        self._root_key = self.directory / "root-key.json"
        run_once([str(_COMMANDS / "coreo-results"), "create-root-key", str(self._root_key)], environment={})
        for store in _STORES:
            (self.directory / store).mkdir(mode=0o700, exist_ok=True)
        api.result()

    def _migrate(self, service: str) -> None:
        database = service.replace("-", "_")
        owner = self.postgres.url(database, f"{database}_owner")
        run_once([str(_COMMANDS / service), "migrate"], environment={"COREO_MIGRATION_DATABASE_URL": owner})

    def start_results(self, *, port: int | None = None, **settings: str) -> Process:
        """The results service, ready to answer. `settings`: further COREO_ variables, in lower case."""
        port = port or free_port()
        environment = {
            "COREO_DATABASE_URL": self.postgres.url("coreo_results", "coreo_results"),
            "COREO_SYSTEM_DATABASE_URL": self.postgres.url("coreo_results", "coreo_results_system"),
            "COREO_API_JWKS": _jwks(self._signing_key),
            "COREO_FLEET_JWKS": json.dumps({pool: json.loads(_jwks(key)) for pool, key in self._fleet_keys.items()}),
            "COREO_ROOT_KEY": f"file:{self._root_key}",
            **{variable: f"dir:{self.directory / store}" for store, variable in _STORES.items()},
            "COREO_CUSTODY_KEY": json.dumps(self._custody_key),
        }
        self._results = self._serve("results", "results", environment, port, settings)
        return self._results

    def start_api(
        self, *, port: int | None = None, environment: Mapping[str, str] | None = None, **settings: str
    ) -> Process:
        """A replica of the api, ready to answer. The results service must have been started before.

        `environment`: variables that are no settings of Coreo.
        """
        own = {
            "COREO_DATABASE_URL": self.postgres.url("coreo_api", "coreo_api"),
            "COREO_SYSTEM_DATABASE_URL": self.postgres.url("coreo_api", "coreo_api_system"),
            "COREO_RESULTS_URL": self._results_url(),
            "COREO_SIGNING_JWK": json.dumps(self._signing_key),
            "COREO_QUEUE_URL_AUDIT": self.deployment.queue_urls["audit"],
            "COREO_AWS_ACCOUNT_ID": self.deployment.account_id,
            "COREO_QUEUE_URL_ONBOARD": self.deployment.queue_urls["onboard"],
            "COREO_AUDIT_WORKER_ROLE_ARN": self.deployment.role_arns["worker-audit"],
            "COREO_ONBOARD_WORKER_ROLE_ARN": self.deployment.role_arns["worker-onboard"],
            "COREO_ONBOARD_FLEET_JWKS": _jwks(self._fleet_keys["onboard"]),
            "COREO_IAM_ENDPOINT_URL": self.simulator.endpoint_url,
        }
        return self._serve("api", "api", own | dict(environment or {}), port or free_port(), settings)

    def start_worker(self, pool: Pool = "audit", **settings: str) -> Process:
        """A worker of the pool that has told the results service it is there."""
        name = self._number(f"worker-{pool}")
        heartbeat = self.directory / f"{name}.heartbeat"
        environment = {
            "COREO_POOL": pool,
            "COREO_QUEUE_URL": self.deployment.queue_urls[pool],
            "COREO_RESULTS_URL": self._results_url(),
            "COREO_API_JWKS": _jwks(self._signing_key),
            "COREO_FLEET_JWK": json.dumps(self._fleet_keys[pool]),
            "COREO_WORKER_ID": name,
            "COREO_HEARTBEAT_FILE": str(heartbeat),
        }
        role: Service = f"worker-{pool}"  # type: ignore[assignment]  # mypy does not join literals
        process = self._spawn(name, "coreo-worker", role, environment | _settings(settings))
        wait_until(heartbeat.exists, process.handle, name=name, log=process.log, seconds=START_SECONDS)
        return process

    def pids(self) -> list[tuple[int, str]]:
        """The long-lived processes but for the simulated AWS: (process id, name)."""
        known = [(process.pid, process.name) for process in self._processes if process.handle.poll() is None]
        return [*known, (self.postgres.pid, "postgres")]

    def create_team(self, name: str) -> dict[str, str]:
        """A new team: {"team_id", "token"}."""
        environment = {"COREO_DATABASE_URL": self.postgres.url("coreo_api", "coreo_api")}
        answer: dict[str, str] = json.loads(
            run_once([str(_COMMANDS / "coreo-api"), "create-team", name], environment=environment)
        )
        return answer

    def sign(self, claims: object, *, typ: str) -> str:
        """Signs as the api does: for tests of what workers and results make of jobs and tokens."""

        return Signer(self._signing_key).sign(claims, typ=typ)

    def stop(self) -> None:
        """Stops everything, newest first; a part that was never started is passed over."""
        while self._processes:
            self._processes.pop().stop()
        if self._credentials is not None:
            self._credentials.stop()
            self._credentials = None
        for part in ("simulator", "postgres"):
            running = self.__dict__.pop(part, None)
            if running is not None:
                running.stop()

    def _results_url(self) -> str:
        if self._results is None:
            raise RuntimeError("start the results service first: stack.start_results()")
        return self._results.url

    def _number(self, name: str) -> str:
        return f"{name}-{next(self._numbers.setdefault(name, itertools.count(1)))}"

    def _serve(
        self, kind: str, role: Service, environment: Mapping[str, str], port: int, settings: Mapping[str, str]
    ) -> Process:
        listening = {"COREO_HOST": "127.0.0.1", "COREO_PORT": str(port)}
        url = f"http://127.0.0.1:{port}"
        name = self._number(kind)
        process = self._spawn(name, f"coreo-{kind}", role, {**environment, **listening, **_settings(settings)}, url=url)
        wait_until(lambda: _is_ready(url), process.handle, name=name, log=process.log, seconds=START_SECONDS)
        return process

    def _spawn(
        self, name: str, command: str, role: Service, environment: Mapping[str, str], *, url: str = ""
    ) -> Process:
        if self._credentials is None:
            raise RuntimeError("enter the stack first: with Stack(directory) as stack")
        log = self.logs / f"{name}.log"
        arguments = [str(_COMMANDS / command), "serve"]
        full: dict[str, str] = {
            "COREO_LOG_LEVEL": self._log_level,
            "AWS_ENDPOINT_URL": self.simulator.endpoint_url,
            "AWS_REGION": self.deployment.region,
            **self._credentials.environment(self.deployment.role_arns[role], name),
            **environment,
        }
        process = Process(name, spawn(arguments, environment=full, log=log), log, url)
        self._processes.append(process)
        return process


def _settings(settings: Mapping[str, str]) -> dict[str, str]:
    return {f"COREO_{name.upper()}": value for name, value in settings.items()}


def _jwks(private: dict[str, Any]) -> str:
    return json.dumps({"keys": [public_jwk(private)]})


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/health/ready", timeout=5) as answer:  # noqa: S310  our own loopback address
            return bool(answer.status == 200)
    except (URLError, ConnectionError, TimeoutError):
        return False
