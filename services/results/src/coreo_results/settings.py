"""Settings of the results service, all from COREO_… variables."""

import itertools
import json
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, field_validator, model_validator
from pydantic_settings import NoDecode

from coreo_results.keys.root import check_root_location
from coreo_results.stores import Location
from coreo_shared.contracts.terms import Pool
from coreo_shared.crypto.jose import load_jwks, public_jwk
from coreo_shared.settings import DatabaseUrl, KeySet, ServiceSettings, SigningKey


def _listed(value: object) -> object:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _store(value: str) -> str:
    return str(Location.parse(value))


RootLocation = Annotated[str, AfterValidator(check_root_location)]
StoreLocation = Annotated[str, AfterValidator(_store)]


class StoreSettings(ServiceSettings):
    """Where keys and backups are: enough to read backups when everything else is lost."""

    root_key: RootLocation  # "file:PATH" or "kms:KEY_ARN"; there is no default and no other is ever tried
    # More of the same, with commas between: they open what they wrapped, while one root key takes over from another.
    other_root_keys: Annotated[tuple[RootLocation, ...], NoDecode, BeforeValidator(_listed)] = ()
    vault: StoreLocation  # "dir:PATH" or "s3://BUCKET/PREFIX": the team keys, and nothing else
    backup_store: StoreLocation | Literal["none"]  # as the vault; "none" only where results may be lost for good
    ledger_store: StoreLocation | None = None  # snapshots of the key ledger; needed unless there are no backups
    custody_key: SigningKey | None = None  # private Ed25519 JWK that signs log and snapshots; likewise
    custody_jwks: KeySet | None = None  # public keys of earlier custody keys, whose signatures are still believed

    @model_validator(mode="after")
    def _check_stores(self) -> Self:
        if self.backup_store == "none":
            return self
        for name in ("ledger_store", "custody_key"):
            if getattr(self, name) is None:
                raise ValueError(f"COREO_{name.upper()} is needed unless COREO_BACKUP_STORE is none")
        places = {"COREO_VAULT": self.vault, "COREO_BACKUP_STORE": self.backup_store}
        places["COREO_LEDGER_STORE"] = str(self.ledger_store)
        for (one, here), (other, there) in itertools.combinations(places.items(), 2):
            if Location.parse(here).overlaps(Location.parse(there)):
                raise ValueError(f"{one} and {other} are the same place, or one is inside the other: keep them apart")
        return self

    def custody_keys(self) -> list[dict[str, Any]]:
        """Public keys whose signatures on logs, snapshots and receipts are believed, the present one first."""
        own = [] if self.custody_key is None else [public_jwk(json.loads(self.custody_key.get_secret_value()))]
        others = [] if self.custody_jwks is None else load_jwks(self.custody_jwks)
        return own + [jwk for jwk in others if jwk["kid"] not in {key["kid"] for key in own}]


class KeySettings(StoreSettings):
    """What it takes to reach stored results: the database, and the keys to what is in it."""

    database_url: DatabaseUrl  # postgresql+asyncpg://…, role coreo_results
    system_database_url: DatabaseUrl  # the same database, role coreo_results_system


class ResultsSettings(KeySettings):
    """What `coreo-results serve` needs."""

    api_jwks: KeySet  # JWK set of the api's public signing keys
    fleet_jwks: str  # JSON object: pool -> JWK set of its workers' public keys
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = 8081
    lease_seconds: Annotated[float, Field(gt=0)] = 60  # a claim without a heartbeat lasts so long
    max_attempts: Annotated[int, Field(ge=1)] = 5  # claims of one run
    abandon_after_seconds: Annotated[float, Field(ge=0)] = 900  # after its lease ran out, a run is lost
    sweep_seconds: Annotated[float, Field(gt=0)] = 5  # between two looks for such runs
    retention_seconds: Annotated[float, Field(gt=0)] = 60  # between two looks for results whose time is over
    backup_seconds: Annotated[float, Field(gt=0)] = 300  # between two looks for runs to back up

    @field_validator("fleet_jwks")
    @classmethod
    def _check_fleet_jwks(cls, value: str) -> str:
        _fleet_keys(value)
        return value

    def api_keys(self) -> list[dict[str, Any]]:
        """The api's public keys."""
        return load_jwks(self.api_jwks)

    def fleet_keys(self) -> dict[Pool, list[dict[str, Any]]]:
        """Each pool's public keys."""
        return _fleet_keys(self.fleet_jwks)


class MigrationSettings(ServiceSettings):
    """What `coreo-results migrate` needs."""

    migration_database_url: DatabaseUrl  # role coreo_results_owner


class DrillSettings(KeySettings, MigrationSettings):
    """What `coreo-results backups drill` needs: it makes the scratch database's tables itself."""


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
