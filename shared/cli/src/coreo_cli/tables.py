"""Draws tables. Imported only when one is drawn: rich takes its time to load."""

from collections.abc import Sequence
from typing import Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from coreo_cli.layout import Cell, Column, Styled
from coreo_cli.text import plain

_GAP: Final = 2
_MIN_FLEXIBLE: Final = 18


def text_of(value: Cell) -> Text:
    """Text that is safe to show, whatever it comes from."""
    return Text(plain(value.text), style=value.style) if isinstance(value, Styled) else Text(plain(value))


def listing(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], *, width: int) -> RenderableType:
    """Rows as a table; where that does not fit into `width`, one below the other."""
    cells = [[text_of(value) for value in row] for row in rows]
    if _needed(columns, cells) > width:
        return Group(*(_record(columns, row) for row in cells))
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(
            column.title,
            no_wrap=not column.flexible,
            overflow="fold",
            justify="right" if column.right else "left",
        )
    for row in cells:
        table.add_row(*row)
    return table


def details(heading: str, fields: Sequence[tuple[str, Cell | None]]) -> RenderableType:
    """One thing: a heading, then its fields, without those that are None."""
    shown = [(name, text_of(value)) for name, value in fields if value is not None]
    return Group(Text(plain(heading), style="bold"), Padding(_pairs(shown), (0, 0, 0, 2)))


def _pairs(fields: Sequence[tuple[str, Text]]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, _GAP, 0, 0), pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in fields:
        table.add_row(Text(name), value)
    return table


def _record(columns: Sequence[Column], row: Sequence[Text]) -> RenderableType:
    heading = row[0].copy()
    heading.stylize("bold")
    pairs = [(column.title.lower(), value) for column, value in zip(columns[1:], row[1:], strict=True) if value.plain]
    return Group(heading, Padding(_pairs(pairs), (0, 0, 0, 2)))


def _needed(columns: Sequence[Column], rows: Sequence[Sequence[Text]]) -> int:
    """The least width at which the table still reads well."""
    total = _GAP * (len(columns) - 1)
    for index, column in enumerate(columns):
        natural = max([len(column.title), *(row[index].cell_len for row in rows)])
        total += min(natural, _MIN_FLEXIBLE) if column.flexible else natural
    return total
