"""`coreo rule-pack …`."""

from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from coreo_cli.errors import CliError
from coreo_cli.layout import Column, severity
from coreo_cli.options import YesOption, confirm, examples
from coreo_cli.output import (
    Output,
    OutputOption,
    next_steps,
    note,
    show_details,
    show_listing,
    write_json,
    write_line,
    write_text,
)
from coreo_cli.resolve import ACCOUNT, resolve
from coreo_cli.session import connect, query
from coreo_cli.text import Json, plain
from coreo_cli.words import local, plural

app = typer.Typer(no_args_is_help=True, help="Rules of your own, for the plans of your team.")
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="A pack's name.", show_default=False)]
VersionOption = Annotated[
    int | None, typer.Option("--version", min=1, metavar="NUMBER", help="Not the newest version.")
]


@app.command(
    epilog=examples("coreo rules lint acme.yaml && coreo rules test acme.yaml", "coreo rule-pack push acme.yaml")
)
def push(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A rule pack, in YAML.", show_default=False)],
    output: OutputOption = Output.TABLE,
) -> None:
    """Store a pack: a new version of the one of its name, if there is one. The same text again changes nothing."""
    from coreo_cli.scan.own import read_file  # noqa: PLC0415  loads the rule language
    from coreo_shared.catalogue import load_catalogue  # noqa: PLC0415  takes longer than --help may

    failing = read_file(file, load_catalogue()).failing_cases()
    if failing:
        raise CliError("Cases of the pack fail.", lines=[plain(each) for each in failing], next_step="Put them right.")
    with connect() as client:
        pack = client.post("/v1/rule-packs", {"source": file.read_text(encoding="utf-8")})
    if output is Output.JSON:
        write_json(pack)
        return
    write_line(f"{pack['name']}@{pack['version']}: {plural(len(pack['rules']), 'rule')}.")
    next_steps(
        [
            f"coreo rule-pack dry-run {pack['name']} --account ACCOUNT   (try it)",
            f"coreo plan create --name NAME --account ACCOUNT --rule-pack {pack['name']}",
        ]
    )


@app.command("list")
def list_packs(output: OutputOption = Output.TABLE) -> None:
    """List the packs, each in its newest version."""
    with connect() as client:
        packs = list(client.items("/v1/rule-packs"))
    _list(packs, output, "There are no rule packs. Make one: docs/scan.md, then `coreo rule-pack push FILE`.")


@app.command()
def versions(name: NameArgument, output: OutputOption = Output.TABLE) -> None:
    """List a pack's versions, newest first."""
    with connect() as client:
        found = list(client.items(f"{_path(name)}/versions"))
    _list(found, output, "There are none.")


@app.command(epilog=examples("coreo rule-pack show acme", "coreo rule-pack show acme --version 1 --source > acme.yaml"))
def show(
    name: NameArgument,
    version: VersionOption = None,
    source: Annotated[bool, typer.Option("--source", help="The pack's text, as it was pushed.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a pack: its rules, and the IAM actions that they take."""
    wanted = query(version=None if version is None else str(version))
    with connect() as client:
        pack = client.get(f"{_path(name)}{'/source' if source else ''}", wanted)
    if source:
        write_text(pack["source"])
    elif output is Output.JSON:
        write_json(pack)
    else:
        show_details(
            f"{pack['name']}@{pack['version']}",
            [
                ("title", pack["title"] or None),
                ("made", local(pack["created_at"])),
                ("digest", pack["digest"]),
                ("IAM actions", ", ".join(pack["actions"])),
            ],
        )
        write_line("")
        show_listing(
            [Column("RULE"), Column("SEVERITY"), Column("RESOURCE"), Column("WHAT SHOULD HOLD", flexible=True)],
            [[each["id"], severity(each["severity"]), each["resource"], each["title"]] for each in pack["rules"]],
            empty="It has no rules.",
        )


@app.command("dry-run", epilog=examples("coreo rule-pack dry-run acme --account staging --region eu-west-1"))
def dry_run(
    name: NameArgument,
    account: Annotated[str, typer.Option("--account", metavar="ACCOUNT", help="The cloud account to try it on.")],
    region: Annotated[
        list[str] | None, typer.Option("--region", metavar="NAME", help="Only this region. May be repeated.")
    ] = None,
    version: VersionOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Try a pack on one cloud account: a run of its rules alone."""
    with connect() as client:
        body: Json = {"cloud_account_id": resolve(client, ACCOUNT, account)["id"], "version": version}
        run = client.post(f"{_path(name)}/dry-run", body | ({"regions": region} if region else {}))
    if output is Output.JSON:
        write_json(run)
        return
    write_line(f"Started: {run['id']}  {plain(run['state'])}")
    next_steps([f"coreo run watch {run['id']}", f"coreo findings {run['id']}"])


@app.command()
def remove(name: NameArgument, yes: YesOption = False) -> None:
    """Delete a pack that no plan has. Past runs, and their findings, stay."""
    confirm(f"Delete all versions of {name}?", yes=yes)
    with connect() as client:
        client.delete(_path(name))
    note(f"{name} is deleted.")


def _path(name: str) -> str:
    return f"/v1/rule-packs/{quote(name, safe='')}"


def _list(packs: list[Json], output: Output, empty: str) -> None:
    if output is Output.JSON:
        write_json(packs)
        return
    show_listing(
        [Column("PACK"), Column("VERSION", right=True), Column("MADE"), Column("TITLE", flexible=True)],
        [[each["name"], str(each["version"]), local(each["created_at"]), each["title"]] for each in packs],
        empty=empty,
    )
