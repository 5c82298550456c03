"""What goes where: results to standard output, words about them to standard error. Rich comes in only for tables."""

import os
import sys
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from coreo_cli.errors import CliError
from coreo_cli.layout import Cell, Column
from coreo_cli.text import as_json, masked, plain

if TYPE_CHECKING:
    from rich.console import Console, RenderableType


class Output(StrEnum):
    """How results are written."""

    TABLE = "table"
    JSON = "json"


OutputOption = Annotated[
    Output,
    typer.Option(
        "--output", "-o", envvar="COREO_OUTPUT", help="table for people, json for programs.", show_envvar=False
    ),
]
# On a pipe a table's row is a line, however long: lines can be searched.
_PIPE_WIDTH = 10_000


def console(*, stderr: bool = False) -> "Console":
    """For a stream as it is: colours only on a terminal and without NO_COLOR, as wide as the terminal."""
    from rich.console import Console  # noqa: PLC0415  rich takes longer to load than --help may

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or os.environ.get("COLUMNS") else _PIPE_WIDTH
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, width=width)


def write_json(value: Any, *, indent: int | None = 2) -> None:
    """The value as JSON on standard output; without indent as one line."""
    print(as_json(value, indent=indent))  # noqa: T201  the command's result


def write_line(text: str) -> None:
    """A line of the result on standard output, as it is: the caller has made it safe to show."""
    print(text)  # noqa: T201  the command's result


def write_text(text: str) -> None:
    """A text of many lines on standard output: as it is in a file or pipe, safe to show on a terminal."""
    for line in text.rstrip("\n").split("\n"):
        write_line(plain(line) if sys.stdout.isatty() else line)


def write_drawn(renderable: "RenderableType") -> None:
    """What rich draws, on standard output; no line ends in spaces."""
    out = console()
    with out.capture() as captured:
        out.print(renderable)
    for line in captured.get().split("\n")[:-1]:
        write_line(line.rstrip(" "))


def show_listing(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], *, empty: str) -> None:
    """Rows as a table; without rows the words `empty`, on standard error."""
    if not rows:
        note(empty)
        return
    from coreo_cli.tables import listing  # noqa: PLC0415  loads rich

    write_drawn(listing(columns, rows, width=console().width))


def write_words(words: Sequence[Cell]) -> None:
    """Words side by side on a line of standard output, each in its colour."""
    from rich.text import Text  # noqa: PLC0415  rich takes longer to load than --help may

    from coreo_cli.tables import text_of  # noqa: PLC0415  loads rich

    write_drawn(Text("  ").join(text_of(word) for word in words))


def show_details(heading: str, fields: Sequence[tuple[str, Cell | None]]) -> None:
    """One thing: a heading, then its fields, without those that are None."""
    from coreo_cli.tables import details  # noqa: PLC0415  loads rich

    write_drawn(details(heading, fields))


def note(text: str) -> None:
    """Words about the result, on standard error; where both go to one file, after what was written before."""
    sys.stdout.flush()
    print(masked(plain(text)), file=sys.stderr)  # noqa: T201  meant for people


def next_steps(steps: Sequence[str]) -> None:
    """What to do now, on standard error."""
    if steps:
        note("")
        for index, step in enumerate(steps):
            note(f"{'Next: ' if index == 0 else '      '}{step}")


def show_error(error: CliError) -> None:
    """What is wrong, the details, what to do next, the request id; on standard error."""
    sys.stdout.flush()
    print(f"{_red('Error:')} {masked(plain(error.problem))}", file=sys.stderr)  # noqa: T201  meant for people
    for line in error.lines:
        note(f"  {line}")
    if error.next_step:
        note(f"What to do: {error.next_step}")
    if error.request_id:
        note(f"Request id: {error.request_id}")


def _red(word: str) -> str:
    return typer.style(word, fg="red", bold=True) if _wants_colour(sys.stderr) else word


def _wants_colour(stream: TextIO) -> bool:
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
