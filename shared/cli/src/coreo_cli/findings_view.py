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
from coreo_cli.text import Json
from coreo_cli.words import plural

_TABLE_WIDTH: Final = 100


def draw(findings: Sequence[Json], *, width: int) -> RenderableType:
    """Sections by severity, in the order in which the findings come."""
    parts: list[RenderableType] = []
    columns = _widths(findings)
    for severity, group in groupby(findings, key=lambda finding: str(finding["severity"])):
        members = list(group)
        parts.append(text_of(layout.severity(severity, f"{severity.upper()}  {plural(len(members), 'finding')}")))
        parts.append(Padding(_table(members, columns) if width >= _TABLE_WIDTH else _stack(members), (0, 0, 1, 2)))
    return Group(*parts)


def _widths(findings: Sequence[Json]) -> dict[str, int]:
    """One width for a column in all sections, so that they line up."""
    names = ("rule_id", "resource_id", "region")
    return {name: max((text_of(str(each[name])).cell_len for each in findings), default=0) for name in names}


def _table(findings: Sequence[Json], widths: dict[str, int]) -> Table:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(no_wrap=True, min_width=4)
    table.add_column(overflow="fold", min_width=min(widths["rule_id"], 40), max_width=44)
    table.add_column(overflow="fold", min_width=min(widths["resource_id"], 20), max_width=48)
    table.add_column(no_wrap=True, min_width=widths["region"])
    table.add_column(overflow="fold", ratio=1)
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
    for finding in findings:
        where = text_of(layout.Styled(finding["resource_id"], "bold")).append_text(text_of(f"  {finding['region']}"))
        lines.append(_status(finding).append_text(text_of(layout.Styled(f" {finding['rule_id']}", "not bold"))))
        lines.append(Padding(where, (0, 0, 0, 2)))
        lines.append(Padding(text_of(what(finding)), (0, 0, 0, 2)))
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
