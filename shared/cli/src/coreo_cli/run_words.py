"""Runs in words: how they stand, how they ended, what to do now."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from coreo_cli.layout import Cell, Column, severity, state
from coreo_cli.outcome import is_final
from coreo_cli.output import next_steps, note, show_details, show_listing, write_line, write_words
from coreo_cli.resolve import ACCOUNT, PLAN, short_ids
from coreo_cli.text import Json, plain
from coreo_cli.words import ago, failed_by_severity, failed_words, local, moment, not_evaluated, plural, span

if TYPE_CHECKING:
    from coreo_cli.client import Client


def names_of(client: "Client") -> dict[str, str]:
    """Names of all plans and cloud accounts, by id."""
    return {each["id"]: each["name"] for path in (PLAN.path, ACCOUNT.path) for each in client.items(path)}


def labels_of(runs: Sequence[Json], names: dict[str, str]) -> dict[str, str]:
    """What to call each run while all are of one plan: the cloud account that it works in."""
    return {run["id"]: names.get(run["cloud_account_id"]) or str(run["cloud_account_id"]) for run in runs}


def handle(runs: Sequence[Json]) -> str:
    """What to write after `coreo run watch` or `cancel` for these runs, which were started together."""
    return f"{runs[0]['id']}{' --group' if len(runs) > 1 else ''}"


def show_started(plan: Json, runs: Sequence[Json]) -> None:
    write_line(f"Started {plan['name']!r}: {plural(len(runs), 'run')}.")
    for run in runs:
        write_line(f"  {run['id']}  {plain(run['state'])}")
    next_steps([f"coreo run watch {handle(runs)}"])


_CHANGES = (
    ("new", "new"),
    ("changed", "changed: another status than before"),
    ("unchanged", "unchanged"),
    ("resolved", "resolved: failed before, and do not any more"),
    ("not_seen", "not seen: known before, and this run says nothing of them"),
)


def show_changes(view: Json) -> None:
    """What became of findings since the run before."""
    counts = view["counts"]
    if counts is None:
        note("The run has not ended, or was not compared: nothing is known yet. Try again in some seconds.")
        return
    before = view["previous_run_id"]
    note(f"Run {view['run_id']}, beside {f'run {before}' if before else 'none before it'}:")
    for name, words in _CHANGES:
        write_line(f"{counts[name]:>8}  {words}")
    next_steps(
        [f"coreo findings {view['run_id']} --change NEW --status FAIL", f"coreo findings {view['run_id']} --resolved"]
    )


def conclude(client: "Client", runs: Sequence[Json]) -> None:
    """How each run ended, and what to do now."""
    labels = labels_of(runs, names_of(client))
    for run in runs:
        by_status = run["counts"]["by_status"]
        words = [f"{failed_words(run['counts'])}{'' if failed_by_severity(run['counts']) == [] else ' failed'}"]
        words.append(f"{by_status.get('PASS', 0)} passed")
        if unknown := not_evaluated(run["counts"]):
            words.append(f"{unknown} not evaluated")
        elapsed = (moment(run["ended_at"]) - moment(run["created_at"])).total_seconds()
        write_words([state(run["state"]), labels[run["id"]], f"{'; '.join(words)}, in {span(elapsed)}"])
        if run["reason"]:
            write_line(f"  {plain(run['reason'])}")
    next_steps(_after(runs))


def _after(runs: Sequence[Json]) -> list[str]:
    short = short_ids([run["id"] for run in runs])
    steps = [f"coreo findings {short[run['id']]}" for run in runs if run["state"] in {"SUCCEEDED", "PARTIAL"}]
    partial = next((run for run in runs if run["state"] == "PARTIAL"), None)
    if partial is not None:
        steps.append(
            f"coreo findings {short[partial['id']]} --status NOT_EVALUATED   (what could not be read, and why)"
        )
    others = [run for run in runs if run["state"] not in {"SUCCEEDED", "PARTIAL"}]
    return [*steps, *(f"coreo run show {short[run['id']]}" for run in others)]


def show_run(run: Json, names: dict[str, str]) -> None:
    ended = run["ended_at"]
    elapsed = "" if ended is None else f" (after {span((moment(ended) - moment(run['created_at'])).total_seconds())})"
    total = "?" if run["units_total"] is None else run["units_total"]
    by_status = run["counts"]["by_status"]
    others = ", ".join(f"{count} {status}" for status, count in by_status.items() if status != "FAIL")
    show_details(
        run["id"],
        [
            ("state", state(run["state"])),
            ("reason", run["reason"]),
            ("cancel", "asked for" if run["cancel_requested"] else None),
            ("plan", f"{names.get(run['plan_id'], run['plan_id'])}, revision {run['plan_revision']}"),
            ("cloud account", names.get(run["cloud_account_id"], run["cloud_account_id"])),
            ("started", f"{local(run['created_at'])} ({run['trigger']})"),
            ("ended", None if ended is None else f"{local(ended)}{elapsed}"),
            ("attempt", str(run["attempt"]) if run["attempt"] > 1 else None),
            ("units", f"{run['units_done']} of {total}"),
            ("failed", _failed(run)),
            ("results", _gone(run)),
            ("backup", None if run.get("backup", True) else "never: so was said when it started"),
            ("other findings", others or None),
            ("group", run["group_id"]),
        ],
    )
    if run.get("results_gone") is None:
        next_steps([f"coreo findings {run['id']}"] if is_final(run) else [f"coreo run watch {run['id']}"])


def _gone(run: Json) -> Cell | None:
    """What became of its findings; None while they can be read."""
    gone = run.get("results_gone")
    if gone is None:
        return None
    what = "expired" if gone["why"] == "expired" else "deleted"
    return f"{what} on {local(gone['at'])}" + ("" if gone["by"] is None else f", as {plain(gone['by'])} asked")


def _failed(run: Json) -> Cell:
    failed = failed_by_severity(run["counts"])
    return severity(failed[0][0], failed_words(run["counts"])) if failed else "-"


def show_runs(runs: Sequence[Json], names: dict[str, str]) -> None:
    short = short_ids([run["id"] for run in runs])
    show_listing(
        [
            Column("RUN"),
            Column("PLAN", flexible=True),
            Column("ACCOUNT", flexible=True),
            Column("STATE"),
            Column("STARTED"),
            Column("UNITS", right=True),
            Column("FAILED", flexible=True),
            Column("NOT EVALUATED", right=True),
        ],
        [
            [
                short[run["id"]],
                names.get(run["plan_id"], "(removed)"),
                names.get(run["cloud_account_id"], "(removed)"),
                state(run["state"]),
                ago(run["created_at"]),
                f"{run['units_done']}/{'?' if run['units_total'] is None else run['units_total']}",
                _failed(run),
                str(not_evaluated(run["counts"]) or "-"),
            ]
            for run in runs
        ],
        empty="There are no such runs. Start one: coreo run start PLAN --watch",
    )
