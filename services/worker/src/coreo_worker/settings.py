"""Settings of a worker, from the environment. The private key is in a type that does not print."""

import os
import secrets
import socket
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from coreo_shared.contracts.terms import Pool
from coreo_shared.crypto.jose import Signer, load_jwks
from coreo_shared.settings import KeySet, ServiceSettings, SigningKey, Url, signer_of

_LONGEST_VISIBILITY = 12 * 3600  # SQS API reference, ChangeMessageVisibility


def _own_name() -> str:
    return f"{socket.gethostname()[:200]}-{os.getpid()}-{secrets.token_hex(3)}"


class HealthSettings(ServiceSettings):
    """For `coreo-worker health`."""

    heartbeat_file: Path  # touched while the worker lives; made if it is not there
    heartbeat_max_age_seconds: Annotated[float, Field(gt=0)] = 60


class WorkerSettings(ServiceSettings):
    """For `coreo-worker serve`."""

    pool: Pool
    queue_url: Url  # the pool's own queue
    results_url: Url
    api_jwks: KeySet  # JWK set of the api's public signing keys
    fleet_jwk: SigningKey  # the pool's private key: register, heartbeat
    aws_region: Annotated[str | None, Field(validation_alias="AWS_REGION")] = None  # of the queue and of STS
    worker_id: Annotated[str, Field(default_factory=_own_name, pattern=r"^[!-~]{1,256}$")]
    max_runs: Annotated[int, Field(ge=1, le=100)] = 2  # at the same time, each in a process of its own
    max_receives: Annotated[int, Field(ge=1)] = 5  # as the queue's redrive policy has it; then a job is a dead letter
    visibility_seconds: Annotated[int, Field(ge=1, le=_LONGEST_VISIBILITY)] = 60  # a message is hidden, then renewed
    patience_seconds: Annotated[float, Field(gt=0)] = 900  # how long a run waits for a results service that is down
    grace_seconds: Annotated[float, Field(ge=0)] = (
        100  # how long runs may go on after SIGTERM; then they are given back
    )
    hold_seconds: Annotated[float, Field(ge=0, le=3600)] = (
        20  # of the deploy pool: how long a run waits for CloudFormation here; then it gives its place to others
    )
    park_seconds: Annotated[float, Field(gt=0, le=120)] = (
        10  # of the deploy pool: until another job looks what CloudFormation has done, at first; later less often
    )
    run_memory_mb: Annotated[int, Field(ge=128)] = 768  # of one run's process
    trust_settle_seconds: Annotated[float, Field(ge=0, le=120)] = (
        20  # of the onboard pool: a role that refuses Coreo may be so new that AWS does not know it everywhere yet
    )
    heartbeat_file: Path | None = None
    heartbeat_file_seconds: Annotated[float, Field(gt=0)] = 10  # between two touches

    def api_keys(self) -> list[dict[str, Any]]:
        """The api's public keys."""
        return load_jwks(self.api_jwks)

    def fleet_signer(self) -> Signer:
        """Signs with the pool's key."""
        return signer_of(self.fleet_jwk)
