"""Follows deploy runs to their ends, or to where people have to decide; and lets whoever watches approve."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import typer

from coreo_cli.deploy.preview_words import show_preview
from coreo_cli.deploy.words import event_line, label
from coreo_cli.errors import (
    EXIT_FINDINGS,
    EXIT_INTERRUPTED,
    EXIT_NOT_SUCCEEDED,
    EXIT_PARTIAL,
    EXIT_UNKNOWN,
    EXIT_WAITING,
    ApiError,
    CliError,
)
from coreo_cli.outcome import is_final
from coreo_cli.output import note
from coreo_cli.run_words import names_of
from coreo_cli.text import Json

if TYPE_CHECKING:
    from coreo_cli.client import Client

EXIT_CODES_HELP: Final = (
    "Exit codes: 0 all runs SUCCEEDED; 1 error; 2 wrong usage; 3 some resources' drift could not be judged; 4 a run "
    "FAILED, was ROLLED_BACK, CANCELED or EXPIRED; 5 drift was found (--fail-on-drift); 8 waits for approval; "
    "9 OUTCOME_UNKNOWN; 130 Ctrl-C. Of several, 9 comes first, then 4, 8, 5, 3."
)
Decide = Callable[[Json], bool]  # of a preview: whether it is approved


def follow(
    client: "Client", runs: Sequence[Json], decide: Decide | None = None, approved: Mapping[str, str] | None = None
) -> list[Json]:
    """The runs when all have ended, or wait for people. `decide` is asked about each that waits.

    `approved`: hashes by run id. The api may show such a run as waiting a moment longer, until it has heard of it.
    Raises CliError, or typer.Exit after Ctrl-C.
    """
    now = {run["id"]: run for run in runs}
    labels = {run["id"]: label(run, names) for names in (names_of(client),) for run in runs}
    approved = dict(approved or {})
    declined: set[str] = set()

    def has_stopped(run: Json) -> bool:
        if is_final(run) or run["state"] == "OUTCOME_UNKNOWN":
            return True
        waits = run["state"] == "AWAITING_APPROVAL"
        return waits and approved.get(run["id"]) != (run["deploy"]["approval"] or {}).get("hash")

    while True:
        _watch(client, now, labels, has_stopped)
        waiting = [run for run in now.values() if run["state"] == "AWAITING_APPROVAL" and run["id"] not in declined]
        if decide is None or not waiting:
            return list(now.values())
        for run in waiting:
            preview = client.get(f"/v1/runs/{run['id']}/preview")
            if not decide(preview) or not approve(client, run["id"], preview["hash"]):
                declined.add(run["id"])
            else:
                approved[run["id"]] = preview["hash"]
        if not approved.keys() - declined:
            return list(now.values())


def approve(client: "Client", run_id: str, preview_hash: str) -> bool:
    """Approves; whether the run goes on now. Raises CliError."""
    answer = client.post(f"/v1/runs/{run_id}/approve", if_match=f'"{preview_hash}"')
    if answer["state"] == "AWAITING_APPROVAL":
        note("Approved. Somebody else has to approve it too.")
        return False
    return True


def ask(preview: Json, *, yes: bool) -> bool:
    """Whether the person at the terminal approves what is shown; with `yes`, without asking. Nobody there: no."""
    show_preview(preview)
    if yes:
        return True
    if not sys.stdin.isatty():
        return False
    return typer.confirm(f"Approve this for {preview['account_id']} {preview['region']}?", err=True)


def _watch(client: "Client", now: dict[str, Json], labels: dict[str, str], has_stopped: Callable[[Json], bool]) -> None:
    from coreo_cli.progress import open_view  # noqa: PLC0415  loads rich
    from coreo_cli.watch import RunSeen, StackSeen, Trouble, WatchFailed, watching  # noqa: PLC0415  loads httpx

    runs = list(now.values())
    try:
        with open_view(runs, labels) as view, watching(client, runs, has_stopped) as reports:
            for report in reports:
                match report:
                    case RunSeen(run):
                        now[run["id"]] = run
                        view.see(run)
                    case StackSeen(run_id, event):
                        view.hear(run_id, event_line(event))
                    case Trouble(problem):
                        view.trouble(problem)
                    case WatchFailed(error):
                        raise error
    except KeyboardInterrupt:
        note("")
        note("You no longer watch; the work goes on. `coreo deploy status RUN --watch` watches again:")
        for run_id in now:
            note(f"  coreo deploy status {run_id} --watch")
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except CliError as error:
        error.lines = (*error.lines, "The watching ended; the work goes on: coreo deploy status RUN --watch")
        raise


def exit_code(runs: Iterable[Json], *, fail_on_drift: bool = False) -> int:
    """What a command's exit code says about its runs."""
    ended = list(runs)
    states = {run["state"] for run in ended}
    if "OUTCOME_UNKNOWN" in states:
        return EXIT_UNKNOWN
    if states - {"SUCCEEDED", "PARTIAL", "AWAITING_APPROVAL"}:
        return EXIT_NOT_SUCCEEDED
    if "AWAITING_APPROVAL" in states:
        return EXIT_WAITING
    if fail_on_drift and any(run["counts"]["by_status"].get("FAIL") for run in ended):
        return EXIT_FINDINGS
    return EXIT_PARTIAL if "PARTIAL" in states else 0


def document(client: "Client", run: Json, name: str) -> Json | None:
    """A document of a run; None when there is none."""
    if name not in run["deploy"]["documents"]:
        return None
    try:
        return client.get(f"/v1/runs/{run['id']}/{name}")
    except ApiError as error:
        if error.code == "no_document":
            return None
        raise
