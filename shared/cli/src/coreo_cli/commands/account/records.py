"""`coreo account add`, `list`, `show`, `rename`, `remove`, `disconnect`."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from coreo_cli.account_words import show_account, trust_steps, word
from coreo_cli.commands.account.options import (
    ActionsOption,
    LevelOption,
    PlansOption,
    RuleSetsOption,
    RulesOption,
    WatchOption,
    stays,
)
from coreo_cli.commands.account.verification import conclude_role
from coreo_cli.errors import CliError, UsageMistakeError
from coreo_cli.grants import Choice, GrantWish, Level, explain
from coreo_cli.layout import Column, state
from coreo_cli.options import AccountArgument, YesOption, confirm, confirm_for_good
from coreo_cli.output import Output, OutputOption, next_steps, note, show_listing, write_json, write_line
from coreo_cli.resolve import ACCOUNT, resolve
from coreo_cli.session import connect
from coreo_cli.text import Json

if TYPE_CHECKING:
    from coreo_cli.client import Client


_WITHOUT_ROLE = frozenset({"PENDING", "DISCONNECTED"})


class Results(StrEnum):
    """What becomes of an account's results."""

    KEEP = "keep"
    PURGE = "purge"


def add(
    *,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name for people.", show_default=False)],
    account_id: Annotated[
        str, typer.Option("--account-id", metavar="DIGITS", help="The AWS account's 12 digits, with or without dashes.")
    ],
    role_arn: Annotated[
        str | None,
        typer.Option(
            "--role-arn", metavar="ARN", help="The role, where it is there already; it must ask for the external id."
        ),
    ] = None,
    level: LevelOption = None,
    plan: PlansOption = None,
    rule_set: RuleSetsOption = None,
    rule: RulesOption = None,
    action: ActionsOption = None,
    watch: WatchOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Add an AWS account, and show how to make its role for Coreo."""
    digits = account_id.replace("-", "").strip()
    if not (len(digits) == 12 and digits.isascii() and digits.isdecimal()):
        raise UsageMistakeError(
            "--account-id: an AWS account id has 12 digits.", next_step="`aws sts get-caller-identity` shows yours."
        )
    choice = Choice(plan or [], rule_set or [], rule or [])
    if role_arn is not None and (level or action or not choice.is_empty):
        raise UsageMistakeError("--level, --plan, --rule-set, --rule and --action are about a role that is yet to be.")
    wish = GrantWish.of(level, choice, action)
    with connect() as client:
        wish = wish.resolved(client)
        account = client.post("/v1/cloud-accounts", {"name": name, "account_id": digits})
        if role_arn is not None:
            account = _give_role(client, account, role_arn)
            conclude_role(client, account, watch=stays(watch), output=output)
        elif output is Output.JSON:
            write_json(account)
        else:
            show_account(account)
            _explain(client, account, wish)


def list_accounts(output: OutputOption = Output.TABLE) -> None:
    """List the cloud accounts, newest first."""
    with connect() as client:
        accounts = list(client.items("/v1/cloud-accounts"))
    if output is Output.JSON:
        write_json(accounts)
        return
    show_listing(
        [
            Column("NAME", flexible=True),
            Column("AWS ACCOUNT"),
            Column("STATE"),
            Column("ROLE", flexible=True),
            Column("ID"),
        ],
        [
            [each["name"], each["account_id"], state(each["state"]), each["role_arn"] or "-", each["id"]]
            for each in accounts
        ],
        empty="There are no cloud accounts yet. Add one: coreo account add NAME --account-id DIGITS",
    )


def show(
    account: AccountArgument,
    trust_policy: Annotated[
        bool, typer.Option("--trust-policy", help="Write the role's trust policy alone, as JSON.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a cloud account: its state and why, and its last verification."""
    with connect() as client:
        found = resolve(client, ACCOUNT, account)
        if trust_policy:
            write_json(found["trust_policy"])
        elif output is Output.JSON:
            write_json(found)
        else:
            show_account(found)
            if found["state"] in _WITHOUT_ROLE:
                _explain(client, found, GrantWish.of(None, Choice((), (), ())))
            else:
                next_steps(_steps(found))


def rename(
    account: AccountArgument,
    name: Annotated[str, typer.Option(metavar="NAME", help="The new name.")],
    output: OutputOption = Output.TABLE,
) -> None:
    """Give a cloud account another name."""
    with connect() as client:
        found = resolve(client, ACCOUNT, account)
        changed = client.patch(f"/v1/cloud-accounts/{found['id']}", {"name": name})
    if output is Output.JSON:
        write_json(changed)
    else:
        write_line(f"Renamed {found['name']!r} to {changed['name']!r}.")


def remove(account: AccountArgument, yes: YesOption = False) -> None:
    """Remove a cloud account that no plan targets. Its past runs stay."""
    with connect() as client:
        found = resolve(client, ACCOUNT, account)
        confirm(f"Remove the cloud account {found['name']!r} ({found['account_id']})?", yes=yes)
        client.delete(f"/v1/cloud-accounts/{found['id']}")
    write_line(f"Removed the cloud account {found['name']!r} ({found['id']}).")
    if found["role_arn"]:
        note(f"Delete the role too, if nothing else needs it: {found['role_arn']}")


def disconnect(
    account: AccountArgument,
    results: Annotated[Results, typer.Option("--results", help="keep what its runs have found, or purge it for good.")],
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Stop working in a cloud account.

    Nothing runs in it until it gets a role again.
    """
    with connect() as client:
        found = resolve(client, ACCOUNT, account)
        if results is Results.PURGE:
            question = f"Delete all results of {found['name']!r} ({found['account_id']}) for good?"
            confirm_for_good(question, yes=yes)
        answer = client.post(f"/v1/cloud-accounts/{found['id']}/disconnect", {"results": str(results)})
    if output is Output.JSON:
        write_json(answer)
        return
    what = "All its results are being deleted" if results is Results.PURGE else "Its results stay"
    write_line(f"Disconnected {found['name']!r}. {what}.")
    if answer["commands"]:
        steps = [f"  {each}" for each in answer["commands"]]
        next_steps(["delete the role in AWS, if nothing else needs it:", *steps])


def _give_role(client: "Client", account: Json, role_arn: str) -> Json:
    try:
        return client.put(f"/v1/cloud-accounts/{account['id']}/role", {"role_arn": role_arn})
    except CliError as error:
        note(f"The cloud account was added ({account['id']}); only its role is missing.")
        error.next_step = f"coreo account set-role {account['id']} --role-arn ARN"
        raise


def _explain(client: "Client", account: Json, wish: GrantWish) -> None:
    try:
        explain(account, wish.fetched(client, account), wish)
    except CliError as error:
        error.lines = (*error.lines, f"The cloud account is there all the same: {account['id']}")
        error.next_step = f"coreo account grant {account['id']} --level {Level.AUDIT}"
        raise


def _steps(account: Json) -> list[str]:
    name = word(account)
    if account["next_external_id"]:
        return [*trust_steps(account), f"coreo account confirm-external-id {name}"]
    verify = f"coreo account verify {name}"
    steps = {
        "VERIFYING": [f"{verify}   (stays until the verdict)"],
        "UNVERIFIED": [verify],
        "INSECURE": [*trust_steps(account), verify],
        "UNREACHABLE": [*trust_steps(account), verify],
        "EXPIRED": [f"coreo account bootstrap {name} --access-key-id AKIA…"],
    }
    return steps.get(account["state"], [])
