"""`coreo account rotate-external-id` and `confirm-external-id`."""

from typing import Annotated

import typer

from coreo_cli.account_words import trust_steps, word
from coreo_cli.commands.account.options import AlwaysWatchOption
from coreo_cli.commands.account.verification import conclude
from coreo_cli.options import AccountArgument
from coreo_cli.output import Output, OutputOption, next_steps, show_details, write_json, write_line
from coreo_cli.resolve import ACCOUNT, resolve
from coreo_cli.session import connect


def rotate(
    account: AccountArgument,
    cancel: Annotated[
        bool, typer.Option("--cancel", help="Forget the next external id; the present one stays.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Give a cloud account a next external id. Both are good until it is confirmed."""
    with connect() as client:
        found = resolve(client, ACCOUNT, account)
        path = f"/v1/cloud-accounts/{found['id']}"
        if cancel:
            client.delete(f"{path}/external-id/next")
            after = client.get(path)
        else:
            after = client.post(f"{path}/external-id/rotate")
    if output is Output.JSON:
        write_json(after)
    elif cancel:
        write_line(f"{found['name']!r} keeps its external id; the next one is forgotten.")
        next_steps(
            ["give the role its trust policy for that one id again:", *(f"  {each}" for each in trust_steps(after))]
        )
    else:
        show_details(
            after["name"],
            [("present external id", after["external_id"]), ("next external id", after["next_external_id"])],
        )
        next_steps(
            [
                "let the role accept both, then confirm the next one:",
                *(f"  {each}" for each in trust_steps(after)),
                f"  coreo account confirm-external-id {word(after)}",
            ]
        )


def confirm(
    account: AccountArgument,
    watch: AlwaysWatchOption = True,
    output: OutputOption = Output.TABLE,
) -> None:
    """Prove that the role accepts the next external id.

    If it does, that becomes the external id, and the present one is retired for good.
    """
    with connect() as client:
        found = resolve(client, ACCOUNT, account)
        entry = client.post(f"/v1/cloud-accounts/{found['id']}/external-id/confirm")
        if watch:
            conclude(client, found, entry, output)
    if output is Output.JSON:
        write_json(entry)
        return
    write_line(f"Coreo tries the next external id of {found['name']!r}.")
    next_steps([f"coreo account show {word(found)}"])
