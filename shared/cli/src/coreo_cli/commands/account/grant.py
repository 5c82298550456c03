"""`coreo account grant` and `policy`: texts that make a role for Coreo."""

from pathlib import Path
from typing import Annotated

import typer

from coreo_cli.account_words import word
from coreo_cli.commands.account.options import ActionsOption, LevelOption, PlansOption, RuleSetsOption, RulesOption
from coreo_cli.errors import CliError, UsageMistakeError
from coreo_cli.grants import Choice, Format, GrantWish, Level, explain, set_role_command, text_of
from coreo_cli.options import AccountArgument
from coreo_cli.output import Output, OutputOption, next_steps, note, show_details, write_json, write_text
from coreo_cli.resolve import ACCOUNT, resolve
from coreo_cli.session import connect
from coreo_cli.text import Json


def grant(
    *,
    account: AccountArgument,
    level: LevelOption = None,
    plan: PlansOption = None,
    rule_set: RuleSetsOption = None,
    rule: RulesOption = None,
    action: ActionsOption = None,
    role_name: Annotated[
        str | None, typer.Option("--role-name", metavar="NAME", help="The role's name; else CoreoAudit.")
    ] = None,
    form: Annotated[
        Format | None,
        typer.Option(
            "--format",
            help="A template, a script or a policy, as it is, on standard output. When left out: the ways there are.",
            show_default=False,
        ),
    ] = None,
    output_file: Annotated[
        Path | None, typer.Option("--output-file", metavar="FILE", help="Write it to this file.", dir_okay=False)
    ] = None,
    output: OutputOption = Output.TABLE,
) -> None:
    """Write what makes a role: a template, commands, policies. Changes nothing."""
    if output_file is not None and form is None:
        raise UsageMistakeError("--output-file needs --format.", next_step="Add --format cloudformation, or another.")
    wish = GrantWish.of(level, Choice(plan or [], rule_set or [], rule or []), action, role_name)
    with connect() as client:
        found = resolve(client, ACCOUNT, account)
        granted = wish.resolved(client, found).fetched(client, found)
    if form is not None:
        _write(text_of(granted, form), output_file)
        _explain_use(found, granted, form, wish)
    elif output is Output.JSON:
        write_json(granted)
    else:
        _show(found, granted)
        note("")
        _note_all(granted["notes"])
        explain(found, granted, wish)


def policy(
    *,
    account: AccountArgument,
    plan: PlansOption = None,
    rule_set: RuleSetsOption = None,
    rule: RulesOption = None,
    output_file: Annotated[
        Path | None, typer.Option("--output-file", metavar="FILE", help="Write it to this file.", dir_okay=False)
    ] = None,
) -> None:
    """Write the least IAM policy for the role, as JSON. Without options: what all plans of the account need."""
    wish = GrantWish.of(Level.EXACT, Choice(plan or [], rule_set or [], rule or []))
    with connect() as client:
        found = resolve(client, ACCOUNT, account)
        granted = wish.resolved(client, found).fetched(client, found)
    _write(text_of(granted, Format.POLICY), output_file)


def _show(account: Json, granted: Json) -> None:
    show_details(
        account["name"],
        [
            ("level", granted["level"]),
            ("role", granted["role_arn"]),
            ("external id", granted["external_id"]),
            ("AWS's policies", ", ".join(granted["managed_policy_arns"]) or None),
            ("its own policy", "yes: --format policy" if granted["policy"] else None),
        ],
    )


def _explain_use(account: Json, granted: Json, form: Format, wish: GrantWish) -> None:
    steps = [set_role_command(word(account), granted)] if account["role_arn"] is None else []
    if form is Format.STACK_SET:
        _note_all(granted["notes"])
        template = f"{wish.command(account)} --format cloudformation --output-file coreo-role.yaml"
        steps = [f"{template}   (before those commands)", *steps]
    next_steps(steps)


def _write(text: str, file: Path | None) -> None:
    if file is None:
        write_text(text)
        return
    try:
        file.write_text(text.rstrip("\n") + "\n", encoding="utf-8")
    except OSError as error:
        raise CliError(f"{file} cannot be written: {error.strerror or 'error'}.") from None
    note(f"Wrote {file}.")


def _note_all(notes: list[str]) -> None:
    for each in notes:
        note(f"Note: {each}")
