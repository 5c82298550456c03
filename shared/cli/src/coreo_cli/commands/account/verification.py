"""`coreo account set-role`, `verify`, `history`: a role, and the proof that it is safe."""

from typing import TYPE_CHECKING, Annotated

import typer

from coreo_cli.account_words import exit_code, show_verdict, word
from coreo_cli.commands.account.options import AlwaysWatchOption
from coreo_cli.errors import CliError
from coreo_cli.history_words import show_history
from coreo_cli.options import AccountArgument
from coreo_cli.output import Output, OutputOption, next_steps, note, write_json, write_line
from coreo_cli.resolve import ACCOUNT, resolve
from coreo_cli.session import connect
from coreo_cli.text import Json, plain

if TYPE_CHECKING:
    from coreo_cli.client import Client


def set_role(
    account: AccountArgument,
    role_arn: Annotated[str, typer.Option("--role-arn", metavar="ARN", help="The role that Coreo shall assume.")],
    watch: AlwaysWatchOption = True,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say which role Coreo shall assume in the account, and see it proven safe."""
    with connect() as client:
        found = resolve(client, ACCOUNT, account)
        changed = client.put(f"/v1/cloud-accounts/{found['id']}/role", {"role_arn": role_arn})
        conclude_role(client, changed, watch=watch, output=output)


def verify(
    account: AccountArgument,
    watch: AlwaysWatchOption = True,
    output: OutputOption = Output.TABLE,
) -> None:
    """Prove again that the role is safe: it lets Coreo in, and others not through Coreo."""
    with connect() as client:
        found = resolve(client, ACCOUNT, account)
        entry = client.post(f"/v1/cloud-accounts/{found['id']}/verify")
        if watch:
            conclude(client, found, entry, output)
    if output is Output.JSON:
        write_json(entry)
        return
    write_line(f"Coreo verifies {found['name']!r}.")
    next_steps([f"coreo account show {word(found)}"])


def history(
    account: AccountArgument,
    limit: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="So many at most.")] = 20,
    everything: Annotated[bool, typer.Option("--all", help="As many as there are.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """List what was done to a cloud account, by whom, and how it ended; newest first."""
    with connect() as client:
        found = resolve(client, ACCOUNT, account)
        path = f"/v1/cloud-accounts/{found['id']}/history"
        entries = list(client.items(path, limit=None if everything else limit))
    if output is Output.JSON:
        write_json(entries)
    else:
        show_history(entries)
    if not everything and len(entries) == limit:
        note(f"The newest {limit}. More: --limit NUMBER or --all")


def conclude_role(client: "Client", account: Json, *, watch: bool, output: Output) -> None:
    """After a role was set: the verdict on it, or how to see it. Raises typer.Exit after a verdict."""
    if watch:
        from coreo_cli.tasks import newest_verification  # noqa: PLC0415  loads httpx and rich

        entry = newest_verification(client, account)
        if entry is None:
            raise CliError(
                "The api has not begun a verification.", next_step=f"Begin one: coreo account verify {word(account)}"
            )
        note(f"Coreo tries {plain(account['role_arn'])}.")
        conclude(client, account, entry, output, whole=True)
    if output is Output.JSON:
        write_json(account)
        return
    write_line(f"Coreo tries {plain(account['role_arn'])} in {account['name']!r}.")
    next_steps([f"coreo account verify {word(account)}   (stays until the verdict)"])


def conclude(client: "Client", account: Json, entry: Json, output: Output, *, whole: bool = False) -> None:
    """Follows a verification to its end and shows it, as JSON its entry, or the `whole` account. Raises typer.Exit."""
    from coreo_cli.tasks import follow  # noqa: PLC0415  loads httpx and rich

    ended = follow(client, account, entry)
    after = client.get(f"/v1/cloud-accounts/{account['id']}")
    if output is Output.JSON:
        write_json(after if whole else ended)
    else:
        show_verdict(after, ended)
    raise typer.Exit(exit_code(ended))
