"""`coreo deploy approve`, `reject`, `outcome`, `reconcile` and `settle`: what people decide."""

import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from coreo_cli.commands.deploy.options import DeployRunArgument, ReasonOption, WatchOption
from coreo_cli.deploy import following
from coreo_cli.deploy.ends import conclude
from coreo_cli.deploy.following import EXIT_CODES_HELP, ask, exit_code, follow
from coreo_cli.deploy.words import show_outcome
from coreo_cli.errors import CliError, UsageMistakeError
from coreo_cli.options import YesOption, examples
from coreo_cli.output import Output, OutputOption, next_steps, note, write_json, write_line
from coreo_cli.resolve import RUN, resolve
from coreo_cli.session import connect
from coreo_cli.text import Json, plain

if TYPE_CHECKING:
    from coreo_cli.client import Client

APPROVE_EXAMPLES = examples(
    "coreo deploy approve 0199c3f2-8a1b --watch", "coreo deploy approve 0199c3f2-8a1b --hash HASH", more=EXIT_CODES_HELP
)
SETTLE_EXAMPLES = examples(
    "coreo deploy settle 0199c3f2-8a1b --outcome SUCCEEDED --reason 'The stack is UPDATE_COMPLETE since 12:03.'"
)


class Settled(StrEnum):
    """How a run of unknown outcome ended."""

    SUCCEEDED = "SUCCEEDED"
    ROLLED_BACK = "ROLLED_BACK"
    FAILED = "FAILED"


def approve(
    run: DeployRunArgument,
    yes: YesOption = False,
    hash_: Annotated[
        str | None,
        typer.Option("--hash", metavar="HASH", help="Approve only this preview, as seen before.", show_default=False),
    ] = None,
    watch: WatchOption = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show a run's preview, and approve exactly that. Takes a token with the scope approve."""
    # JSON goes to a program: the preview that people are asked about would stand before it.
    if not (yes or hash_) and (output is Output.JSON or not sys.stdin.isatty()):
        raise UsageMistakeError(
            "Nobody is there to be asked.", next_step="Give --yes, or --hash HASH of the preview that you have seen."
        )
    with connect() as client:
        found = _deploy_run(client, run)
        preview = client.get(f"/v1/runs/{found['id']}/preview")
        if hash_ is not None and hash_ != preview["hash"]:
            raise CliError(
                "The preview is another one than you have seen.",
                next_step=f"Look again: coreo deploy changes {found['id']}",
            )
        agreed = True if output is Output.JSON and (yes or hash_) else ask(preview, yes=yes or hash_ is not None)
        if not agreed:
            raise typer.Abort
        goes_on = following.approve(client, found["id"], preview["hash"])
        runs = [found]
        if watch and goes_on:
            runs = follow(client, [found | {"state": "QUEUED"}], approved={found["id"]: preview["hash"]})
        elif not watch:
            runs = [client.get(f"/v1/runs/{found['id']}")]
        if output is Output.JSON:
            write_json(runs[0])
        elif watch and goes_on:
            conclude(client, runs)
        else:
            write_line(f"Approved {found['id']}.")
            next_steps([f"coreo deploy status {found['id']} --watch"])
    if watch and goes_on:
        raise typer.Exit(exit_code(runs))


def reject(run: DeployRunArgument, reason: ReasonOption, output: OutputOption = Output.TABLE) -> None:
    """End a run that waits for approval. Takes a token with the scope approve."""
    _tell(run, "reject", {"reason": reason}, output, "Rejected")


def outcome(run: DeployRunArgument, output: OutputOption = Output.TABLE) -> None:
    """Say what to check when nobody knows what became of a run (OUTCOME_UNKNOWN), and what to do then."""
    with connect() as client:
        page = client.get(f"/v1/runs/{_deploy_run(client, run)['id']}/outcome")
    if output is Output.JSON:
        write_json(page)
    else:
        show_outcome(page)


def reconcile(run: DeployRunArgument, output: OutputOption = Output.TABLE) -> None:
    """Have a worker look again what became of a run whose outcome is unknown. It changes nothing."""
    _tell(run, "reconcile", None, output, "Looking again at")


def settle(
    run: DeployRunArgument,
    outcome_: Annotated[
        Settled, typer.Option("--outcome", case_sensitive=False, help="How it ended, as you have seen in AWS.")
    ],
    reason: ReasonOption,
    output: OutputOption = Output.TABLE,
) -> None:
    """Say how a run ended whose outcome is unknown: its stack is free then. Takes a token with the scope approve."""
    _tell(run, "settle", {"outcome": outcome_.value, "reason": reason}, output, "Settled")


def _tell(run: str, word: str, body: Json | None, output: Output, done: str) -> None:
    with connect() as client:
        found = _deploy_run(client, run)
        answer = client.post(f"/v1/runs/{found['id']}/{word}", body)
    if output is Output.JSON:
        write_json(answer)
        return
    write_line(f"{done} {found['id']}: {plain(answer['state'])}.")
    if answer["reason"]:
        note(plain(answer["reason"]))


def _deploy_run(client: "Client", run: str) -> Json:
    found = resolve(client, RUN, run)
    if not found["deploy"]:
        raise CliError("This run is of an audit plan.", next_step=f"coreo run show {found['id']}")
    return found
