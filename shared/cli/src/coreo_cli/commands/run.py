"""`coreo run …`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from coreo_cli.commands.export import EXAMPLES as EXPORT_EXAMPLES
from coreo_cli.commands.export import export
from coreo_cli.errors import EXIT_INTERRUPTED, CliError, UsageMistakeError
from coreo_cli.options import (
    LatestRunArgument,
    PlanArgument,
    RunArgument,
    YesOption,
    confirm_for_good,
    examples,
)
from coreo_cli.outcome import EXIT_CODES_HELP, exit_code, is_final
from coreo_cli.output import Output, OutputOption, note, write_json, write_line
from coreo_cli.resolve import ACCOUNT, PLAN, RUN, resolve
from coreo_cli.run_words import conclude, handle, labels_of, names_of, show_changes, show_run, show_runs, show_started
from coreo_cli.session import connect, query
from coreo_cli.starting import start_plan
from coreo_cli.text import Json
from coreo_shared.contracts.terms import RunState, Severity

if TYPE_CHECKING:
    from coreo_cli.client import Client

app = typer.Typer(no_args_is_help=True, help="Runs of plans: start, watch, list, export, cancel.")

FailOnOption = Annotated[
    Severity | None,
    typer.Option(
        "--fail-on",
        case_sensitive=False,
        metavar="SEVERITY",
        help="Exit with 5 when findings of this severity or worse failed: critical, high, medium, low, info.",
        show_default=False,
    ),
]
GroupOption = Annotated[bool, typer.Option("--group", help="All runs that were started together with this one.")]


@app.command(
    epilog=examples(
        "coreo run start nightly --watch",
        "coreo run start nightly --watch --fail-on high --output json",
        more=EXIT_CODES_HELP,
    )
)
def start(
    plan: PlanArgument,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Stay until the runs have ended.")] = False,
    fail_on: FailOnOption = None,
    account: Annotated[
        list[str] | None,
        typer.Option(
            "--account",
            metavar="ACCOUNT",
            help="Only this cloud account of the plan. May be repeated.",
            show_default=False,
        ),
    ] = None,
    idempotency_key: Annotated[
        str | None,
        typer.Option(
            "--idempotency-key", metavar="TEXT", help="Sent again, it starts nothing new; a fresh one when left out."
        ),
    ] = None,
    backup: Annotated[
        bool,
        typer.Option("--backup/--no-backup", help="With --no-backup the results are never backed up."),
    ] = True,
    output: OutputOption = Output.TABLE,
) -> None:
    """Start a plan now: a run for each of its cloud accounts."""
    if fail_on is not None and not watch:
        raise UsageMistakeError("--fail-on needs --watch: only the end shows what failed.", next_step="Add --watch.")
    with connect() as client:
        found = resolve(client, PLAN, plan)
        body: Json = {} if backup else {"backup": False}
        if account:
            body["cloud_account_ids"] = [resolve(client, ACCOUNT, each)["id"] for each in account]
        group = start_plan(client, found, body or None, idempotency_key)
        runs = group["runs"]
        if watch:
            runs = _watch(client, runs)
        if output is Output.JSON:
            write_json({"group_id": group["group_id"], "runs": runs})
        elif watch:
            conclude(client, runs)
        else:
            show_started(found, runs)
    if watch:
        raise typer.Exit(exit_code(runs, fail_on))


@app.command(epilog=examples("coreo run watch", "coreo run watch 0199c3f2-8a1b --group", more=EXIT_CODES_HELP))
def watch(
    run: LatestRunArgument = "latest",
    group: GroupOption = False,
    fail_on: FailOnOption = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Watch a run until it has ended."""
    with connect() as client:
        runs = _watch(client, _chosen(client, run, group=group))
        if output is Output.JSON:
            write_json(runs if group else runs[0])
        else:
            conclude(client, runs)
    raise typer.Exit(exit_code(runs, fail_on))


@app.command()
def show(run: LatestRunArgument = "latest", output: OutputOption = Output.TABLE) -> None:
    """Show a run: how it stands, and why."""
    with connect() as client:
        found = resolve(client, RUN, run)
        if output is Output.JSON:
            write_json(found)
            return
        names = names_of(client)
    show_run(found, names)


@app.command("list", epilog=examples("coreo run list --plan nightly --limit 5", "coreo run list --active"))
def list_runs(
    plan: Annotated[str | None, typer.Option(metavar="PLAN", help="Only runs of this plan.")] = None,
    account: Annotated[str | None, typer.Option(metavar="ACCOUNT", help="Only runs in this cloud account.")] = None,
    state_: Annotated[
        list[RunState] | None,
        typer.Option(
            "--state",
            case_sensitive=False,
            metavar="STATE",
            help="Only runs in this state, such as PARTIAL. May be repeated.",
            show_default=False,
        ),
    ] = None,
    active: Annotated[bool, typer.Option("--active", help="Only runs that have not ended.")] = False,
    limit: Annotated[int, typer.Option(min=1, metavar="NUMBER", help="So many at most.")] = 20,
    everything: Annotated[bool, typer.Option("--all", help="As many as there are.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the runs, newest first."""
    states = [*(state_ or []), *(each for each in RunState if active and not each.is_final)]
    with connect() as client:
        filters = query(
            plan_id=None if plan is None else str(resolve(client, PLAN, plan)["id"]),
            cloud_account_id=None if account is None else str(resolve(client, ACCOUNT, account)["id"]),
            state=[str(each) for each in dict.fromkeys(states)],
        )
        runs = list(client.items("/v1/runs", filters, limit=None if everything else limit))
        names = names_of(client) if output is Output.TABLE else {}
    if output is Output.JSON:
        write_json(runs)
    else:
        show_runs(runs, names)
    if not everything and len(runs) == limit:
        note(f"The newest {limit}. More: --limit NUMBER or --all")


@app.command(epilog=examples("coreo run changes", "coreo run changes 0199c3f2-8a1b --output json"))
def changes(run: LatestRunArgument = "latest", output: OutputOption = Output.TABLE) -> None:
    """Show what became of findings since the run before, of the same plan in the same cloud account."""
    with connect() as client:
        found = resolve(client, RUN, run)
        view = client.get(f"/v1/runs/{found['id']}/changes")
    if output is Output.JSON:
        write_json(view)
        return
    show_changes(view)


app.command(epilog=EXPORT_EXAMPLES)(export)


@app.command()
def cancel(run: RunArgument, group: GroupOption = False, output: OutputOption = Output.TABLE) -> None:
    """Ask for a run's end. A run that a worker has taken ends within seconds; what it has found stays."""
    with connect() as client:
        chosen = _chosen(client, run, group=group)
        asked = [client.post(f"/v1/runs/{each['id']}/cancel") for each in chosen if not (group and is_final(each))]
    if output is Output.JSON:
        write_json(asked if group else asked[0])
        return
    for each in asked:
        ended = each["state"] if is_final(each) else f"{each['state']}, ending"
        write_line(f"Canceling {each['id']}: {ended}.")
    if not asked:
        note("All runs of the group have ended already.")


@app.command("delete-results", epilog=examples("coreo run delete-results 0199c3f2-8a1b"))
def delete_results(run: RunArgument, yes: YesOption = False, output: OutputOption = Output.TABLE) -> None:
    """Delete the results of a run that has ended, for good. The run keeps its state and, if wanted, its counts."""
    with connect() as client:
        found = resolve(client, RUN, run)
        confirm_for_good(f"Delete the results of run {found['id']} for good?", yes=yes)
        answer = client.delete_what(f"/v1/runs/{found['id']}/results")
    if output is Output.JSON:
        write_json(answer)
    else:
        write_line(f"Deleted the results of {found['id']}." if answer["runs"] else "They were gone already.")


def _chosen(client: "Client", run: str, *, group: bool) -> list[Json]:
    found = resolve(client, RUN, run)
    return list(client.items("/v1/runs", query(group_id=found["group_id"]))) if group else [found]


def _watch(client: "Client", runs: Sequence[Json]) -> list[Json]:
    """The runs when all have ended. Raises CliError, or typer.Exit after Ctrl-C."""
    from coreo_cli.progress import open_view  # noqa: PLC0415  loads rich
    from coreo_cli.watch import RunSeen, Trouble, WatchFailed, watching  # noqa: PLC0415  loads httpx

    now = {run["id"]: run for run in runs}
    try:
        labels = labels_of(runs, names_of(client))
        with open_view(runs, labels) as view, watching(client, runs) as reports:
            for report in reports:
                match report:
                    case RunSeen(run):
                        now[run["id"]] = run
                        view.see(run)
                    case Trouble(problem):
                        view.trouble(problem)
                    case WatchFailed(error):
                        raise error
    except KeyboardInterrupt:
        note("")
        note(f"You no longer watch. {'The run goes' if len(runs) == 1 else 'The runs go'} on.")
        _say_how_to_go_on(runs)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except CliError as error:
        error.lines = (*error.lines, f"The watching ended; the work goes on: coreo run watch {handle(runs)}")
        raise
    return list(now.values())


def _say_how_to_go_on(runs: Sequence[Json]) -> None:
    note(f"  Watch again:  coreo run watch {handle(runs)}")
    note(f"  Cancel:       coreo run cancel {handle(runs)}")
