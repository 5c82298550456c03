"""`coreo rules …`."""

import difflib
from typing import Annotated
from urllib.parse import quote

import typer

from coreo_cli.errors import ApiError, CliError
from coreo_cli.layout import Column, severity
from coreo_cli.options import examples
from coreo_cli.output import Output, OutputOption, note, show_details, show_listing, write_json, write_line
from coreo_cli.session import connect, query
from coreo_cli.text import Json, as_json, plain
from coreo_shared.contracts.terms import Severity

app = typer.Typer(no_args_is_help=True, help="What Coreo can look for.")


@app.command("list", epilog=examples("coreo rules list --severity critical --resource aws.s3.bucket"))
def list_rules(
    severity_: Annotated[
        Severity | None, typer.Option("--severity", help="Only rules of this severity.", case_sensitive=False)
    ] = None,
    resource: Annotated[
        str | None, typer.Option(metavar="TYPE", help="Only rules for this kind of resource, such as aws.s3.bucket.")
    ] = None,
    rule_set: Annotated[
        str | None, typer.Option("--rule-set", metavar="ID", help="Only rules of this rule set.")
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the rules, by id."""
    with connect() as client:
        rules = list(client.items("/v1/rules", query(severity=severity_, resource=resource)))
        if rule_set is not None:
            chosen = _rule_set(list(client.items("/v1/rule-sets")), rule_set)
            rules = [rule for rule in rules if rule["id"] in chosen]
    if output is Output.JSON:
        write_json(rules)
        return
    show_listing(
        [Column("RULE"), Column("SEVERITY"), Column("RESOURCE"), Column("WHAT SHOULD HOLD", flexible=True)],
        [[rule["id"], severity(rule["severity"]), rule["resource"], rule["title"]] for rule in rules],
        empty="There are no such rules. All: coreo rules list",
    )


@app.command()
def show(
    rule: Annotated[str, typer.Argument(metavar="RULE", help="A rule's id.", show_default=False)],
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a rule: what it asks for, why, and how to put right what fails it."""
    with connect() as client:
        try:
            found = client.get(f"/v1/rules/{quote(rule, safe='')}")
        except ApiError as error:
            if error.status != 404:
                raise
            ids = [each["id"] for each in client.items("/v1/rules")]
            raise _unknown("rule", rule, ids, "coreo rules list") from None
    if output is Output.JSON:
        write_json(found)
    else:
        _show(found)


@app.command()
def sets(output: OutputOption = Output.TABLE) -> None:
    """List the rule sets."""
    with connect() as client:
        found = list(client.items("/v1/rule-sets"))
    if output is Output.JSON:
        write_json(found)
        return
    show_listing(
        [Column("RULE SET"), Column("RULES", right=True), Column("WHAT IT IS", flexible=True)],
        [[each["id"], str(len(each["rules"])), f"{each['title']}. {each['description']}"] for each in found],
        empty="There are no rule sets.",
    )
    note("The rules of one: coreo rules list --rule-set ID")


def _rule_set(sets: list[Json], wanted: str) -> set[str]:
    for each in sets:
        if each["id"] == wanted:
            return set(each["rules"])
    raise _unknown("rule set", wanted, [each["id"] for each in sets], "coreo rules sets")


def _unknown(noun: str, wanted: str, ids: list[str], command: str) -> CliError:
    close = difflib.get_close_matches(wanted, ids, n=3)
    meant = f" Did you mean {' or '.join(close)}?" if close else ""
    return CliError(f"There is no {noun} {plain(wanted)!r}.{meant}", next_step=f"`{command}` shows what there is.")


def _show(rule: Json) -> None:
    show_details(
        rule["title"],
        [
            ("rule", rule["id"]),
            ("severity", severity(rule["severity"])),
            ("resource", rule["resource"]),
            ("why", rule["rationale"]),
            ("console", rule["remediation"]["console"]),
            ("aws cli", rule["remediation"]["cli"]),
            ("CloudFormation", rule["remediation"]["cloudformation"]),
            ("controls", "; ".join(f"{name} {', '.join(ids)}" for name, ids in rule["controls"].items()) or None),
            ("IAM actions", ", ".join(rule["actions"])),
            ("also known as", ", ".join(rule["aliases"]) or None),
        ],
    )
    for name, parameter in rule["parameters"].items():
        default = as_json(parameter["default"], indent=None)
        write_line(f"\nParameter --param {rule['id']}.{plain(name)}={default}")
        write_line(f"  {plain(parameter['description'])} ({_limits(parameter)})")
    for reference in rule["references"]:
        write_line(f"\n{plain(reference)}")


def _limits(parameter: Json) -> str:
    limits = [plain(parameter["type"])]
    if parameter["minimum"] is not None:
        limits.append(f"at least {parameter['minimum']:g}")
    if parameter["maximum"] is not None:
        limits.append(f"at most {parameter['maximum']:g}")
    if parameter["choices"]:
        limits.append("one of " + ", ".join(plain(each) for each in parameter["choices"]))
    return ", ".join(limits)
