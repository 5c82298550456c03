"""Findings for people: by severity, each with what is wrong; a table where it fits, else one below the other."""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from coreo_cli import layout
from coreo_cli.tables import text_of
from coreo_cli.text import Json, plain
from coreo_cli.words import plural

_GAP: Final = 2
_STATUS_WIDTH: Final = 4
_COLUMNS: Final = ("rule_id", "resource_id", "region")
_NARROWER: Final = ((1_000, 1_000, 20), (44, 44, 20), (36, 32, 16), (30, 24, 16))  # tried in turn
_MIN_WHAT: Final = 28


def draw(findings: Sequence[Json], *, width: int) -> RenderableType:
    """Sections by severity, in the order in which the findings come."""
    parts: list[RenderableType] = []
    widths = _widths(findings, width)
    for severity, group in groupby(findings, key=lambda finding: str(finding["severity"])):
        members = list(group)
        parts.append(text_of(layout.severity(severity, f"{severity.upper()}  {plural(len(members), 'finding')}")))
        parts.append(Padding(_stack(members) if widths is None else _table(members, widths), (0, 0, 1, _GAP)))
    return Group(*parts)


def _widths(findings: Sequence[Json], width: int) -> list[int] | None:
    """The widths of the columns, the same in all sections so that they line up; None when a table does not fit."""
    natural = [max((text_of(str(each[name])).cell_len for each in findings), default=0) for name in _COLUMNS]
    for most in _NARROWER:
        widths = [_STATUS_WIDTH, *(min(pair) for pair in zip(natural, most, strict=True))]
        rest = width - _GAP - sum(widths) - _GAP * len(widths)
        if rest >= _MIN_WHAT:
            return [*widths, rest]
    return None


def _table(findings: Sequence[Json], widths: Sequence[int]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, _GAP, 0, 0), pad_edge=False)
    for width in widths:
        table.add_column(overflow="fold", width=width)
    for finding in findings:
        table.add_row(
            _status(finding),
            text_of(finding["rule_id"]),
            text_of(layout.Styled(finding["resource_id"], "bold")),
            text_of(finding["region"]),
            text_of(what(finding)),
        )
    return table


def _stack(findings: Sequence[Json]) -> RenderableType:
    lines: list[RenderableType] = []
    for (_, rule_id), group in groupby(findings, key=lambda finding: (finding["status"], finding["rule_id"])):
        for index, finding in enumerate(group):
            if index == 0:
                lines.append(_status(finding).append(f" {plain(rule_id)}", style="not bold default"))
            where = text_of(layout.Styled(finding["resource_id"], "bold"))
            lines.append(Padding(where.append_text(text_of(f"  {finding['region']}")), (0, 0, 0, _GAP)))
            lines.append(Padding(text_of(what(finding)), (0, 0, 0, 2 * _GAP)))
    return Group(*lines)


def _status(finding: Json) -> Text:
    short = {"NOT_EVALUATED": "?", "SUPPRESSED": "SUPP"}.get(finding["status"], finding["status"])
    return text_of(layout.status(finding["status"], short))


def what(finding: Json) -> str:
    """What is wrong, or why that cannot be told and which permissions would help."""
    words = [finding["message"]]
    if finding["status"] == "NOT_EVALUATED":
        if finding["reason"] and finding["reason"] not in finding["message"]:
            words.append(finding["reason"])
        if finding["missing_actions"]:
            words.append(f"Allow: {', '.join(finding['missing_actions'])}")
    return " ".join(word if word.endswith((".", "!", "?")) or word is words[-1] else f"{word}." for word in words)
