"""`coreo custody …` and `coreo plan custody …`: how long results are kept, and who touched them."""

from typing import TYPE_CHECKING, Annotated

import typer

from coreo_cli.access import Head, check, read_record
from coreo_cli.commands import exclusion
from coreo_cli.errors import UsageMistakeError
from coreo_cli.layout import Column
from coreo_cli.options import PlanArgument, YesOption, confirm_for_good, examples
from coreo_cli.output import Output, OutputOption, note, show_details, show_listing, write_json, write_line
from coreo_cli.resolve import ACCOUNT, PLAN, RUN, TOKEN, is_id, resolve
from coreo_cli.session import connect, query
from coreo_cli.text import Json
from coreo_cli.words import local, plural
from coreo_shared.contracts.terms import AccessAction

if TYPE_CHECKING:
    from coreo_cli.client import Client

app = typer.Typer(no_args_is_help=True, help="How long results are kept, who touched them, and how they go for good.")
settings = typer.Typer(no_args_is_help=True, help="What the team wants of how its results are kept.")
access = typer.Typer(no_args_is_help=True, help="Who read, exported or deleted results: a record nobody can change.")
backups = typer.Typer(no_args_is_help=True, help="Encrypted copies of results, kept for years.")
of_plan = typer.Typer(no_args_is_help=True, help="What a plan wants of how its results are kept.")
app.add_typer(settings, name="settings")
exclusion.add_to(app)
app.add_typer(access, name="access")
app.add_typer(backups, name="backups")

_MAX_DAYS = 1826
DaysOption = Annotated[
    int | None,
    typer.Option(
        "--display-days",
        min=1,
        max=_MAX_DAYS,
        metavar="DAYS",
        help="So long after a run's end its results can be read; then they are deleted for good.",
        show_default=False,
    ),
]


@settings.command("show")
def show_settings(output: OutputOption = Output.TABLE) -> None:
    """Show how long the team's results are kept, and whether backups are wanted."""
    with connect() as client:
        found = client.get("/v1/custody/settings")
    _show_team(found, output)


@settings.command(
    "set", epilog=examples("coreo custody settings set --display-days 30", "coreo custody settings set --no-backups")
)
def set_settings(
    display_days: DaysOption = None,
    backup_days: Annotated[
        int | None,
        typer.Option(
            "--backup-days", min=1, max=_MAX_DAYS, metavar="DAYS", help="So long backups are kept.", show_default=False
        ),
    ] = None,
    backups: Annotated[
        bool | None,
        typer.Option(
            "--backups/--no-backups",
            help="Back results up, or not. Runs that begin without are never backed up.",
            show_default=False,
        ),
    ] = None,
    keep_counts: Annotated[
        bool | None,
        typer.Option(
            "--keep-counts/--no-keep-counts",
            help="Keep a run's summary counts when its results are gone, or not.",
            show_default=False,
        ),
    ] = None,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change the team's settings. What is not said stays."""
    said = {"display_days": display_days, "backup_days": backup_days, "backups": backups, "keep_counts": keep_counts}
    body = {name: value for name, value in said.items() if value is not None}
    if not body:
        raise _nothing_said("coreo custody settings set")
    with connect() as client:
        before = client.get("/v1/custody/settings")
        _confirm_shorter(before["display_days"], display_days, yes=yes)
        if keep_counts is False and before["keep_counts"]:
            confirm_for_good("Delete the counts of all runs whose results are gone, for good?", yes=yes)
        found = client.patch("/v1/custody/settings", body)
    _show_team(found, output)


@backups.command("show")
def show_backups(output: OutputOption = Output.TABLE) -> None:
    """Show how many runs are backed up, and whether all are that should be."""
    with connect() as client:
        found = client.get("/v1/custody/backups")
    _show_backups(found, output)


@backups.command("run")
def run_backups(output: OutputOption = Output.TABLE) -> None:
    """Back up now what has ended, which happens by itself within minutes."""
    with connect() as client:
        found = client.post("/v1/custody/backups")
    _show_backups(found, output)
    note("It has begun; `coreo custody backups show` says when nothing is due any more.")


@of_plan.command("show")
def show_plan(plan: PlanArgument, output: OutputOption = Output.TABLE) -> None:
    """Show how long a plan's results are kept, and whether backups are wanted."""
    with connect() as client:
        plan_id, name = _plan(client, plan)
        found = client.get(f"/v1/plans/{plan_id}/custody")
    _show_plan(name, found, output)


@of_plan.command(
    "set",
    epilog=examples(
        "coreo plan custody set nightly --display-days 7",
        "coreo plan custody set nightly --no-backup",
        "coreo plan custody set nightly --as-team",
    ),
)
def set_plan(
    plan: PlanArgument,
    display_days: DaysOption = None,
    as_team: Annotated[bool, typer.Option("--as-team", help="Keep results so long as the team says.")] = False,
    backup: Annotated[
        bool | None,
        typer.Option(
            "--backup/--no-backup",
            help="Let its runs be backed up, or not. Runs that begin without are never backed up.",
            show_default=False,
        ),
    ] = None,
    yes: YesOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Change a plan's settings. What is not said stays."""
    if as_team and display_days is not None:
        raise UsageMistakeError("--as-team excludes --display-days.")
    body: Json = {} if backup is None else {"backup": backup}
    if as_team or display_days is not None:
        body["display_days"] = display_days
    if not body:
        raise _nothing_said("coreo plan custody set")
    with connect() as client:
        plan_id, name = _plan(client, plan)
        if "display_days" in body:
            before = client.get(f"/v1/plans/{plan_id}/custody")
            _confirm_shorter(_days(before), display_days or before["team"]["display_days"], yes=yes)
        found = client.patch(f"/v1/plans/{plan_id}/custody", body)
    _show_plan(name, found, output)


@access.command(
    "list",
    epilog=examples(
        "coreo custody access list --run latest",
        "coreo custody access list --action DELETE",
        "coreo custody access list --all --output json > access.jsonl",
        more="JSON is one array; with --all it is JSON lines, as `coreo custody access verify FILE` takes them.",
    ),
)
def list_access(
    run: Annotated[
        str | None, typer.Option(metavar="RUN", help="Only about this run: its id or `latest`.", show_default=False)
    ] = None,
    plan: Annotated[
        str | None, typer.Option(metavar="PLAN", help="Only about this plan itself.", show_default=False)
    ] = None,
    account: Annotated[
        str | None,
        typer.Option(metavar="ACCOUNT", help="Only about this cloud account itself.", show_default=False),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(metavar="TOKEN", help="Only by this token: its name or id. Not the token itself."),
    ] = None,
    action: Annotated[
        AccessAction | None,
        typer.Option(case_sensitive=False, metavar="ACTION", help="Only this: READ_FINDINGS, EXPORT, DELETE, ..."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="So many at most.")] = 50,
    everything: Annotated[bool, typer.Option("--all", help="As many as there are.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """List who read, exported or deleted results, or changed how they are kept; newest first."""
    if sum(each is not None for each in (run, plan, account)) > 1:
        raise UsageMistakeError("--run, --plan and --account exclude each other.")
    with connect() as client:
        about = None
        if run is not None:
            about = str(resolve(client, RUN, run)["id"])
        elif account is not None:
            about = str(resolve(client, ACCOUNT, account)["id"])
        elif plan is not None:
            about, _ = _plan(client, plan)
        by = token if token is None or is_id(token) else str(resolve(client, TOKEN, token)["id"])
        filters = query(object_id=about, token_id=by, action=None if action is None else str(action))
        entries = client.items("/v1/custody/access", filters, limit=None if everything else limit)
        if output is Output.JSON and everything:
            for entry in entries:
                write_json(entry, indent=None)
            return
        found = list(entries)
    if output is Output.JSON:
        write_json(found)
        return
    show_listing(
        [
            Column("NUMBER", right=True),
            Column("WHEN"),
            Column("WHO", flexible=True),
            Column("WHAT"),
            Column("OF", flexible=True),
            Column("DETAILS", flexible=True),
        ],
        [
            [
                str(each["seq"]),
                local(each["at"]),
                each["actor"],
                each["action"],
                f"{each['object_kind'].replace('_', ' ')} {each['object_id']}",
                ", ".join(f"{name} {value}" for name, value in each["detail"].items()) or "-",
            ]
            for each in found
        ],
        empty="There are no such entries.",
    )
    if not everything and len(found) == limit:
        note(f"The newest {limit}. More: --limit NUMBER or --all")


@access.command(
    epilog=examples(
        "coreo custody access verify",
        "coreo custody access list --all --output json > access.jsonl && coreo custody access verify access.jsonl",
        "coreo custody access verify access.jsonl --known 412:5f0c…",
        more="Keep the head that this prints: given as --known later, it proves that nothing up to there was changed "
        "and nothing was cut off.",
    )
)
def verify(
    file: Annotated[
        typer.FileText | None,
        typer.Argument(
            metavar="FILE",
            help="The whole record as `list --all --output json` wrote it; needs no api. Without it, as it is now.",
            show_default=False,
        ),
    ] = None,
    known: Annotated[
        str | None,
        typer.Option(metavar="NUMBER:HASH", help="A head that was printed before.", show_default=False),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Check that no entry of the access record was changed, added in between, or taken out."""
    before = None if known is None else Head.parse(known)
    if file is None:
        with connect() as client:
            entries = list(client.items("/v1/custody/access"))
    else:
        entries = read_record(file)
    head = check(entries, before)
    if output is Output.JSON:
        write_json({"entries": head.seq, "head": str(head)})
        return
    count = "1 entry" if head.seq == 1 else f"{head.seq} entries"
    write_line(f"{count}: the record is whole, and nothing in it was changed.")
    write_line(f"Head: {head}")


def _plan(client: "Client", text: str) -> tuple[str, str]:
    """Id and name; a whole id may be that of a plan that was removed, whose past runs are there."""
    if is_id(text):
        return text.lower(), text.lower()
    found = resolve(client, PLAN, text)
    return str(found["id"]), str(found["name"])


def _days(plan: Json) -> int:
    own = plan["display_days"]
    return int(plan["team"]["display_days"] if own is None else own)


def _confirm_shorter(before: int, after: int | None, *, yes: bool) -> None:
    if after is not None and after < before:
        question = f"Delete the results of all runs that ended more than {plural(after, 'day')} ago, for good?"
        confirm_for_good(question, yes=yes)


def _nothing_said(command: str) -> UsageMistakeError:
    return UsageMistakeError("Nothing to change was said.", next_step=f"`{command} --help` lists what can be.")


def _show_team(found: Json, output: Output) -> None:
    if output is Output.JSON:
        write_json(found)
        return
    show_details(
        "Custody of the team's results",
        [
            ("can be read for", plural(found["display_days"], "day")),
            ("backups", f"wanted, for {plural(found['backup_days'], 'day')}" if found["backups"] else "not wanted"),
            ("counts", "stay when results are gone" if found["keep_counts"] else "go with the results"),
            ("changed", "never" if found["updated_at"] is None else local(found["updated_at"])),
        ],
    )


def _show_backups(found: Json, output: Output) -> None:
    if output is Output.JSON:
        write_json(found)
        return
    times = {name: local(found[name]) if found[name] else "never" for name in ("ledger_at", "checked_at", "failed_at")}
    show_details(
        "Backups of the team's results",
        [
            ("wanted", "yes" if found["wanted"] else "no"),
            ("backed up", f"{plural(found['runs'], 'run')}, {plural(found['findings'], 'finding')}"),
            ("size", f"{found['bytes'] / 1_000_000:,.1f} MB, encrypted"),
            ("still due", plural(found["due"], "run")),
            ("complete at", times["checked_at"]),
            ("key ledger of", times["ledger_at"]),
            ("failed at", times["failed_at"]),
        ],
    )


def _show_plan(name: str, found: Json, output: Output) -> None:
    if output is Output.JSON:
        write_json(found)
        return
    whose = "the team's" if found["display_days"] is None else "its own"
    backups = "wanted" if found["backup"] else "not wanted"
    if found["backup"] and not found["team"]["backups"]:
        backups = "not wanted by the team"
    show_details(
        name,
        [
            ("can be read for", f"{plural(_days(found), 'day')} ({whose})"),
            ("backups", backups),
            ("changed", "never" if found["updated_at"] is None else local(found["updated_at"])),
        ],
    )
