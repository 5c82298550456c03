"""Base of the services' settings: one small frozen class each, read from `COREO_…` variables, built in main()."""

import json
import sys
from typing import Annotated, Literal, TypeVar

from joserfc.errors import JoseError
from pydantic import AfterValidator, BeforeValidator, SecretStr, StringConstraints, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from coreo_shared.crypto.jose import Signer, load_jwks


def _database_url(value: SecretStr) -> SecretStr:
    if not value.get_secret_value().startswith("postgresql+asyncpg://"):
        raise ValueError("expected postgresql+asyncpg://role:password@host:port/database")
    return value


def _signing_key(value: SecretStr) -> SecretStr:
    try:
        signer_of(value).sign({}, typ="check")  # a public key fails only here
    except (ValueError, KeyError, TypeError, AttributeError, JoseError):
        raise ValueError(
            'expected a private Ed25519 JWK: {"kty": "OKP", "crv": "Ed25519", "kid": ..., "x": ..., "d": ...}'
        ) from None
    return value


def _key_set(value: str) -> str:
    load_jwks(value)
    return value


def _without_slash(value: str) -> str:
    return value.rstrip("/")


def _in_capitals(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


DatabaseUrl = Annotated[SecretStr, AfterValidator(_database_url)]
Url = Annotated[str, StringConstraints(pattern=r"^https?://[!-~]+$"), AfterValidator(_without_slash)]
SigningKey = Annotated[SecretStr, AfterValidator(_signing_key)]  # a private Ed25519 JWK
KeySet = Annotated[str, AfterValidator(_key_set)]  # a JWK set of public keys
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(_in_capitals)]
S = TypeVar("S", bound="ServiceSettings")


class ServiceSettings(BaseSettings):
    """What every service has."""

    model_config = SettingsConfigDict(env_prefix="COREO_", frozen=True, extra="ignore", hide_input_in_errors=True)

    log_level: LogLevel = "INFO"


def signer_of(key: SecretStr) -> Signer:
    """Signs with the private JWK of a setting."""
    return Signer(json.loads(key.get_secret_value()))


def load_settings(kind: type[S]) -> S:
    """The settings, or exit status 2 with one line per variable that is missing or wrong; values are not shown."""
    try:
        return kind()
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            name = "COREO_" + "_".join(str(part) for part in problem["loc"]).upper()
            message = f"{name}: {problem['msg']}" if problem["loc"] else problem["msg"].removeprefix("Value error, ")
            print(message, file=sys.stderr)  # noqa: T201  logging is not set up yet
        raise SystemExit(2) from None
