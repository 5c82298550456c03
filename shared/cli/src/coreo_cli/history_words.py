"""The history of a cloud account in words."""

from collections.abc import Sequence
from typing import Final

from coreo_cli.layout import Cell, Column, state
from coreo_cli.output import show_listing
from coreo_cli.text import Json
from coreo_cli.words import local

_KINDS: Final = {
    "created": "added",
    "role_set": "role set",
    "renamed": "renamed",
    "verify": "verification",
    "bootstrap": "role from keys",
    "discover": "organization",
    "rotate": "next external id",
    "rotate_canceled": "rotation canceled",
    "confirm": "external id confirmed",
    "disconnect": "disconnected",
    "purge": "results purged",
}


def show_history(entries: Sequence[Json]) -> None:
    """The entries as a table."""
    show_listing(
        [Column("WHEN"), Column("WHAT"), Column("BY", flexible=True), Column("RESULT"), Column("WHY", flexible=True)],
        [
            [
                local(each["at"]),
                str(_KINDS.get(each["kind"], each["kind"])),
                each["by"],
                _result(each),
                _why(each),
            ]
            for each in entries
        ],
        empty="Nothing was done to this account yet.",
    )


def _result(entry: Json) -> Cell:
    report = entry["report"] or {}
    if report.get("problem"):
        return state("FAILED")  # the work was done, and led to nothing
    result = entry["verdict"] or entry["state"]
    return state(result) if result else "-"


def _why(entry: Json) -> str:
    report = entry["report"] or {}
    return str(entry["reason"] or report.get("detail") or report.get("problem") or "")
