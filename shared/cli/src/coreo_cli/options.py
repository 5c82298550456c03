"""Options that several commands share."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from coreo_cli.errors import UsageMistakeError
from coreo_cli.text import plain

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether you are sure.")]
AccountArgument = Annotated[
    str,
    typer.Argument(
        metavar="ACCOUNT",
        help="A cloud account's name, AWS account id, id, or the beginning of its id.",
        show_default=False,
    ),
]
PlanArgument = Annotated[
    str, typer.Argument(metavar="PLAN", help="A plan's name, id, or the beginning of its id.", show_default=False)
]
RunArgument = Annotated[
    str, typer.Argument(metavar="RUN", help="A run's id, the beginning of it, or `latest`.", show_default=False)
]
FilesOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="Write a file whose format its ending says: .html, .csv, .jsonl, .json, .ocsf.json, .asff.json, .sarif, "
        ".junit.xml. May be repeated.",
        show_default=False,
    ),
]
LatestRunArgument = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, the beginning of it, or `latest`.")]


def confirm_for_good(question: str, *, yes: bool) -> None:
    """As `confirm`, before what nobody can undo: with nobody to ask, --yes must say it. Raises UsageMistakeError."""
    if not yes and not sys.stdin.isatty():
        raise UsageMistakeError(
            "This cannot be undone, and there is no terminal to ask on.", next_step="Add --yes if you are sure."
        )
    confirm(question, yes=yes)


def examples(*commands: str, more: str = "") -> str:
    """The text below a command's help: commands to copy, which no width breaks, then more words."""
    lines = "\n".join(f"  {command}" for command in commands)
    return f"\b\nExample{'' if len(commands) == 1 else 's'}:\n{lines}" + (f"\n\n{more}" if more else "")


def confirm(question: str, *, yes: bool) -> None:
    """Asks before something is taken away, where there is a terminal to ask on. Raises typer.Abort."""
    if not yes and sys.stdin.isatty():
        typer.confirm(plain(question), abort=True, err=True)
