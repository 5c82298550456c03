"""Starts plans, once however often the request has to be sent."""

import shlex
from typing import TYPE_CHECKING

from coreo_cli.errors import UnreachableError
from coreo_cli.text import Json

if TYPE_CHECKING:
    from coreo_cli.client import Client


def start_plan(client: "Client", plan: Json, body: Json | None, key: str | None) -> Json:
    """The group of runs that was started. Raises CliError, which says how to send the same again."""
    from coreo_cli.client import new_idempotency_key  # noqa: PLC0415  loads httpx

    key = key or new_idempotency_key()
    try:
        return client.post(f"/v1/plans/{plan['id']}/runs", body, idempotency_key=key)
    except UnreachableError as error:
        if error.sent:
            error.lines = ("It is not known whether the plan was started.",)
            error.next_step = f"The same again starts it once at most: --idempotency-key {shlex.quote(key)}"
        raise
