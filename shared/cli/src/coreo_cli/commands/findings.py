"""`coreo findings`."""

import csv
import itertools
import sys
from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated

import typer

from coreo_cli.errors import UsageMistakeError
from coreo_cli.layout import Column, severity, status
from coreo_cli.options import LatestRunArgument, examples
from coreo_cli.outcome import is_final
from coreo_cli.output import console, note, show_listing, write_drawn, write_json
from coreo_cli.resolve import RUN, resolve
from coreo_cli.run_words import names_of
from coreo_cli.session import connect, query
from coreo_cli.text import Json, csv_cell
from coreo_cli.words import local
from coreo_shared.contracts.terms import FindingStatus, Severity


class FindingsOutput(StrEnum):
    """How findings are written."""

    TABLE = "table"
    JSON = "json"
    CSV = "csv"


class StatusChoice(StrEnum):
    """A status, or all of them."""

    FAIL = "FAIL"
    NOT_EVALUATED = "NOT_EVALUATED"
    PASS = "PASS"
    SUPPRESSED = "SUPPRESSED"
    ALL = "ALL"


class ChangeChoice(StrEnum):
    """What became of a finding since the run before."""

    NEW = "NEW"
    UNCHANGED = "UNCHANGED"
    CHANGED = "CHANGED"
    RESOLVED = "RESOLVED"


_CSV_FIELDS = (
    "severity",
    "status",
    "rule_id",
    "resource_type",
    "resource_id",
    "resource_arn",
    "region",
    "message",
    "reason",
    "missing_actions",
    "fingerprint",
    "change",
    "first_seen",
)
EXAMPLES = examples(
    "coreo findings",
    "coreo findings 0199c3f2-8a1b --severity critical --severity high",
    "coreo findings --status NOT_EVALUATED",
    "coreo findings --change NEW",
    "coreo findings --resolved",
    "coreo findings --all --status ALL --output json | jq -r .resource_arn",
    "coreo findings --all --output csv > findings.csv",
    more="JSON is one array; with --all it is JSON lines, a finding each, written as they arrive. "
    "In CSV a text that a spreadsheet would take for a formula begins with an apostrophe.",
)
_EVERY_STATUS = tuple(each.value for each in FindingStatus)


def findings(
    *,
    run: LatestRunArgument = "latest",
    status_: Annotated[
        list[StatusChoice] | None,
        typer.Option(
            "--status",
            case_sensitive=False,
            metavar="STATUS",
            help="FAIL, NOT_EVALUATED, PASS, SUPPRESSED or ALL; the first two unless said. May be repeated.",
            show_default=False,
        ),
    ] = None,
    severity_: Annotated[
        list[Severity] | None,
        typer.Option(
            "--severity",
            case_sensitive=False,
            metavar="SEVERITY",
            help="critical, high, medium, low or info. May be repeated.",
            show_default=False,
        ),
    ] = None,
    rule: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="A rule. May be repeated.", show_default=False)
    ] = None,
    region: Annotated[
        list[str] | None,
        typer.Option(metavar="REGION", help="A region, or `global`. May be repeated.", show_default=False),
    ] = None,
    resource: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="A resource's whole id or ARN. May be repeated.", show_default=False),
    ] = None,
    change: Annotated[
        list[ChangeChoice] | None,
        typer.Option(
            "--change",
            case_sensitive=False,
            metavar="CHANGE",
            help="Since the run before: NEW, UNCHANGED, CHANGED, RESOLVED. May be repeated.",
            show_default=False,
        ),
    ] = None,
    resolved: Annotated[
        bool, typer.Option("--resolved", help="What failed before and does not any more, as it was then.")
    ] = False,
    limit: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="So many at most.")] = 50,
    everything: Annotated[bool, typer.Option("--all", help="As many as there are.")] = False,
    by_rule: Annotated[bool, typer.Option("--by-rule", help="Count the findings of each rule instead.")] = False,
    output: Annotated[
        FindingsOutput,
        typer.Option(
            "--output",
            "-o",
            envvar="COREO_OUTPUT",
            show_envvar=False,
            help="table for people; json and csv for programs.",
        ),
    ] = FindingsOutput.TABLE,
) -> None:
    """Show what a run has found, most severe first."""
    if by_rule and output is FindingsOutput.CSV:
        raise UsageMistakeError("--by-rule has no CSV.", next_step="Use --output json.")
    narrowed = bool(status_ or severity_ or rule or region or resource or change)
    if resolved and (narrowed or by_rule):
        raise UsageMistakeError("--resolved goes with no filter.", next_step="Leave the others out.")
    filters = (
        []
        if resolved
        else query(
            status=_statuses(status_, change),
            severity=[str(each) for each in severity_ or []],
            rule_id=rule,
            region=region,
            resource=resource,
            change=[str(each) for each in change or []],
        )
    )
    with connect() as client:
        found = resolve(client, RUN, run)
        if by_rule:
            _show_rules(list(client.items(f"/v1/runs/{found['id']}/rules")), output)
            return
        if everything or output is FindingsOutput.CSV:
            filters.append(("export", "true"))  # for the access record
        path = f"/v1/runs/{found['id']}/{'resolved' if resolved else 'findings'}"
        pages = client.pages(path, filters, limit=None if everything else limit)
        first = next(pages)
        items = itertools.chain.from_iterable(page["items"] for page in itertools.chain([first], pages))
        if output is FindingsOutput.CSV:
            shown = _write_csv(items)
        elif output is FindingsOutput.JSON:
            shown = _write_json(items, as_lines=everything)
        else:
            shown = _draw(found, list(items), names_of(client))
    _tell_rest(found, shown, int(first["total"]))


def _statuses(chosen: list[StatusChoice] | None, change: list[ChangeChoice] | None) -> list[str]:
    if not chosen:
        # What is resolved passes now.
        return list(_EVERY_STATUS) if change else ["FAIL", "NOT_EVALUATED"]
    if StatusChoice.ALL in chosen:
        return list(_EVERY_STATUS)
    return [str(each) for each in chosen]


def _write_json(items: Iterator[Json], *, as_lines: bool) -> int:
    """An array; or lines, each written as it comes, so that memory does not grow with the number of findings."""
    if not as_lines:
        whole = list(items)
        write_json(whole)
        return len(whole)
    count = 0
    for count, item in enumerate(items, 1):  # noqa: B007  used after the loop
        write_json(item, indent=None)
    return count


def _write_csv(items: Iterator[Json]) -> int:
    count = 0
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(_CSV_FIELDS)
    for count, item in enumerate(items, 1):  # noqa: B007  used after the loop
        row = item | {"missing_actions": " ".join(item["missing_actions"])}
        writer.writerow(["" if row.get(name) is None else csv_cell(row[name]) for name in _CSV_FIELDS])
    return count


def _draw(run: Json, items: list[Json], names: dict[str, str]) -> int:
    from coreo_cli.findings_view import draw  # noqa: PLC0415  loads rich

    where = f"{names.get(run['plan_id'], 'removed plan')} in {names.get(run['cloud_account_id'], 'removed account')}"
    note(f"Run {run['id']}: {where}, {run['state']}, {local(run['created_at'])}")
    note("")
    if items:
        write_drawn(draw(items, width=console().width))
    return len(items)


def _show_rules(rules: list[Json], output: FindingsOutput) -> None:
    if output is FindingsOutput.JSON:
        write_json(rules)
        return
    ordered = sorted(rules, key=lambda rule: (-Severity(rule["severity"]).rank, rule["rule_id"]))
    show_listing(
        [
            Column("SEVERITY"),
            Column("RULE", flexible=True),
            *(Column(each.replace("_", " "), right=True) for each in _EVERY_STATUS),
        ],
        [
            [
                severity(rule["severity"]),
                rule["rule_id"],
                *(
                    status(each, str(rule["by_status"][each])) if rule["by_status"].get(each) else "-"
                    for each in _EVERY_STATUS
                ),
            ]
            for rule in ordered
        ],
        empty="This run has no findings yet.",
    )


def _tell_rest(run: Json, shown: int, total: int) -> None:
    """Says on standard error what is not there: an answer that is cut short must not look whole."""
    if shown < total:
        note(f"{shown} of {total} findings. The rest: --all or --limit NUMBER")
    elif total == 0:
        note("No findings of this kind.")
    if not is_final(run):
        note(f"The run is {run['state']}: there may be more to come. Watch it: coreo run watch {run['id']}")
