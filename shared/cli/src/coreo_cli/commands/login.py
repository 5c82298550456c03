"""`coreo login`, `coreo logout`, `coreo team`."""

import os
import sys
from typing import Annotated

import typer

from coreo_cli import config
from coreo_cli.config import Connection
from coreo_cli.errors import ApiError, CliError, UsageMistakeError
from coreo_cli.output import Output, OutputOption, next_steps, note, show_details, write_json, write_line
from coreo_cli.session import connect
from coreo_cli.words import local


def login(
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="The api's address; the present one when left out.", show_default=False),
    ] = None,
    token_stdin: Annotated[
        bool, typer.Option("--token-stdin", help="Read the token from standard input instead of asking for it.")
    ] = False,
) -> None:
    """Store the api's address and your team's token, after trying them.

    The token is never an argument, where other users and the shell's history would see it.
    """
    address = config.check_url(_known_url() if url is None else url, "--url" if url else config.URL_VARIABLE)
    connection = Connection(address, _read_token(from_stdin=token_stdin))
    try:
        with connect(connection) as client:
            team = client.get("/v1/team")
    except ApiError as error:
        if error.status != 401:
            raise
        raise CliError(
            f"{address} does not know this token; nothing was stored.",
            next_step="Copy the whole token, or have a teammate make one: `coreo token create --name NAME`.",
            request_id=error.request_id,
        ) from None
    path = config.store(connection)
    write_line(f"Logged in to {address} as team {team['name']!r}.")
    note(f"Address and token are in {path}, which only you can read.")
    for variable in (config.URL_VARIABLE, config.TOKEN_VARIABLE):
        if os.environ.get(variable):
            note(f"Mind that {variable} is set, and comes before what is stored.")
    next_steps(["coreo account add NAME --account-id DIGITS"])


def logout() -> None:
    """Delete the stored address and token. The token stays valid: `coreo token revoke` ends one."""
    write_line("Logged out." if config.forget() else "You were not logged in.")


def team(output: OutputOption = Output.TABLE) -> None:
    """Show the team that the token belongs to, and which api that is."""
    with connect() as client:
        found = client.get("/v1/team")
    if output is Output.JSON:
        write_json(found)
    else:
        show_details(found["name"], [("id", found["id"]), ("made", local(found["created_at"])), ("api", client.url)])


def _known_url() -> str:
    stored = None if os.environ.get(config.URL_VARIABLE) else config.read_stored()
    known = os.environ.get(config.URL_VARIABLE) or (stored.url if stored else None)
    if known is None:
        raise UsageMistakeError(
            "--url is missing.", next_step="coreo login --url https://coreo.example.com --token-stdin"
        )
    return known


def _read_token(*, from_stdin: bool) -> str:
    if from_stdin:
        return config.check_token(sys.stdin.read(4096), "Standard input")
    if not sys.stdin.isatty():
        raise UsageMistakeError(
            "There is no terminal to ask for the token on.",
            next_step="Send it to standard input: `coreo login --url URL --token-stdin < FILE`.",
        )
    return config.check_token(typer.prompt("Token (it is not shown)", hide_input=True), "What you typed")
