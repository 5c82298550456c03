"""`coreo account …`."""

import shlex
from typing import Annotated

import typer

from coreo_cli.errors import CliError, UsageMistakeError
from coreo_cli.layout import Column, state
from coreo_cli.options import AccountArgument, YesOption, confirm, examples
from coreo_cli.output import Output, OutputOption, next_steps, note, show_details, show_listing, write_json, write_line
from coreo_cli.resolve import ACCOUNT, resolve
from coreo_cli.session import connect
from coreo_cli.text import Json, as_json, plain
from coreo_cli.words import local

app = typer.Typer(no_args_is_help=True, help="AWS accounts that Coreo works in.")
_STATES = {
    "PENDING": "PENDING: has no role yet",
    "UNVERIFIED": "UNVERIFIED: nobody has tried its role yet",
}
RoleOption = Annotated[str, typer.Option("--role-arn", metavar="ARN", help="The role that Coreo shall assume.")]


@app.command(
    epilog=examples(
        "coreo account add --name production --account-id 210987654321",
        "coreo account add --name production --account-id 210987654321 \\\n"
        "    --role-arn arn:aws:iam::210987654321:role/CoreoAudit",
    )
)
def add(
    name: Annotated[str, typer.Option(metavar="NAME", help="A name for people.")],
    account_id: Annotated[
        str, typer.Option("--account-id", metavar="DIGITS", help="The AWS account's 12 digits, with or without dashes.")
    ],
    role_arn: Annotated[
        str | None,
        typer.Option(
            "--role-arn", metavar="ARN", help="The role, where it is there already; it must ask for the external id."
        ),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Add an AWS account. Shows the external id and the trust policy that its role must have, and how to go on."""
    digits = account_id.replace("-", "").strip()
    if not (len(digits) == 12 and digits.isascii() and digits.isdecimal()):
        raise UsageMistakeError(
            "--account-id: an AWS account id has 12 digits.", next_step="`aws sts get-caller-identity` shows yours."
        )
    with connect() as client:
        account = client.post("/v1/cloud-accounts", {"name": name, "account_id": digits})
        if role_arn is not None:
            try:
                account = client.put(f"/v1/cloud-accounts/{account['id']}/role", {"role_arn": role_arn})
            except CliError as error:
                note(f"The cloud account was added ({account['id']}); only its role is missing.")
                error.next_step = f"coreo account set-role {account['id']} --role-arn ARN"
                raise
    if output is Output.JSON:
        write_json(account)
        return
    _show(account)
    if role_arn is None:
        _explain_role(account)
    else:
        next_steps([f"coreo plan create --name NAME --account {_word(account)} --rule-set baseline"])


@app.command(
    "set-role",
    epilog=examples("coreo account set-role production --role-arn arn:aws:iam::210987654321:role/CoreoAudit"),
)
def set_role(account: AccountArgument, role_arn: RoleOption, output: OutputOption = Output.TABLE) -> None:
    """Say which role Coreo shall assume in the account."""
    with connect() as client:
        found = resolve(client, ACCOUNT, account)
        changed = client.put(f"/v1/cloud-accounts/{found['id']}/role", {"role_arn": role_arn})
    if output is Output.JSON:
        write_json(changed)
        return
    write_line(f"Coreo will assume {plain(changed['role_arn'])} in {changed['name']!r}.")
    next_steps([f"coreo plan create --name NAME --account {_word(changed)} --rule-set baseline"])


@app.command("list")
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
        empty="There are no cloud accounts yet. Add one: coreo account add --name NAME --account-id DIGITS",
    )


@app.command(epilog=examples("coreo account show production --trust-policy > trust-policy.json"))
def show(
    account: AccountArgument,
    trust_policy: Annotated[
        bool, typer.Option("--trust-policy", help="Write the role's trust policy alone, as JSON.")
    ] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a cloud account, with the external id and the trust policy of its role."""
    with connect() as client:
        found = resolve(client, ACCOUNT, account)
    if trust_policy:
        write_json(found["trust_policy"])
    elif output is Output.JSON:
        write_json(found)
    else:
        _show(found)
        if found["role_arn"] is None:
            _explain_role(found)


@app.command()
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


@app.command()
def remove(account: AccountArgument, yes: YesOption = False) -> None:
    """Remove a cloud account that no plan targets. Its past runs stay."""
    with connect() as client:
        found = resolve(client, ACCOUNT, account)
        confirm(f"Remove the cloud account {found['name']!r} ({found['account_id']})?", yes=yes)
        client.delete(f"/v1/cloud-accounts/{found['id']}")
    write_line(f"Removed the cloud account {found['name']!r} ({found['id']}).")
    if found["role_arn"]:
        note(f"Delete the role too, if nothing else needs it: {found['role_arn']}")


def _show(account: Json) -> None:
    show_details(
        account["name"],
        [
            ("id", account["id"]),
            ("AWS account", account["account_id"]),
            ("state", state(account["state"], _STATES.get(account["state"]))),
            ("role", account["role_arn"] or "-"),
            ("external id", account["external_id"]),
            ("Coreo's AWS account", account["coreo_account_id"]),
            ("added", local(account["created_at"])),
        ],
    )


def _explain_role(account: Json) -> None:
    """How to make the role, in commands to copy."""
    partition = str(account["trust_policy"]["Statement"][0]["Principal"]["AWS"]).split(":")[1]
    audit_policy = f"arn:{partition}:iam::aws:policy/SecurityAudit"
    word = _word(account)
    write_line("")
    write_line("Trust policy of the role:")
    write_line(as_json(account["trust_policy"]))
    next_steps(
        [
            f"make the role in the AWS account {account['account_id']}, then tell Coreo:",
            f"  coreo account show {word} --trust-policy > trust-policy.json",
            "  aws iam create-role --role-name CoreoAudit --assume-role-policy-document file://trust-policy.json",
            f"  aws iam attach-role-policy --role-name CoreoAudit --policy-arn {audit_policy}",
            f"  coreo account set-role {word} --role-arn arn:{partition}:iam::{account['account_id']}:role/CoreoAudit",
        ]
    )


def _word(account: Json) -> str:
    """The account's name for a command to copy."""
    return shlex.quote(plain(account["name"]))
