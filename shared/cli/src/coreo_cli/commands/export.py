"""`coreo run export`. What it needs is loaded when it runs."""

import sys
from enum import StrEnum
from typing import Annotated

import typer

from coreo_cli.errors import UsageMistakeError
from coreo_cli.options import FilesOption, LatestRunArgument, examples
from coreo_cli.outcome import is_final
from coreo_cli.output import note
from coreo_cli.resolve import RUN, resolve
from coreo_cli.session import connect
from coreo_cli.text import plain
from coreo_cli.words import plural


class ExportFormat(StrEnum):
    """A format of findings."""

    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    OCSF = "ocsf"
    ASFF = "asff"
    SARIF = "sarif"
    JUNIT = "junit"
    HTML = "html"


EXAMPLES = examples(
    "coreo run export --output report.html",
    "coreo run export 0199c3f2-8a1b --output findings.csv --output findings.ocsf.json",
    "coreo run export --format jsonl | jq -r 'select(.status == \"FAIL\") | .resource_arn'",
    "coreo run export --framework cis-aws-5.0 --framework soc-2 --output report.html",
    more="The files are those of `coreo scan`: docs/exports.md. They hold every finding, whatever its status, with the "
    "team's suppressions and severities as they are now.",
)


def export(
    *,
    run: LatestRunArgument = "latest",
    format_: Annotated[
        ExportFormat | None,
        typer.Option(
            "--format",
            "-f",
            case_sensitive=False,
            metavar="FORMAT",
            help="On standard output: json, jsonl, csv, ocsf, asff, sarif, junit, html.",
            show_default=False,
        ),
    ] = None,
    output: FilesOption = None,
    framework: Annotated[
        list[str] | None,
        typer.Option(
            "--framework",
            metavar="ID",
            help="What the HTML report sums up: see coreo compliance. May be repeated.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Write all findings of a run as a report, or in the format of another tool."""
    if format_ is None and not output:
        raise UsageMistakeError("Nothing says where to, or how.", next_step="Add --output report.html or --format csv.")
    from coreo_cli.scan import of_run  # noqa: PLC0415  loads the catalogue
    from coreo_cli.scan.outputs import targets_of, write, write_out  # noqa: PLC0415  as above
    from coreo_cli.scan.spool import Spool  # noqa: PLC0415  as above
    from coreo_shared.exports import USUAL_FRAMEWORKS, Format  # noqa: PLC0415  as above

    targets = targets_of(output or [])
    with connect() as client, Spool() as spool:
        found = resolve(client, RUN, run)
        if found.get("deploy") and framework:
            raise UsageMistakeError(
                "Frameworks are about audits, and this run is of a deploy plan: leave out --framework."
            )
        frameworks = () if found.get("deploy") else tuple(framework or USUAL_FRAMEWORKS)
        account = client.get(f"/v1/cloud-accounts/{found['cloud_account_id']}")
        framed = of_run.framed(client, found, frameworks)
        catalogue = of_run.catalogue_of(client, found)
        of_run.fetch(client, found, spool)
        subject = of_run.subject_of(found, account, spool, framed, frameworks)
        for target in targets:
            write(target, spool, subject, catalogue)
        if format_ is not None:
            write_out(Format(format_), spool, subject, catalogue, sys.stdout)
        note(f"{plural(len(spool), 'finding')} of run {found['id']} in account {account['account_id']}.")
    for target in targets:
        note(f"Written: {plain(target.path)}")
    if not is_final(found):
        note(f"The run is {found['state']}: there may be more to come. Watch it: coreo run watch {found['id']}")
