"""`coreo-embedded compose-init`: keys and passwords for docker-compose.yml, one file of settings per container.

Each file holds what its service may know and nothing else; all are the caller's alone (0600). Compose reads them, not
the containers. The simulated AWS's credentials are not among them: they live minutes (see platform_service).
"""

import json
import secrets
import shutil
from pathlib import Path
from typing import Any

from coreo_embedded.postgres import ROLES
from coreo_shared.crypto.jose import generate_key, public_jwk

POOLS = ("audit", "deploy", "onboard")
_DATABASE_HOST = "postgres:5432"


def compose_init(directory: Path) -> bool:
    """Writes the files into `directory`, whole or not at all. False, and nothing is changed, when they are there.

    Old keys stay: databases are locked with these passwords, and tokens on their way are signed with these keys.
    """
    if directory.exists():
        return False
    unfinished = directory.with_name(f"{directory.name}.{secrets.token_hex(4)}")
    unfinished.mkdir(mode=0o700, parents=True)
    try:
        for service, values in _settings().items():
            path = unfinished / f"{service}.env"
            path.touch(mode=0o600)
            path.write_text("".join(f"{name}='{_quotable(value)}'\n" for name, value in values.items()))
        unfinished.rename(directory)
    except BaseException:
        shutil.rmtree(unfinished)
        raise
    return True


def _settings() -> dict[str, dict[str, str]]:
    passwords = {role: secrets.token_urlsafe(24) for role in ROLES}
    signing_key = generate_key("api-1")
    fleet_keys = {pool: generate_key(f"fleet-{pool}-1") for pool in POOLS}
    api_jwks = _key_set(signing_key)

    def url(service: str, suffix: str = "") -> str:
        role = f"coreo_{service}{suffix}"
        return f"postgresql+asyncpg://{role}:{passwords[role]}@{_DATABASE_HOST}/coreo_{service}"

    def databases(service: str) -> dict[str, str]:
        return {"COREO_DATABASE_URL": url(service), "COREO_SYSTEM_DATABASE_URL": url(service, "_system")}

    fleet_jwks = {pool: _key_set(key) for pool, key in fleet_keys.items()}
    settings = {
        "postgres": {"POSTGRES_PASSWORD": secrets.token_urlsafe(24)}
        | {f"{role.upper()}_PASSWORD": password for role, password in passwords.items()},
        "api-migrate": {"COREO_MIGRATION_DATABASE_URL": url("api", "_owner")},
        "results-migrate": {"COREO_MIGRATION_DATABASE_URL": url("results", "_owner")},
        "api": databases("api")
        | {"COREO_SIGNING_JWK": json.dumps(signing_key), "COREO_ONBOARD_FLEET_JWKS": json.dumps(fleet_jwks["onboard"])},
        "results": databases("results")
        | {"COREO_API_JWKS": json.dumps(api_jwks), "COREO_FLEET_JWKS": json.dumps(fleet_jwks)}
        | {"COREO_CUSTODY_KEY": json.dumps(generate_key("custody-1"))},
    }
    for pool, key in fleet_keys.items():
        settings[f"worker-{pool}"] = {"COREO_API_JWKS": json.dumps(api_jwks), "COREO_FLEET_JWK": json.dumps(key)}
    return settings


def _key_set(private: dict[str, Any]) -> dict[str, Any]:
    return {"keys": [public_jwk(private)]}


def _quotable(value: str) -> str:
    """A value between single quotes is taken literally; what would end it must not be in it."""
    if "'" in value or "\n" in value:
        raise ValueError("a generated setting has a quote or a line's end in it")
    return value
