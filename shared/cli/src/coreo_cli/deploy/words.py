"""Deploy runs in words: what changed, why not, whose turn it is, and what to check."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from coreo_cli.layout import Column, Styled, state
from coreo_cli.output import note, show_details, show_listing, write_line, write_words
from coreo_cli.text import Json, plain
from coreo_cli.words import ago, local, plural


def label(run: Json, names: dict[str, str]) -> str:
    """What to call a deploy run: where it works."""
    account = names.get(run["cloud_account_id"]) or run["cloud_account_id"]
    return f"{account} {run['deploy']['region']}"


def show_failure(failure: Json) -> None:
    """The first cause, then what followed, then what to do."""
    write_line(f"  {plain(failure['message'])}")
    if failure["denied_action"]:
        write_line(f"  Missing permission: {plain(failure['denied_action'])}")
    if failure["first"]:
        write_line(f"  First: {_event_words(failure['first'])}")
    for event in failure["others"][:3]:
        write_line(f"  then   {_event_words(event)}")
    for advice in failure["advice"]:
        write_line(f"  - {plain(advice)}")


def _event_words(event: Json) -> str:
    reason = f": {event['reason']}" if event["reason"] else ""
    return plain(f"{event['logical_id']} ({event['type']}) {event['status']}{reason}")


def event_line(event: Json) -> str:
    """A stack event on a line."""
    nested = f"{event['stack_name']}/" if event["stack_name"] else ""
    reason = f"  {event['reason']}" if event["reason"] else ""
    return plain(f"{event['status']:<28} {nested}{event['logical_id']} ({event['type']}){reason}")


def show_events(events: Sequence[Json]) -> None:
    """Stack events, oldest first."""
    show_listing(
        [Column("AT"), Column("STATUS"), Column("RESOURCE", flexible=True), Column("TYPE", flexible=True),
         Column("REASON", flexible=True)],
        [
            [
                local(event["at"]),
                _event_status(event["status"]),
                event["logical_id"],
                event["type"],
                event["reason"] or "",
            ]
            for event in events
        ],
        empty="CloudFormation has said nothing yet.",
    )  # fmt: skip


def _event_status(value: str) -> Styled:
    if value.endswith("_FAILED"):
        return Styled(value, "bold red")
    if "ROLLBACK" in value:
        return Styled(value, "magenta")
    return Styled(value, "green" if value.endswith("_COMPLETE") else "cyan")


def show_outputs(outputs: Json) -> None:
    """A stack's outputs."""
    show_listing(
        [Column("OUTPUT"), Column("VALUE", flexible=True), Column("EXPORT"), Column("DESCRIPTION", flexible=True)],
        [
            [each["key"], each["value"], each["export_name"] or "-", each["description"] or ""]
            for each in outputs["outputs"]
        ],
        empty="The stack has no outputs.",
    )


_DRIFTS: Final = {
    "IN_SYNC": "green",
    "MODIFIED": "red",
    "DELETED": "bold red",
    "NOT_CHECKED": "dim",
    "UNKNOWN": "yellow",
}


def show_drift(drift: Json) -> None:
    """Each resource that is not as its template says, and how it differs."""
    resources = drift["resources"]
    in_sync = sum(each["status"] == "IN_SYNC" for each in resources)
    write_words(
        [Styled(drift["status"], "green" if drift["status"] == "IN_SYNC" else "bold red"), plain(drift["stack_arn"])]
    )
    others = [each for each in resources if each["status"] != "IN_SYNC"]
    rows = [
        [
            Styled(each["status"], _DRIFTS.get(each["status"], "")),
            each["logical_id"],
            each["type"],
            "; ".join(_difference(difference) for difference in each["differences"]) or each["reason"] or "",
        ]
        for each in others
    ]
    columns = [Column("STATUS"), Column("RESOURCE"), Column("TYPE", flexible=True), Column("DIFFERENCE", flexible=True)]
    show_listing(columns, rows, empty="All that could be compared is as the template says.")
    note(f"{in_sync} of {plural(len(resources), 'resource')} {'is' if len(resources) == 1 else 'are'} in sync.")


def _difference(difference: Json) -> str:
    if difference["type"] == "ADD":
        return f"{difference['path']}: {difference['actual']} is there beside the template"
    if difference["type"] == "REMOVE":
        return f"{difference['path']}: {difference['expected']} is gone"
    return f"{difference['path']}: {difference['expected']} -> {difference['actual']}"


def show_queue(queue: Json, plans: dict[str, str]) -> None:
    """A stack, and the runs that are about it."""
    target = queue["target"]
    write_line(plain(f"{target['stack_name']} in {target['account_id']} {target['region']}"))
    show_listing(
        [
            Column("", right=True),
            Column("RUN"),
            Column("ACTION"),
            Column("STATE"),
            Column("PLAN", flexible=True),
            Column("SINCE"),
            Column("WAITS FOR", flexible=True),
        ],
        [
            [
                str(number),
                each["run_id"],
                each["action"],
                state(each["state"]),
                plans.get(each["plan_id"], "(removed)"),
                ago(each["created_at"]),
                each["waits_for"] or "-",
            ]
            for number, each in enumerate(queue["runs"], start=1)
        ],
        empty="Nobody waits for this stack.",
    )


def show_outcome(page: Json) -> None:
    """What to check when nobody can say what became of a run, and what to do then."""
    show_details(
        page["run_id"],
        [
            ("state", state(page["state"])),
            ("reason", page["reason"]),
            ("action", page["action"]),
            ("stack", f"{page['stack_name']} in {page['account_id']} {page['region']}"),
            ("stack ARN", page["stack_arn"]),
            ("change set", page["change_set_arn"]),
            ("token", page["token"]),
            ("console", page["console_url"]),
        ],
    )
    for advice in page["advice"]:
        write_line(f"- {plain(advice)}")
    for number, check in enumerate(page["checks"], start=1):
        write_line("")
        write_line(f"{number}. {plain(check['question'])}")
        write_line(f"   {plain(check['command'])}")
    write_line("")
    for verdict in page["verdicts"]:
        write_line(f"If: {plain(verdict['seen'])}")
        write_line(f"    {_as_command(plain(verdict['do']), page['run_id'])}")


def _as_command(text: str, run_id: str) -> str:
    for outcome in ("SUCCEEDED", "ROLLED_BACK", "FAILED"):
        request = f'POST /v1/runs/{run_id}/settle {{"outcome": "{outcome}"}}'
        text = text.replace(request, f"coreo deploy settle {run_id} --outcome {outcome} --reason TEXT")
    return text.replace(f"POST /v1/runs/{run_id}/reconcile", f"coreo deploy reconcile {run_id}")


def steps_of(runs: Iterable[Json]) -> Iterator[str]:
    """The commands that go on from here."""
    for run in runs:
        if run["state"] == "AWAITING_APPROVAL":
            yield f"coreo deploy approve {run['id']}"
        elif run["state"] == "OUTCOME_UNKNOWN":
            yield f"coreo deploy outcome {run['id']}   (what to check)"
        elif run["state"] in {"FAILED", "ROLLED_BACK"}:
            yield f"coreo deploy events {run['id']}"
        elif run["state"] == "SUCCEEDED" and "outputs" in run["deploy"]["documents"]:
            yield f"coreo deploy outputs {run['id']}"
