"""`coreo token …`."""

from typing import Annotated

import typer

from coreo_cli.errors import UsageMistakeError
from coreo_cli.layout import Column
from coreo_cli.options import YesOption, confirm, examples
from coreo_cli.output import Output, OutputOption, note, show_listing, write_json, write_line
from coreo_cli.resolve import TOKEN, resolve
from coreo_cli.session import connect
from coreo_cli.text import Json
from coreo_cli.words import expiry, local

app = typer.Typer(no_args_is_help=True, help="Make, list and revoke the team's tokens.")


@app.command(
    epilog=examples(
        "coreo token create --name ci --expires 90d > token.txt",
        "coreo token create --name pipeline --scope read --scope plan > token.txt",
    )
)
def create(
    name: Annotated[str, typer.Option(help="What the token is for.", metavar="NAME")],
    expires: Annotated[
        str | None,
        typer.Option(
            help="A span from now (90d) or a time (2027-01-31T12:00:00Z); never when left out.", metavar="WHEN"
        ),
    ] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            "--scope", metavar="SCOPE", help="What it may do: read, plan, approve; all when left out. May be repeated."
        ),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Make a token and write it, alone, to standard output. It is shown this once."""
    body: Json = {"name": name} | ({"scopes": scope} if scope else {})
    if expires is not None:
        try:
            body["expires_at"] = expiry(expires)
        except ValueError as error:
            raise UsageMistakeError(f"--expires: {error}.") from None
    with connect() as client:
        made = client.post("/v1/tokens", body)
    if output is Output.JSON:
        write_json(made)
    else:
        write_line(made["token"])
    until = f"It expires {local(made['expires_at'])}" if made["expires_at"] else "It does not expire"
    note(f"This is the token {made['name']!r}, shown this once: keep it now. {until}.")
    note(f"Revoke it with: coreo token revoke {made['id']}")


@app.command("list")
def list_tokens(output: OutputOption = Output.TABLE) -> None:
    """List the tokens that are valid. The tokens themselves cannot be shown again."""
    with connect() as client:
        tokens = list(client.items("/v1/tokens"))
    if output is Output.JSON:
        write_json(tokens)
        return
    show_listing(
        [Column("ID"), Column("NAME", flexible=True), Column("SCOPES"), Column("MADE"), Column("EXPIRES")],
        [
            [
                each["id"],
                each["name"],
                ", ".join(each["scopes"]),
                local(each["created_at"]),
                local(each["expires_at"]) if each["expires_at"] else "never",
            ]
            for each in tokens
        ],
        empty="There are no tokens.",
    )


@app.command()
def revoke(
    token: Annotated[
        str,
        typer.Argument(metavar="TOKEN", help="A token's id, the beginning of one, or its name. Not the token itself."),
    ],
    yes: YesOption = False,
) -> None:
    """Revoke a token: nobody gets in with it any more."""
    with connect() as client:
        found = resolve(client, TOKEN, token)
        confirm(f"Revoke the token {found['name']!r}?", yes=yes)
        client.delete(f"/v1/tokens/{found['id']}")
    write_line(f"Revoked the token {found['name']!r} ({found['id']}).")
