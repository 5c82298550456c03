"""`coreo deploy status`, `changes`, `events`, `outputs` and `queue`: what there is to see."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from coreo_cli.commands.deploy.options import DeployRunArgument, WatchOption, WhatArgument
from coreo_cli.deploy.ends import conclude
from coreo_cli.deploy.following import EXIT_CODES_HELP, exit_code, follow
from coreo_cli.deploy.plans import plan_of
from coreo_cli.deploy.preview_words import show_preview
from coreo_cli.deploy.project import find
from coreo_cli.deploy.words import label, show_events, show_outputs, show_queue
from coreo_cli.errors import ApiError, CliError, UnreachableError
from coreo_cli.layout import Column, state
from coreo_cli.options import examples
from coreo_cli.output import Output, OutputOption, note, show_listing, write_json, write_line
from coreo_cli.resolve import PLAN, RUN, resolve
from coreo_cli.run_words import names_of
from coreo_cli.session import connect, query
from coreo_cli.text import Json, plain
from coreo_cli.words import ago

if TYPE_CHECKING:
    from coreo_cli.client import Client

STATUS_EXAMPLES = examples(
    "coreo deploy status",
    "coreo deploy status network",
    "coreo deploy status 0199c3f2-8a1b --watch",
    more=EXIT_CODES_HELP,
)
QUEUE_EXAMPLES = examples("coreo deploy queue", "coreo deploy queue network --first 0199c3f2-8a1b")
_NEWEST = 200


def status(
    what: Annotated[
        str, typer.Argument(metavar="DIR|PLAN|RUN", help="A directory with coreo.yaml, a deploy plan, or a run.")
    ] = ".",
    watch: WatchOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show how a run stands and what it left; of a plan, the newest run of each of its stacks."""
    with connect() as client:
        runs = _runs(client, what)
        if watch:
            runs = follow(client, runs)
        if output is Output.JSON:
            write_json(runs)
        elif len(runs) == 1:
            conclude(client, runs)
        else:
            _show(runs, names_of(client))
    if watch:
        raise typer.Exit(exit_code(runs))


def changes(run: DeployRunArgument, output: OutputOption = Output.TABLE) -> None:
    """Show a run's preview: the table of what would change, or did."""
    with connect() as client:
        preview = client.get(f"/v1/runs/{resolve(client, RUN, run)['id']}/preview")
    if output is Output.JSON:
        write_json(preview)
        return
    show_preview(preview)
    note(f"Hash: {preview['hash']}")


def events(
    run: DeployRunArgument,
    failed: Annotated[bool, typer.Option("--failed", help="Only what failed; the first is the cause.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show what CloudFormation said while a run changed its stack, oldest first."""
    with connect() as client:
        found = resolve(client, RUN, run)
        told: list[Json] = []
        while True:
            parameters = query(after=str(len(told)), limit="1000")
            page = client.get(f"/v1/runs/{found['id']}/stack-events", parameters)
            told += page["events"]
            if not page["events"] or len(told) >= page["total"]:
                break
    if failed:
        told = [event for event in told if event["status"].endswith("_FAILED")]
    if output is Output.JSON:
        write_json(told)
    else:
        show_events(told)


def outputs(what: WhatArgument = ".", output: OutputOption = Output.TABLE) -> None:
    """Show the outputs of a plan's stacks, as the newest apply left them; or of one run."""
    with connect() as client:
        runs = _runs(client, what, _has_outputs)
        found = {run["id"]: client.get(f"/v1/runs/{run['id']}/outputs") for run in runs if _has_outputs(run)}
        names = names_of(client) if output is Output.TABLE else {}
    if output is Output.JSON:
        write_json(
            [{"run_id": run["id"], "deploy": run["deploy"], **found[run["id"]]} for run in runs if run["id"] in found]
        )
        return
    if not found:
        note("No apply of it has left outputs.")
    for run in runs:
        if run["id"] in found:
            write_line(plain(label(run, names)))
            show_outputs(found[run["id"]])


def queue(
    stack: Annotated[
        str | None, typer.Argument(metavar="STACK", help="Only of this stack.", show_default=False)
    ] = None,
    first: Annotated[
        str | None,
        typer.Option("--first", metavar="RUN", help="Let this waiting run go before the others.", show_default=False),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show which runs wait for which stack, and for what. One run at a time changes a stack."""
    with connect() as client:
        if first is not None:
            _move_to_front(client, resolve(client, RUN, first))
        targets = list(client.items("/v1/deploy-targets", query(busy="true", stack_name=stack)))
        if stack is not None and not targets and not any(client.items("/v1/deploy-targets", query(stack_name=stack))):
            raise CliError(f"No run was ever about a stack {plain(stack)!r}.", next_step="coreo deploy queue")
        queues = [client.get(f"/v1/deploy-targets/{target['id']}/queue") for target in targets]
        plans = {each["id"]: each["name"] for each in client.items(PLAN.path)} if output is Output.TABLE else {}
    if output is Output.JSON:
        write_json(queues)
        return
    for each in queues:
        show_queue(each, plans)
    if not queues:
        note("Nothing is under way, and nobody waits.")


def _move_to_front(client: "Client", run: Json) -> None:
    if not run["deploy"]:
        raise CliError("This run is of an audit plan; audits wait for nobody.")
    path = f"/v1/deploy-targets/{run['deploy']['target_id']}/queue"
    movable = [each["run_id"] for each in client.get(path)["runs"] if each["movable"]]
    if run["id"] not in movable:
        raise CliError("This run does not wait for its turn any more.", next_step=f"coreo deploy status {run['id']}")
    client.post(f"{path}/reorder", {"run_ids": [run["id"], *(each for each in movable if each != run["id"])]})


def _has_outputs(run: Json) -> bool:
    return "outputs" in run["deploy"]["documents"]


def _runs(client: "Client", what: str, is_wanted: Callable[[Json], bool] | None = None) -> list[Json]:
    """One run, or the newest of each stack of a plan; of those that are wanted."""
    if find(what) is None and (run := _run(client, what)) is not None:
        return [_deploy(run)]
    plan = plan_of(client, what, bring_up_to_date=False)
    newest: dict[str, Json] = {}
    for run in client.items("/v1/runs", query(plan_id=plan["id"]), limit=_NEWEST):
        if is_wanted is None or is_wanted(run):
            newest.setdefault(run["deploy"]["target_id"], run)
    if not newest and is_wanted is None:
        raise CliError(f"The plan {plain(plan['name'])!r} has no runs yet.", next_step="coreo deploy preview --watch")
    return list(newest.values())


def _run(client: "Client", what: str) -> Json | None:
    """None for what is no run: then it is a plan, or nothing."""
    try:
        return resolve(client, RUN, what)
    except (ApiError, UnreachableError):
        raise
    except CliError:
        return None


def _deploy(run: Json) -> Json:
    if not run["deploy"]:
        raise CliError("This run is of an audit plan.", next_step=f"coreo run show {run['id']}")
    return run


def _show(runs: list[Json], names: dict[str, str]) -> None:
    show_listing(
        [
            Column("RUN"),
            Column("STACK", flexible=True),
            Column("WHERE", flexible=True),
            Column("ACTION"),
            Column("STATE"),
            Column("STARTED"),
            Column("REASON", flexible=True),
        ],
        [
            [
                run["id"],
                run["deploy"]["stack_name"],
                label(run, names),
                run["deploy"]["action"],
                state(run["state"]),
                ago(run["created_at"]),
                run["reason"] or "-",
            ]
            for run in runs
        ],
        empty="There are no runs.",
    )
