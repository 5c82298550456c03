"""Settings of the results service, all from COREO_… variables."""

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from coreo_shared.contracts.terms import Pool
from coreo_shared.crypto.jose import load_jwks
from coreo_shared.settings import DatabaseUrl, KeySet, ServiceSettings


class ResultsSettings(ServiceSettings):
    """What `coreo-results serve` needs."""

    database_url: DatabaseUrl  # postgresql+asyncpg://…, role coreo_results
    system_database_url: DatabaseUrl  # the same database, role coreo_results_system
    api_jwks: KeySet  # JWK set of the api's public signing keys
    fleet_jwks: str  # JSON object: pool -> JWK set of its workers' public keys
    root_key: str  # "file:PATH" or "kms:KEY_ARN"; there is no default and no other is ever tried
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8081
    lease_seconds: Annotated[float, Field(gt=0)] = 60  # a claim without a heartbeat lasts so long
    max_attempts: Annotated[int, Field(ge=1)] = 5  # claims of one run
    abandon_after_seconds: Annotated[float, Field(ge=0)] = 900  # after its lease ran out, a run is lost
    sweep_seconds: Annotated[float, Field(gt=0)] = 5  # between two looks for such runs
    retention_seconds: Annotated[float, Field(gt=0)] = 60  # between two looks for results whose time is over

    @field_validator("fleet_jwks")
    @classmethod
    def _check_fleet_jwks(cls, value: str) -> str:
        _fleet_keys(value)
        return value

    @field_validator("root_key")
    @classmethod
    def _check_root_key(cls, value: str) -> str:
        kind, _, rest = value.partition(":")
        if kind == "file" and Path(rest).is_absolute():
            return value
        if kind == "kms" and rest.startswith("arn:"):
            return value
        raise ValueError("expected file:/ABSOLUTE/PATH (see coreo-results create-root-key) or kms:KEY_ARN")

    def api_keys(self) -> list[dict[str, Any]]:
        """The api's public keys."""
        return load_jwks(self.api_jwks)

    def fleet_keys(self) -> dict[Pool, list[dict[str, Any]]]:
        """Each pool's public keys."""
        return _fleet_keys(self.fleet_jwks)


class MigrationSettings(ServiceSettings):
    """What `coreo-results migrate` needs."""

    migration_database_url: DatabaseUrl  # role coreo_results_owner


def _fleet_keys(value: str) -> dict[Pool, list[dict[str, Any]]]:
    try:
        pools = json.loads(value)
        keys = {Pool(pool): load_jwks(json.dumps(jwks)) for pool, jwks in pools.items()}
    except (ValueError, AttributeError):
        raise ValueError('expected {"audit": {"keys": [...]}, ...}: each pool\'s JWK set') from None
    kids = [key["kid"] for pool_keys in keys.values() for key in pool_keys]
    if len(kids) != len(set(kids)):
        raise ValueError("no kid may stand twice: the key that verifies a token decides its pool")
    return keys
