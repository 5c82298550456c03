"""`coreo compliance` and `coreo control …`."""

from enum import StrEnum
from typing import Annotated, Final
from urllib.parse import quote

import typer

from coreo_cli.errors import UsageMistakeError
from coreo_cli.layout import Cell, Column, Styled
from coreo_cli.options import AccountArgument, LatestRunArgument, YesOption, confirm, examples
from coreo_cli.output import Output, OutputOption, next_steps, note, show_listing, write_json, write_line
from coreo_cli.resolve import ACCOUNT, RUN, resolve
from coreo_cli.session import connect, query
from coreo_cli.text import Json, plain
from coreo_cli.words import ago, expiry, local, plural

app = typer.Typer(no_args_is_help=True, help="Controls that no rule can judge: a person's answers.")
EXAMPLES = examples(
    "coreo compliance --framework cis-aws-5.0",
    "coreo compliance 0199c3f2-8a1b --framework cis-aws-5.0 --status FAIL",
    more="Without --framework: which there are. What is not known counts neither as passed nor as failed.",
)
_COLOURS: Final = {
    "PASS": "green",
    "MANUAL_DONE": "green",
    "FAIL": "red",
    "NOT_EVALUATED": "yellow",
    "MANUAL_OPEN": "yellow",
}
_WORDS: Final = {
    "PASS": "pass",
    "FAIL": "fail",
    "NOT_EVALUATED": "not known",
    "NOT_APPLICABLE": "nothing to judge",
    "NOT_RUN": "not in this run",
    "MANUAL_OPEN": "to be answered",
    "MANUAL_DONE": "answered: met",
    "NOT_COVERED": "no rule",
}
FrameworkArgument = Annotated[
    str, typer.Argument(metavar="FRAMEWORK", help="A framework's id: see coreo compliance.", show_default=False)
]
ControlArgument = Annotated[
    str, typer.Argument(metavar="CONTROL", help="A control's id, such as 1.1.", show_default=False)
]


class StatusChoice(StrEnum):
    """What may be known of a control."""

    PASS = "PASS"
    FAIL = "FAIL"
    NOT_EVALUATED = "NOT_EVALUATED"
    NOT_APPLICABLE = "NOT_APPLICABLE"
    NOT_RUN = "NOT_RUN"
    MANUAL_OPEN = "MANUAL_OPEN"
    MANUAL_DONE = "MANUAL_DONE"
    NOT_COVERED = "NOT_COVERED"


def compliance(
    *,
    run: LatestRunArgument = "latest",
    framework: Annotated[
        str | None, typer.Option("--framework", metavar="ID", help="Against which framework.", show_default=False)
    ] = None,
    status: Annotated[
        list[StatusChoice] | None,
        typer.Option(
            "--status",
            case_sensitive=False,
            metavar="STATUS",
            help="Only controls of this status, such as FAIL or MANUAL_OPEN. May be repeated.",
            show_default=False,
        ),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Show how a run stands against a framework, control by control."""
    with connect() as client:
        if framework is None:
            _show_frameworks(list(client.items("/v1/frameworks")), output)
            return
        found = resolve(client, RUN, run)
        view = client.get(f"/v1/runs/{found['id']}/compliance", query(framework=framework))
    shown = [control for control in view["controls"] if not status or control["status"] in status]
    if output is Output.JSON:
        write_json(view | {"controls": shown})
        return
    show_listing(
        [Column("CONTROL"), Column("STATUS"), Column("FAILED", right=True), Column("WHAT IT ASKS", flexible=True)],
        [[control["id"], _status(control["status"]), _failed(control), _title(control)] for control in shown],
        empty="There are no such controls.",
    )
    _sum_up(view)


@app.command(
    epilog=examples(
        "coreo control answer production cis-aws-5.0 1.1 --met --text 'Contacts were looked at.' --expires 365d",
        "coreo control answer production cis-aws-5.0 1.18 --not-met --text 'Due in May.'",
    )
)
def answer(
    *,
    account: AccountArgument,
    framework: FrameworkArgument,
    control: ControlArgument,
    met: Annotated[bool, typer.Option("--met/--not-met", help="Whether what the control asks for holds.")],
    text: Annotated[str, typer.Option(metavar="TEXT", help="Why.")],
    evidence: Annotated[str | None, typer.Option(metavar="URL", help="Where it can be seen: an https address.")] = None,
    expires: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help="A span from now (365d) or a time; it has to be answered anew then."),
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Answer a control that no rule can judge, in the place of the answer before."""
    body: Json = {"met": met, "text": text, "evidence_url": evidence}
    if expires is not None:
        try:
            body["expires_at"] = expiry(expires)
        except ValueError as error:
            raise UsageMistakeError(f"--expires: {error}.") from None
    with connect() as client:
        made = client.put(_path(resolve(client, ACCOUNT, account), framework, control), body)
    if output is Output.JSON:
        write_json(made)
        return
    until = f", until {local(made['expires_at'])}" if made["expires_at"] else ""
    write_line(f"{made['framework']} {made['control']}: {'met' if made['met'] else 'not met'}{until}.")


@app.command("list", epilog=examples("coreo control list production --framework cis-aws-5.0"))
def list_answers(
    account: AccountArgument,
    framework: Annotated[str | None, typer.Option(metavar="ID", help="Only those of this framework.")] = None,
    replaced: Annotated[bool, typer.Option("--replaced", help="Also those that newer ones took the place of.")] = False,
    output: OutputOption = Output.TABLE,
) -> None:
    """List the answers for a cloud account, newest first."""
    with connect() as client:
        account_id = resolve(client, ACCOUNT, account)["id"]
        wanted = query(framework=framework, replaced="true" if replaced else None)
        answers = list(client.items(f"/v1/cloud-accounts/{account_id}/controls", wanted))
    if output is Output.JSON:
        write_json(answers)
        return
    show_listing(
        [
            Column("FRAMEWORK"),
            Column("CONTROL"),
            Column("ANSWER"),
            Column("BY"),
            Column("WHEN"),
            Column("EXPIRES"),
            Column("WHY", flexible=True),
        ],
        [
            [
                each["framework"],
                each["control"],
                _answer_word(each),
                each["by_name"],
                ago(each["answered_at"]),
                "-" if each["expires_at"] is None else ago(each["expires_at"]),
                each["text"],
            ]
            for each in answers
        ],
        empty="Nothing was answered yet. What has to be: coreo compliance --framework ID --status MANUAL_OPEN",
    )


@app.command()
def remove(
    account: AccountArgument, framework: FrameworkArgument, control: ControlArgument, yes: YesOption = False
) -> None:
    """Take an answer back. It stays in the list of those replaced."""
    confirm(f"Take back the answer to {framework} {control}?", yes=yes)
    with connect() as client:
        client.delete(_path(resolve(client, ACCOUNT, account), framework, control))
    note("It is taken back.")


def _path(account: Json, framework: str, control: str) -> str:
    return f"/v1/cloud-accounts/{account['id']}/controls/{quote(framework, safe='')}/{quote(control, safe='')}"


def _show_frameworks(frameworks: list[Json], output: Output) -> None:
    if output is Output.JSON:
        write_json(frameworks)
        return
    show_listing(
        [Column("FRAMEWORK"), Column("CONTROLS", right=True), Column("TO ANSWER", right=True), Column("TITLE")],
        [[each["id"], str(each["controls"]), str(each["manual"]), each["title"]] for each in frameworks],
        empty="There are no frameworks.",
    )
    next_steps(["coreo compliance --framework ID"])


def _status(status: str) -> Cell:
    return Styled(_WORDS.get(status, status), _COLOURS.get(status, "dim"))


def _failed(control: Json) -> str:
    failed = sum(counts["failed"] for counts in control["rules"].values() if counts is not None)
    return str(failed) if failed else "-"


def _title(control: Json) -> str:
    answered = control["answer"]
    if answered is None:
        return str(control["title"])
    return f"{control['title']} ({answered['by_name']}: {answered['text']})"


def _answer_word(each: Json) -> Cell:
    if each["replaced_at"] is not None:
        return Styled("replaced", "dim")
    return Styled("met", "green") if each["met"] else Styled("not met", "red")


def _sum_up(view: Json) -> None:
    rate = "It is not known of any control" if view["pass_rate"] is None else f"{100 * view['pass_rate']:.0f} % pass"
    told = ", ".join(f"{count} {_WORDS.get(status, status)}" for status, count in view["by_status"].items() if count)
    note("")
    note(f"{plain(view['title'])}: {rate}, of {plural(len(view['controls']), 'control')}: {told}.")
    if not view["complete"]:
        note("The run has not read everything: there may be more that fails.")
