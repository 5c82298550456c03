"""Base of the services' settings: one small frozen class each, read from `COREO_…` variables, built in main()."""

import sys
from typing import TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

S = TypeVar("S", bound="ServiceSettings")


class ServiceSettings(BaseSettings):
    """What every service has."""

    model_config = SettingsConfigDict(env_prefix="COREO_", frozen=True, extra="ignore", hide_input_in_errors=True)

    log_level: str = "INFO"


def load_settings(kind: type[S]) -> S:
    """The settings, or exit status 2 with one line per variable that is missing or wrong; values are not shown."""
    try:
        return kind()
    except ValidationError as error:
        for problem in error.errors(include_input=False, include_url=False):
            name = "COREO_" + "_".join(str(part) for part in problem["loc"]).upper()
            print(f"{name}: {problem['msg']}", file=sys.stderr)  # noqa: T201  logging is not set up yet
        raise SystemExit(2) from None
