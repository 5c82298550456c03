"""`coreo rules …`."""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

import typer

from coreo_cli.commands import permissions
from coreo_cli.config import has_connection
from coreo_cli.errors import EXIT_ERROR, ApiError, CliError
from coreo_cli.layout import Column, severity
from coreo_cli.options import examples
from coreo_cli.output import Output, OutputOption, note, show_details, show_error, show_listing, write_json, write_line
from coreo_cli.scan.selection import (
    RuleOption,
    Selection,
    choose,
)
from coreo_cli.session import connect, query
from coreo_cli.text import Json, as_json, plain
from coreo_cli.words import plural
from coreo_shared.contracts.terms import Severity

if TYPE_CHECKING:
    from coreo_cli.client import Client

LocalOption = Annotated[
    bool, typer.Option("--local", help="The rules of this release of the command, without the service.")
]
FilesArgument = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Rule packs.", show_default=False)]
app = typer.Typer(no_args_is_help=True, help="What Coreo can look for.")


@app.command("list", epilog=examples("coreo rules list --severity critical --resource aws.s3.bucket"))
def list_rules(
    severity_: Annotated[
        Severity | None, typer.Option("--severity", help="Only rules of this severity.", case_sensitive=False)
    ] = None,
    resource: Annotated[
        str | None, typer.Option(metavar="TYPE", help="Only rules for this kind of resource, such as aws.s3.bucket.")
    ] = None,
    service: Annotated[
        str | None, typer.Option("--service", metavar="NAME", help="Only rules on this service, such as s3.")
    ] = None,
    rule_set: Annotated[
        str | None,
        typer.Option("--rule-set", "--framework", metavar="ID", help="Only rules of this rule set or framework."),
    ] = None,
    local: LocalOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the rules, by id."""
    with _source(local=local) as source:
        rules = source.rules(severity_, resource)
        if rule_set is not None:
            chosen = _rule_set(source.sets(), rule_set)
            rules = [rule for rule in rules if rule["id"] in chosen]
        if service is not None:
            rules = [rule for rule in rules if rule["resource"].split(".")[1] == service]
    if output is Output.JSON:
        write_json(rules)
        return
    show_listing(
        [Column("RULE"), Column("SEVERITY"), Column("RESOURCE"), Column("WHAT SHOULD HOLD", flexible=True)],
        [[rule["id"], severity(rule["severity"]), rule["resource"], rule["title"]] for rule in rules],
        empty="There are no such rules. All: coreo rules list",
    )


@app.command(
    epilog=examples("coreo rules show s3-bucket-versioning", "coreo rules show prowler:s3_bucket_object_versioning")
)
def show(
    rule: Annotated[
        str,
        typer.Argument(
            metavar="RULE", help="A rule's id, or its name in another tool: securityhub:S3.8.", show_default=False
        ),
    ],
    local: LocalOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a rule: what it asks for, why, and how to put right what fails it."""
    if ":" in rule:
        rule = _by_alias(rule)
    with _source(local=local) as source:
        found = source.rule(rule)
        if found is None:
            ids = [each["id"] for each in source.rules(None, None)]
            raise _unknown("rule", rule, ids, "coreo rules list")
    if output is Output.JSON:
        write_json(found)
    else:
        _show(found)


@app.command()
def sets(local: LocalOption = False, output: OutputOption = Output.TABLE) -> None:
    """List the rule sets."""
    with _source(local=local) as source:
        found = source.sets()
    if output is Output.JSON:
        write_json(found)
        return
    show_listing(
        [Column("RULE SET"), Column("RULES", right=True), Column("WHAT IT IS", flexible=True)],
        [[each["id"], str(len(each["rules"])), f"{each['title']}. {each['description']}"] for each in found],
        empty="There are no rule sets.",
    )
    note("The rules of one: coreo rules list --rule-set ID")


@app.command(
    epilog=examples(
        "coreo rules parameters",
        "coreo rules parameters --rule 'iam-*'",
        more="Set them with --param of coreo plan create and coreo scan: RULE.PARAMETER=VALUE; with * in place of "
        "RULE, for every rule that has it.",
    )
)
def parameters(rule: RuleOption = None, output: OutputOption = Output.TABLE) -> None:
    """List what plans and scans may set: thresholds, ports, tags, with their types and defaults."""
    from coreo_cli.scan.rule_views import parameter_views  # noqa: PLC0415  loads the rule language
    from coreo_shared.catalogue import load_catalogue  # noqa: PLC0415  takes longer than --help may

    catalogue = load_catalogue()
    found = parameter_views(catalogue, choose(catalogue, Selection(rules=rule or ())))
    if output is Output.JSON:
        write_json(found)
        return
    show_listing(
        [
            Column("RULE.PARAMETER"),
            Column("TYPE"),
            Column("DEFAULT", flexible=True),
            Column("WHAT IT IS", flexible=True),
        ],
        [
            [
                f"{each['rule']}.{each['parameter']}",
                each["type"],
                as_json(each["default"], indent=None),
                f"{each['description']} ({_limits(each)})",
            ]
            for each in found
        ],
        empty="These rules have no parameters.",
    )


@app.command(epilog=examples("coreo rules lint acme.yaml"))
def lint(files: FilesArgument) -> None:
    """Check rule packs of your own: what is wrong, by file, line and field."""
    from coreo_cli.scan.own import read_file  # noqa: PLC0415  loads the rule language
    from coreo_shared.catalogue import load_catalogue  # noqa: PLC0415  takes longer than --help may

    wrong = 0
    for path in files:
        try:
            pack = read_file(path, load_catalogue())
        except CliError as error:
            wrong += 1
            show_error(error)
        else:
            write_line(f"{plain(path)}: {plural(len(pack.rules), 'rule')}, all right: {', '.join(pack.rules)}")
    if wrong:
        raise typer.Exit(EXIT_ERROR)


@app.command(epilog=examples("coreo rules test", "coreo rules test acme.yaml", "coreo rules test --rule 's3-*'"))
def test(
    files: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[FILE]...", help="Rule packs; the rules of this release unless given.", show_default=False
        ),
    ] = None,  # noqa: PT028  a command, not a test
    rule: RuleOption = None,  # noqa: PT028  as above
) -> None:
    """Run the example cases of rules: does each judge as its cases say?"""
    from coreo_cli.scan.own import read_file  # noqa: PLC0415  loads the rule language
    from coreo_shared.catalogue import load_cases, load_catalogue  # noqa: PLC0415  takes longer than --help may
    from coreo_shared.catalogue.packs import failing  # noqa: PLC0415  as above

    catalogue = load_catalogue()
    packs = [read_file(path, catalogue) for path in files or []]
    if packs:
        cases = {rule_id: cases for pack in packs for rule_id, cases in pack.cases.items()}
    else:
        chosen = choose(catalogue, Selection(rules=rule or ()))
        cases = {rule_id: cases for rule_id, cases in load_cases().items() if rule_id in chosen}
    failed = [said for of_rule in cases.values() for case in of_rule if (said := failing(case)) is not None]
    for said in failed:
        write_line(f"FAIL {plain(said)}")
    without = sum(rule_id not in pack.cases for pack in packs for rule_id in pack.rules)
    if without:
        note(f"{plural(without, 'rule')} of the packs have no case: nothing is known of those.")
    note(f"{plural(sum(map(len, cases.values())), 'case')} of {plural(len(cases), 'rule')}: {len(failed)} failed.")
    if failed:
        raise typer.Exit(EXIT_ERROR)


app.command(epilog=permissions.EXAMPLES)(permissions.permissions)


class _FromApi:
    """The rules of the service."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def rules(self, severity_: Severity | None, resource: str | None) -> list[Json]:
        return list(self._client.items("/v1/rules", query(severity=severity_, resource=resource)))

    def rule(self, rule_id: str) -> Json | None:
        try:
            return self._client.get(f"/v1/rules/{quote(rule_id, safe='')}")
        except ApiError as error:
            if error.status != 404:
                raise
            return None

    def sets(self) -> list[Json]:
        return list(self._client.items("/v1/rule-sets"))


class _FromHere:
    """The rules that this release of the command brings with it."""

    def __init__(self) -> None:
        from coreo_shared.catalogue import load_catalogue  # noqa: PLC0415  takes longer than --help may

        self._catalogue = load_catalogue()

    def rules(self, severity_: Severity | None, resource: str | None) -> list[Json]:
        from coreo_cli.scan.rule_views import summaries  # noqa: PLC0415  loads the rule language

        found = summaries(self._catalogue)
        return [one for one in found if severity_ in {None, one["severity"]} and resource in {None, one["resource"]}]

    def rule(self, rule_id: str) -> Json | None:
        from coreo_cli.scan.rule_views import rule_view  # noqa: PLC0415  loads the rule language

        return rule_view(self._catalogue, rule_id) if rule_id in self._catalogue.rules else None

    def sets(self) -> list[Json]:
        from coreo_cli.scan.rule_views import set_views  # noqa: PLC0415  loads the rule language

        return set_views(self._catalogue)


@contextmanager
def _source(*, local: bool) -> Iterator[_FromApi | _FromHere]:
    """Where rules are looked up: at the service, or here where that is wished or there is no login."""
    if not local and not has_connection():
        note("You are not logged in: these are the rules of this release of the command.")
        local = True
    if local:
        yield _FromHere()
        return
    with connect() as client:
        yield _FromApi(client)


def _by_alias(alias: str) -> str:
    """The id of the rule that another tool calls so. Raises CliError."""
    from coreo_shared.catalogue import load_catalogue  # noqa: PLC0415  takes longer than --help may

    known = {name: rule.id for rule in load_catalogue().rules.values() for name in rule.definition.aliases}
    if alias not in known:
        raise _unknown("rule that is called", alias, list(known), "coreo rules list")
    return known[alias]


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
