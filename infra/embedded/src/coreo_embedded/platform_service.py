"""`coreo-embedded platform`: what the cloud gives services in containers: a simulated AWS and each role's credentials.

A container has no ECS to ask, and the SDK takes a credential endpoint on loopback and link-local addresses alone. So
each service has a folder that it shares with this process and nobody else; the SDK configuration there names a
command that reads a file kept fresh here (AWS SDK reference, "Process credential provider").
"""

import json
import os
import shlex
import signal
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import boto3
from botocore.exceptions import BotoCoreError, ClientError

from coreo_embedded.deploy import Deployment, Service, deploy
from coreo_embedded.estate import Estate, seed
from coreo_embedded.proxy import Listen
from coreo_embedded.simulator import REGION, Simulator

if TYPE_CHECKING:
    from mypy_boto3_sts import STSClient

# The SDK reads the file again 15 minutes before what it read expires, so every five minutes: should the simulated AWS
# be started anew, with its accounts empty, the services have credentials of the new one by then.
SESSION_SECONDS = 1200
REFRESH_SECONDS = 120
# Results has no role here: its root key is a file, and it asks nothing of AWS.
SERVICES: tuple[Service, ...] = tuple(service for service in get_args(Service) if service != "results")
_CONFIG = "config"
_CREDENTIALS = "credentials.json"
_ROOT = "root.json"


class PlatformError(RuntimeError):
    """The platform cannot go on; the message says what to do."""


@dataclass(frozen=True)
class Places:
    """Folders. `private` is this process's own; `credentials` has one per service, which that one sees as `mount`."""

    private: Path
    credentials: Path
    mount: str


def run_platform(places: Places, listen: Listen, stopping: threading.Event | None = None) -> None:
    """Serves until SIGTERM, SIGINT or `stopping`. Raises PlatformError, and what Simulator.start and deploy raise."""
    ending = stopping or _on_signals()
    for service in SERVICES:  # credentials of a simulated AWS that is gone would pass for good ones
        (_folder(places, service) / _CREDENTIALS).unlink(missing_ok=True)
    simulator = Simulator.start(places.private, listen=listen)
    try:
        deployment = deploy(simulator)
        _write(places.private / _ROOT, {"url": simulator.endpoint_url, **asdict(simulator.root_credentials(""))})
        sts: STSClient = simulator.client("sts", deployment.launcher)
        for service in SERVICES:
            _write_config(places, service)
        print(f"The simulated AWS listens on {listen.host}:{simulator.proxy.port}.", flush=True)  # noqa: T201
        while True:
            for service in SERVICES:
                _refresh(places, service, deployment, sts)
            if ending.wait(REFRESH_SECONDS):
                return
    finally:
        simulator.stop()
        (places.private / _ROOT).unlink(missing_ok=True)


def find_problem(credentials: Path, *, now: datetime) -> str | None:
    """What speaks against the platform's being well: a service without credentials that are good for a while."""
    for service in SERVICES:
        try:
            expires = datetime.fromisoformat(
                json.loads((credentials / service / _CREDENTIALS).read_text())["Expiration"]
            )
        except (OSError, ValueError, KeyError) as error:
            return f"{service} has no credentials yet ({type(error).__name__})"
        if expires - now < timedelta(seconds=SESSION_SECONDS - 3 * REFRESH_SECONDS):
            return f"the credentials of {service} were not refreshed: they expire at {expires.isoformat()}"
    return None


def plant(private: Path, account_id: str, trust_policy: dict[str, Any], role_name: str) -> Estate:
    """A customer's account with good and bad resources, made in the platform that runs over the folder `private`.

    Raises PlatformError.
    """
    try:
        root = json.loads((private / _ROOT).read_text())
    except OSError as error:
        raise PlatformError(f"The platform does not run over {private} ({error.strerror}); start it first") from None
    try:
        return seed(_Roots(root), account_id, trust_policy, role_name)
    except (ClientError, BotoCoreError) as error:
        raise PlatformError(f"The account was not made: {error}. Give the id of one with nothing in it") from error


class _Roots:
    """Clients of accounts' root users in a simulated AWS that another process runs."""

    def __init__(self, root: Mapping[str, str]) -> None:
        self._root = root
        self._session = boto3.session.Session()

    def root_client(self, service: str, account_id: str, region: str = REGION) -> Any:
        """As RootClients says."""
        return self._session.client(
            service,  # type: ignore[call-overload]  # the name comes from the caller
            endpoint_url=self._root["url"],
            region_name=region,
            aws_access_key_id=account_id,
            aws_secret_access_key=self._root["secret_access_key"],
            aws_session_token=self._root["session_token"],
        )


def _on_signals() -> threading.Event:
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    return stopping


def _write_config(places: Places, service: Service) -> None:
    command = shlex.join(["/bin/cat", f"{places.mount}/{_CREDENTIALS}"])
    _replace(_folder(places, service) / _CONFIG, f"[default]\ncredential_process = {command}\n")


def _refresh(places: Places, service: Service, deployment: Deployment, sts: "STSClient") -> None:
    """A new session of the service's role, in the form that `credential_process` gives."""
    role = deployment.role_arns[service]
    try:
        keys = sts.assume_role(RoleArn=role, RoleSessionName=service, DurationSeconds=SESSION_SECONDS)["Credentials"]
    except (ClientError, BotoCoreError) as error:
        raise PlatformError(f"The simulated AWS no longer gives {role}: {error}. Start the platform anew.") from error
    session = {
        "Version": 1,
        "AccessKeyId": keys["AccessKeyId"],
        "SecretAccessKey": keys["SecretAccessKey"],
        "SessionToken": keys["SessionToken"],
        "Expiration": keys["Expiration"].astimezone(UTC).isoformat(),
    }
    _write(_folder(places, service) / _CREDENTIALS, session)


def _folder(places: Places, service: Service) -> Path:
    folder = places.credentials / service
    if not folder.is_dir():
        raise PlatformError(f"No folder {folder}: mount the volume of {service} there, or make it")
    return folder


def _write(path: Path, content: object) -> None:
    _replace(path, json.dumps(content))


def _replace(path: Path, text: str) -> None:
    """Whoever reads sees the old file or the new one; nobody but the owner can."""
    unfinished = path.with_name(f"{path.name}.new")
    try:
        with open(unfinished, "w", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.write(text)
        unfinished.replace(path)
    except OSError as error:
        raise PlatformError(
            f"{path} cannot be written ({error.strerror}); let this user write in its folder"
        ) from error
