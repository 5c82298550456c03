"""How deploy runs ended, in words: what came of it, the first cause of a failure, and what to do now."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from coreo_cli.deploy.following import document
from coreo_cli.deploy.preview_words import counts_of, show_preview
from coreo_cli.deploy.words import label, show_drift, show_failure, show_outputs, steps_of
from coreo_cli.layout import state
from coreo_cli.outcome import is_final
from coreo_cli.output import next_steps, write_line, write_words
from coreo_cli.run_words import names_of
from coreo_cli.text import Json, plain
from coreo_cli.words import moment, span

if TYPE_CHECKING:
    from coreo_cli.client import Client


def conclude(client: "Client", runs: Sequence[Json]) -> None:
    """Each run with what it left, then the commands that go on from here."""
    names = names_of(client)
    for run in runs:
        write_words([state(run["state"]), plain(label(run, names)), _words(run)])
        if run["reason"]:
            write_line(f"  {plain(run['reason'])}")
        if run["deploy"]["cancel_refused"]:
            write_line(f"  Not canceled: {plain(run['deploy']['cancel_refused'])}")
        _show_document(client, run)
    next_steps(list(steps_of(runs)))


def _words(run: Json) -> str:
    if run["deploy"]["no_change"]:
        return "no change: there was nothing to do"
    if not is_final(run):
        return (
            run["deploy"]["action"] + " waits" if run["state"] == "AWAITING_APPROVAL" else str(run["deploy"]["action"])
        )
    elapsed = (moment(run["ended_at"]) - moment(run["created_at"])).total_seconds()
    return f"{run['deploy']['action']}, in {span(elapsed)}"


def _show_document(client: "Client", run: Json) -> None:
    action = run["deploy"]["action"]
    if run["state"] in {"FAILED", "ROLLED_BACK", "OUTCOME_UNKNOWN"}:
        if (failure := document(client, run, "failure")) is not None:
            show_failure(failure)
        return
    if action == "preview" and (preview := document(client, run, "preview")) is not None:
        show_preview(preview)
    elif action == "drift" and (drift := document(client, run, "drift")) is not None:
        show_drift(drift)
    elif action == "apply" and run["state"] == "SUCCEEDED":
        if (outputs := document(client, run, "outputs")) is not None and outputs["outputs"]:
            show_outputs(outputs)
    elif run["state"] == "AWAITING_APPROVAL" and (preview := document(client, run, "preview")) is not None:
        write_line(f"  {counts_of(preview['changes'])}; `coreo deploy changes {run['id']}` shows them.")
