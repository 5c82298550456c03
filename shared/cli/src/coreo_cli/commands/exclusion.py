"""`coreo custody exclude`, `exclusions`, `receipt`, `keys` and `verify`: out of the backups, with proof."""

from typing import TYPE_CHECKING, Annotated

import typer

from coreo_cli.errors import EXIT_INTERRUPTED, CliError, UsageMistakeError
from coreo_cli.layout import Column
from coreo_cli.options import YesOption, confirm_for_good, examples
from coreo_cli.output import Output, OutputOption, next_steps, note, show_details, show_listing, write_json, write_line
from coreo_cli.resolve import ACCOUNT, PLAN, RUN, is_id, resolve
from coreo_cli.session import connect
from coreo_cli.text import Json
from coreo_cli.words import local, plural

if TYPE_CHECKING:
    from coreo_cli.client import Client

_DONE = "DONE"
_EVERY_SECONDS = 2.0
_STEPS = {
    "intent": "what was asked is in the log of the backups",
    "tombstone": "so is each run, by name",
    "display": "readable copies under new keys, or deleted",
    "backups": "backup keys and objects deleted",
    "new_key": "a new key for the team",
    "old_keys": "the old key destroyed",
    "receipt": "receipt signed",
}
ExclusionArgument = Annotated[str, typer.Argument(metavar="EXCLUSION", help="An exclusion's id.", show_default=False)]


def add_to(app: typer.Typer) -> None:
    """Adds the commands to `coreo custody`."""
    app.command(
        "exclude",
        epilog=examples(
            "coreo custody exclude --run latest --watch",
            "coreo custody exclude --plan nightly --delete-results --reason 'asked by legal'",
        ),
    )(exclude)
    app.command("exclusions")(list_exclusions)
    app.command("receipt", epilog=examples("coreo custody receipt 0199c3f2-… > receipt.jws"))(show_receipt)
    app.command("keys", epilog=examples("coreo custody keys > coreo-custody.jwks"))(show_keys)
    app.command(
        "verify",
        epilog=examples(
            "coreo custody verify receipt.jws --keys coreo-custody.jwks",
            more="Keep the keys where who runs Coreo cannot change them: a receipt is as good as the keys are.",
        ),
    )(verify)


def exclude(
    run: Annotated[
        str | None, typer.Option(metavar="RUN", help="This run: its id or `latest`.", show_default=False)
    ] = None,
    plan: Annotated[
        str | None, typer.Option(metavar="PLAN", help="All runs of this plan, and none of its later ones.")
    ] = None,
    account: Annotated[
        str | None, typer.Option(metavar="ACCOUNT", help="All runs in this cloud account, and none of its later ones.")
    ] = None,
    delete_results: Annotated[
        bool, typer.Option("--delete-results", help="Delete what can be read of them as well.")
    ] = False,
    reason: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="For the log and the receipt, where it stands in clear.", show_default=False),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Wait for the receipt.")] = False,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Take runs out of all backups, for good: nobody can bring them back, whatever copies there are."""
    chosen = [(kind, text) for kind, text in ((RUN, run), (PLAN, plan), (ACCOUNT, account)) if text is not None]
    if len(chosen) != 1:
        raise UsageMistakeError("Say one of --run, --plan and --account.")
    kind, text = chosen[0]
    with connect() as client:
        whole = is_id(text) and kind is not RUN  # of a plan or account that was removed, perhaps
        scope_id = text.strip().lower() if whole else str(resolve(client, kind, text)["id"])
        scope = {RUN: "run", PLAN: "plan", ACCOUNT: "cloud_account"}[kind]
        confirm_for_good(f"Take {kind.noun} {scope_id} out of all backups, for good?", yes=yes)
        body = {"scope": scope, "scope_id": scope_id, "display": "delete" if delete_results else "keep"}
        # Said again while it is pending it is the same one: nothing is done twice.
        found = client.post("/v1/exclusions", body | ({} if reason is None else {"reason": reason}))
        if watch:
            found = _watched(client, found)
    _show(found, output)


def list_exclusions(
    exclusion: Annotated[
        str | None, typer.Argument(metavar="[EXCLUSION]", help="Only this, with all its steps.", show_default=False)
    ] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="So many at most.")] = 50,
    output: OutputOption = Output.TABLE,
) -> None:
    """List what was taken out of the backups, or is being so; newest first."""
    with connect() as client:
        if exclusion is not None:
            _show(client.get(f"/v1/exclusions/{_id(exclusion)}"), output)
            return
        found = list(client.items("/v1/exclusions", limit=limit))
    if output is Output.JSON:
        write_json(found)
        return
    show_listing(
        [
            Column("ID"),
            Column("OF", flexible=True),
            Column("RUNS", right=True),
            Column("STATE"),
            Column("ASKED"),
            Column("BY", flexible=True),
        ],
        [
            [
                each["id"],
                f"{each['scope'].replace('_', ' ')} {each['scope_id']}",
                str(each["runs"]),
                each["state"],
                local(each["requested_at"]),
                each["requested_by"],
            ]
            for each in found
        ],
        empty="Nothing was excluded.",
    )


def show_receipt(exclusion: ExclusionArgument) -> None:
    """Write an exclusion's signed receipt, to keep and to check."""
    with connect() as client:
        write_line(client.get(f"/v1/exclusions/{_id(exclusion)}/receipt")["receipt"])


def show_keys() -> None:
    """Write the public keys that receipts are checked with, as a JWK set."""
    with connect() as client:
        write_json(client.get("/v1/custody/keys"))


def verify(
    file: Annotated[
        typer.FileText, typer.Argument(metavar="RECEIPT", help="A file with the receipt; - is standard input.")
    ],
    keys: Annotated[typer.FileText, typer.Option("--keys", metavar="FILE", help="The public keys: a JWK set.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Check a receipt, offline: who signed it, and what it says. Needs no api and no network."""
    from coreo_cli.receipts import check_receipt  # noqa: PLC0415  --help answers at once
    from coreo_shared.contracts.base import encode_json  # noqa: PLC0415

    checked = check_receipt(file.read(), keys.read())
    receipt = checked.receipt
    if output is Output.JSON:
        write_line(encode_json({"key": checked.key, "receipt": receipt}).decode())
        return
    entries = [*([] if receipt.intent is None else [receipt.intent]), *receipt.tombstones]
    version = (
        "-" if receipt.key_destroyed is None else f"up to {receipt.key_destroyed} destroyed; {receipt.key_now} now"
    )
    show_details(
        f"The receipt is good: signed by key {checked.key}",
        [
            ("exclusion", str(receipt.exclusion_id)),
            ("of", f"{receipt.scope.replace('_', ' ')} {receipt.scope_id}"),
            ("team", str(receipt.team_id)),
            ("asked", f"{local(receipt.requested_at)} by {receipt.requested_by}"),
            ("reason", receipt.reason or "-"),
            ("runs", str(receipt.runs)),
            ("backups deleted", str(receipt.backups_deleted)),
            ("readable copies", f"{receipt.display_rekeyed} under new keys, {receipt.display_deleted} deleted"),
            ("the team's key", version),
            ("log entries", ", ".join(str(each.seq) for each in entries) or "-"),
            ("issued", f"{local(receipt.issued_at)} by {receipt.by}"),
        ],
    )
    for run_id in receipt.run_ids:
        write_line(f"run {run_id}")
    if receipt.runs != len(receipt.run_ids):
        note(f"{plural(receipt.runs, 'run')}, named by the hash of their ids: {receipt.runs_sha256}")


def _watched(client: "Client", found: Json) -> Json:
    try:
        while found["state"] != _DONE:
            client.wait(_EVERY_SECONDS)
            found = client.get(f"/v1/exclusions/{found['id']}")
    except KeyboardInterrupt:
        note(f"You no longer watch; it goes on. See how far it is: coreo custody exclusions {found['id']}")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    return found


def _id(text: str) -> str:
    if not is_id(text):
        raise CliError("That is not an exclusion's id.", next_step="coreo custody exclusions lists them")
    return text.strip().lower()


def _show(found: Json, output: Output) -> None:
    if output is Output.JSON:
        write_json(found)
        return
    show_details(
        f"Exclusion {found['id']}",
        [
            ("of", f"{found['scope'].replace('_', ' ')} {found['scope_id']}, {plural(found['runs'], 'run')}"),
            ("asked", f"{local(found['requested_at'])} by {found['requested_by']}"),
            ("state", found["state"] if found["state"] == _DONE else "exclusion pending"),
            *((_STEPS[each["step"]], local(each["at"])) for each in found["done"]),
            *((_STEPS[step], "remains") for step in found["remaining"]),
            *([("problem", found["problem"])] if found["problem"] else []),
        ],
    )
    if found["state"] == _DONE:
        next_steps([f"coreo custody receipt {found['id']} > receipt.jws"])
    else:
        next_steps([f"coreo custody exclusions {found['id']}"])
