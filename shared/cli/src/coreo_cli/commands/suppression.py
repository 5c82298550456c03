"""`coreo suppression …` and `coreo severity …`: what a team decides about its findings."""

from typing import Annotated

import typer

from coreo_cli.errors import UsageMistakeError
from coreo_cli.layout import Cell, Column, Styled, severity
from coreo_cli.options import YesOption, confirm, examples
from coreo_cli.output import Output, OutputOption, next_steps, note, show_details, show_listing, write_json, write_line
from coreo_cli.resolve import ACCOUNT, resolve
from coreo_cli.session import connect
from coreo_cli.text import Json, plain
from coreo_cli.words import ago, expiry, local
from coreo_shared.contracts.terms import Severity

app = typer.Typer(no_args_is_help=True, help="Failed findings to show as SUPPRESSED, with a reason.")
severities = typer.Typer(no_args_is_help=True, help="Severities of the team's own for rules.")
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Its id: see list.", show_default=False)]
ReasonOption = Annotated[str, typer.Option(metavar="TEXT", help="Why; for whoever reads it in a year.")]
AccountOption = Annotated[
    str | None, typer.Option("--account", metavar="ACCOUNT", help="Only in this cloud account.", show_default=False)
]


@app.command(
    epilog=examples(
        "coreo suppression add --rule s3-bucket-public --resource 'arn:aws:s3:::website-*' --reason 'Public websites.'",
        "coreo suppression add --rule 'ec2-*' --tag env=dev --reason 'Sandboxes.' --expires 90d",
    )
)
def add(
    *,
    rule: Annotated[
        str | None, typer.Option(metavar="ID", help="Of this rule; * stands for any text.", show_default=False)
    ] = None,
    resource: Annotated[
        str | None,
        typer.Option(metavar="ID", help="On this resource's id or ARN; * stands for any text.", show_default=False),
    ] = None,
    tag: Annotated[
        str | None, typer.Option(metavar="KEY=VALUE", help="On resources with this tag.", show_default=False)
    ] = None,
    region: Annotated[
        str | None, typer.Option(metavar="REGION", help="Only in this region, or `global`.", show_default=False)
    ] = None,
    account: AccountOption = None,
    reason: ReasonOption,
    expires: Annotated[
        str | None, typer.Option(metavar="WHEN", help="A span from now (90d) or a time; never when left out.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show failed findings that fit all that is given as SUPPRESSED, in past and future runs."""
    if not (rule or resource or tag):
        raise UsageMistakeError("Say what to suppress.", next_step="Give --rule, --resource or --tag.")
    body: Json = {"rule_id": rule, "resource": resource, "tag": tag, "region": region, "reason": reason}
    body = {name: value for name, value in body.items() if value is not None}
    if expires is not None:
        try:
            body["expires_at"] = expiry(expires)
        except ValueError as error:
            raise UsageMistakeError(f"--expires: {error}.") from None
    with connect() as client:
        if account is not None:
            body["cloud_account_id"] = resolve(client, ACCOUNT, account)["id"]
        made = client.post("/v1/suppressions", body)
    if output is Output.JSON:
        write_json(made)
        return
    write_line(f"{made['id']}: {_what(made)}")
    next_steps(["coreo findings --status SUPPRESSED"])


@app.command("list")
def list_suppressions(output: OutputOption = Output.TABLE) -> None:
    """List the suppressions, newest first."""
    with connect() as client:
        found = list(client.items("/v1/suppressions"))
    if output is Output.JSON:
        write_json(found)
        return
    show_listing(
        [
            Column("ID"),
            Column("WHAT", flexible=True),
            Column("BY"),
            Column("EXPIRES"),
            Column("WHY", flexible=True),
        ],
        [[each["id"], _what(each), each["author"], _expires(each), each["reason"]] for each in found],
        empty="Nothing is suppressed.",
    )


@app.command()
def show(suppression: IdArgument, output: OutputOption = Output.TABLE) -> None:
    """Show a suppression: what it fits, why, and who decided it."""
    with connect() as client:
        found = client.get(f"/v1/suppressions/{plain(suppression)}")
    if output is Output.JSON:
        write_json(found)
        return
    show_details(
        _what(found),
        [
            ("id", found["id"]),
            ("why", found["reason"]),
            ("made", f"{local(found['created_at'])} by {found['author']}"),
            ("changed", f"{local(found['updated_at'])} by {found['changed_by']}" if found["changed_by"] else None),
            ("expires", "never" if found["expires_at"] is None else local(found["expires_at"])),
            ("live", "yes" if found["live"] else "no: it has expired"),
        ],
    )


@app.command()
def remove(suppression: IdArgument, yes: YesOption = False) -> None:
    """Take a suppression away: what it fitted shows as FAIL again, at once."""
    confirm(f"Take away suppression {suppression}?", yes=yes)
    with connect() as client:
        client.delete(f"/v1/suppressions/{plain(suppression)}")
    note("It is taken away.")


@severities.command("set", epilog=examples("coreo severity set s3-bucket-versioning low --reason 'We keep backups.'"))
def set_severity(
    *,
    rule: Annotated[str, typer.Argument(metavar="RULE", help="A rule's id.", show_default=False)],
    value: Annotated[
        Severity,
        typer.Argument(
            metavar="SEVERITY",
            help="critical, high, medium, low or info.",
            case_sensitive=False,
            show_default=False,
        ),
    ],
    account: AccountOption = None,
    reason: ReasonOption,
    output: OutputOption = Output.TABLE,
) -> None:
    """Give a rule a severity of the team's own, in all cloud accounts or in one."""
    body: Json = {"rule_id": rule, "severity": value.value, "reason": reason}
    with connect() as client:
        if account is not None:
            body["cloud_account_id"] = resolve(client, ACCOUNT, account)["id"]
        made = client.put("/v1/severity-overrides", body)
    if output is Output.JSON:
        write_json(made)
    else:
        write_line(f"{made['id']}: {plain(made['rule_id'])} is {made['severity']}.")


@severities.command("list")
def list_severities(output: OutputOption = Output.TABLE) -> None:
    """List the severities that the team gave rules."""
    with connect() as client:
        found = list(client.items("/v1/severity-overrides"))
    if output is Output.JSON:
        write_json(found)
        return
    show_listing(
        [Column("ID"), Column("RULE"), Column("SEVERITY"), Column("BY"), Column("WHEN"), Column("WHY", flexible=True)],
        [
            [
                each["id"],
                each["rule_id"],
                severity(each["severity"]),
                each["author"],
                ago(each["updated_at"]),
                each["reason"],
            ]
            for each in found
        ],
        empty="All rules have their own severities.",
    )


@severities.command("remove")
def remove_severity(override: IdArgument, yes: YesOption = False) -> None:
    """Give the rule its own severity back."""
    confirm(f"Take away severity {override}?", yes=yes)
    with connect() as client:
        client.delete(f"/v1/severity-overrides/{plain(override)}")
    note("The rule has its own severity again.")


def _what(found: Json) -> str:
    parts = [
        f"{word} {found[name]}"
        for name, word in (("rule_id", "rule"), ("resource", "resource"), ("tag", "tag"), ("region", "in"))
        if found[name] is not None
    ]
    if found["cloud_account_id"] is not None:
        parts.append(f"account {found['cloud_account_id']}")
    return plain(", ".join(parts))


def _expires(found: Json) -> Cell:
    if found["expires_at"] is None:
        return "never"
    return ago(found["expires_at"]) if found["live"] else Styled("expired", "dim")
