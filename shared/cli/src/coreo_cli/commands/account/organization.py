"""`coreo account discover`: the accounts of an AWS organization."""

from typing import TYPE_CHECKING, Annotated

import typer

from coreo_cli.account_words import word
from coreo_cli.errors import EXIT_NOT_SUCCEEDED, CliError
from coreo_cli.layout import Cell, Column, Styled, state
from coreo_cli.options import AccountArgument
from coreo_cli.output import Output, OutputOption, next_steps, note, show_listing, write_json, write_words
from coreo_cli.resolve import ACCOUNT, resolve
from coreo_cli.session import connect
from coreo_cli.text import Json, plain
from coreo_cli.words import plural

if TYPE_CHECKING:
    from coreo_cli.client import Client

_STATUSES = {"ACTIVE": "green", "SUSPENDED": "red", "PENDING_CLOSURE": "yellow"}


def discover(
    account: AccountArgument,
    drafts: Annotated[
        bool,
        typer.Option("--drafts", help="Add each active account that is not in Coreo yet; it needs a role then."),
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the accounts of an AWS organization.

    Coreo asks through the role in the organization's management account, or in one delegated to.
    """
    with connect() as client:
        found = resolve(client, ACCOUNT, account)
        ended = _discovered(client, found, drafts=drafts)
        if output is Output.JSON:
            write_json(ended)
            return
        known = {each["account_id"]: each for each in client.items(ACCOUNT.path)}
    _show(ended["report"], known)
    if moved := ended["report"].get("moved_away"):
        names = ", ".join(plain(f"{each['name']} ({each['account_id']})") for each in moved)
        note(
            f"No longer in the organization: {names}. Coreo works in them as before; disconnect what is not yours now."
        )
    waiting = [each for each in _of_organization(ended["report"], known) if each["state"] == "PENDING"]
    new = [each for each in ended["report"]["accounts"] if each["account_id"] not in known and _is_active(each)]
    if waiting:
        note(
            f"{plural(len(waiting), 'account')} of the organization still {'needs' if len(waiting) == 1 else 'need'} "
            "a role."
        )
        next_steps([f"coreo account grant {word(each)} --format stack-set" for each in waiting[:3]])
    elif new:
        next_steps([f"coreo account discover {word(found)} --drafts   (adds {plural(len(new), 'account')})"])


def _discovered(client: "Client", account: Json, *, drafts: bool) -> Json:
    """The discovery's entry when it has ended well. Raises CliError."""
    from coreo_cli.tasks import follow  # noqa: PLC0415  loads httpx and rich

    entry = client.post(f"/v1/cloud-accounts/{account['id']}/discover", {"drafts": drafts})
    ended = follow(client, account, entry)
    problem = ended["reason"] if ended["report"] is None else ended["report"]["problem"]
    if problem or ended["report"] is None:
        raise CliError(
            problem or f"The organization was not listed: the work ended as {ended['state']}.",
            next_step="The role must be in the organization's management account, or in one that AWS Organizations is "
            "delegated to, and allow organizations:ListAccounts and organizations:DescribeOrganization.",
            exit_code=EXIT_NOT_SUCCEEDED,
        )
    return ended


def _show(report: Json, known: dict[str, Json]) -> None:
    if report["organization_id"]:
        write_words([f"Organization {report['organization_id']}, managed by {report['management_account_id']}"])
    rows: list[list[Cell]] = [
        [
            each["account_id"],
            each["name"],
            Styled(each["status"], _STATUSES.get(each["status"], "")),
            known[each["account_id"]]["name"] if each["account_id"] in known else "-",
            state(known[each["account_id"]]["state"]) if each["account_id"] in known else "-",
        ]
        for each in report["accounts"]
    ]
    columns = [
        Column("AWS ACCOUNT"),
        Column("NAME", flexible=True),
        Column("STATUS"),
        Column("IN COREO", flexible=True),
        Column("STATE"),
    ]
    show_listing(columns, rows, empty="The organization has no accounts.")


def _of_organization(report: Json, known: dict[str, Json]) -> list[Json]:
    ids = [each["account_id"] for each in report["accounts"] if _is_active(each)]
    return [known[each] for each in ids if each in known]


def _is_active(account: Json) -> bool:
    return bool(account["status"] == "ACTIVE")
