"""A preview in words: the table of what would change, and what gates and rules say of it."""

from collections.abc import Iterable, Sequence
from typing import Final

from coreo_cli.layout import Cell, Column, Styled, severity, status
from coreo_cli.output import show_listing, write_line, write_words
from coreo_cli.text import Json, plain
from coreo_cli.words import plural

_COLOURS: Final = {
    "Add": "green",
    "Import": "green",
    "Modify": "yellow",
    "Dynamic": "yellow",
    "Sync": "yellow",
    "Remove": "bold red",
    "Retain": "cyan",
}
_OPERATIONS: Final = {
    "create": "makes the stack",
    "update": "changes the stack",
    "delete": "deletes the stack",
    "none": "nothing to do",
}
_MAX_DETAILS: Final = 4


def show_preview(preview: Json) -> None:
    """The table of changes, what gates and rules say of them, and what is approved."""
    write_line(plain(f"{preview['stack_name']} in {preview['account_id']} {preview['region']}: {_operation(preview)}"))
    if preview["changes"]:
        show_listing(
            [
                Column("ACTION"),
                Column("RESOURCE", flexible=True),
                Column("TYPE", flexible=True),
                Column("REPLACED"),
                Column("WHAT CHANGES", flexible=True),
            ],
            [_row(change) for change in preview["changes"]],
            empty="",
        )
    _show_gates(preview["gates"])
    _show_findings(preview)
    for words in preview["notes"]:
        write_line(f"Note: {plain(words)}")


def counts_of(changes: Iterable[Json]) -> str:
    """`2 to add, 1 to replace`."""
    counts = dict.fromkeys(("to add", "to change", "to replace", "to remove", "kept"), 0)
    for change in changes:
        counts[_sort(change)] += 1
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "no changes"


def _sort(change: Json) -> str:
    if change["action"] in {"Add", "Import"}:
        return "to add"
    if change["action"] in {"Remove", "Retain"}:
        return "to remove" if change["action"] == "Remove" else "kept"
    return "to change" if change["replacement"] in {None, "False"} else "to replace"


def _operation(preview: Json) -> str:
    words = _OPERATIONS.get(preview["operation"]) or str(preview["operation"])
    return words if preview["operation"] == "none" else f"{words} ({counts_of(preview['changes'])})"


def _row(change: Json) -> list[Cell]:
    replaced = {"True": Styled("yes", "bold red"), "Conditional": Styled("perhaps", "red")}
    action = change["action"] + (f" ({change['policy_action']})" if change["policy_action"] else "")
    return [
        Styled(action, _COLOURS.get(change["action"], "")),
        change["logical_id"] + (f" ({change['physical_id']})" if change["physical_id"] else ""),
        change["type"],
        replaced.get(change["replacement"] or "", "-"),
        _what_changes(change),
    ]


def _what_changes(change: Json) -> str:
    words = list(dict.fromkeys(_detail(detail) for detail in change["details"])) or list(change["scope"])
    more = len(words) - _MAX_DETAILS
    return "; ".join(words[:_MAX_DETAILS]) + (f"; and {more} more" if more > 0 else "")


def _detail(detail: Json) -> str:
    name = detail["path"] or ".".join(part for part in (detail["attribute"], detail["name"]) if part)
    if detail["before"] is None and detail["after"] is None:
        return f"{name} (by {detail['cause']})" if detail["cause"] else name
    return f"{name}: {detail['before'] or 'none'} -> {detail['after'] or 'none'}"


def _show_gates(gates: Sequence[Json]) -> None:
    for hit in gates:
        words = "allowed for this run" if hit["allowed"] else f"REFUSED; let it pass once: --allow {hit['logical_id']}"
        verb = "replaced" if hit["effect"] == "replace" else "removed"
        write_words([Styled("Gate:", "bold red" if not hit["allowed"] else "yellow"),
                     f"{hit['logical_id']} ({hit['type']}) would be {verb}: {words}"])  # fmt: skip


def _show_findings(preview: Json) -> None:
    if preview["findings"]:
        write_line("")
        show_listing(
            [
                Column("STATUS"),
                Column("SEVERITY"),
                Column("RULE"),
                Column("RESOURCE"),
                Column("MESSAGE", flexible=True),
            ],
            [
                [
                    status(each["status"]),
                    severity(each["severity"]),
                    each["rule_id"],
                    each["logical_id"],
                    each["reason"] or each["message"],
                ]
                for each in preview["findings"]
            ],
            empty="",
        )
    if preview["findings_passed"]:
        write_line(f"{plural(preview['findings_passed'], 'check')} of rules on the template passed.")
