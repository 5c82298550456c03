"""Settings of the api, from the environment. Secrets are in types that do not print."""

import json
from typing import Annotated, Literal

from joserfc.errors import JoseError
from pydantic import AfterValidator, Field, SecretStr, StringConstraints

from coreo_shared.crypto.jose import Signer
from coreo_shared.settings import ServiceSettings


def _signing_key(value: SecretStr) -> SecretStr:
    try:
        Signer(json.loads(value.get_secret_value())).sign({}, typ="check")  # a public key fails only here
    except (ValueError, KeyError, TypeError, AttributeError, JoseError):
        raise ValueError(
            'expected a private Ed25519 JWK: {"kty": "OKP", "crv": "Ed25519", "kid": ..., "x": ..., "d": ...}'
        ) from None
    return value


def _database_url(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith("postgresql+asyncpg://"):
        raise ValueError("expected postgresql+asyncpg://role:password@host:port/database")
    return value


def _without_slash(value: str) -> str:
    return value.rstrip("/")


DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[!-~]+$"), AfterValidator(_without_slash)]
AccountId = Annotated[str, StringConstraints(pattern=r"^[0-9]{12}$")]


class MigrationSettings(ServiceSettings):
    """For `coreo-api migrate`."""

    migration_database_url: DatabaseUrl  # of the role that owns the tables


class DatabaseSettings(ServiceSettings):
    """For `coreo-api create-team`."""

    database_url: DatabaseUrl  # postgresql+asyncpg://coreo_api:password@host:port/coreo_api


class ApiSettings(DatabaseSettings):
    """For `coreo-api serve`."""

    system_database_url: DatabaseUrl  # the same database as the role coreo_api_system, for background tasks
    results_url: Url
    signing_jwk: Annotated[SecretStr, AfterValidator(_signing_key)]  # signs jobs, run capabilities, service tokens
    queue_url_audit: Url
    aws_account_id: AccountId  # Coreo's own: customers trust it, and it is never a target
    partition: Literal["aws", "aws-us-gov", "aws-cn"] = "aws"
    audit_worker_role_arn: str | None = None  # named in trust policies in place of the whole of our account
    aws_region: Annotated[str | None, Field(validation_alias="AWS_REGION")] = None
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=1, le=65535)] = 8080
    job_ttl_seconds: Annotated[int, Field(ge=60)] = 6 * 3600  # a run that no worker has taken by then is expired
    team_max_active_runs: Annotated[int, Field(ge=1)] = 50  # handed to workers and not ended; others wait their turn

    def signer(self) -> Signer:
        """Signs with the api's key."""
        return Signer(json.loads(self.signing_jwk.get_secret_value()))
