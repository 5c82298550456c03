"""JSON, JSON lines and CSV: the same rows for programs and for spreadsheets."""

import csv
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any, Final, TextIO

import msgspec

from coreo_shared.contracts.findings import Finding
from coreo_shared.exports.rows import Facts, row
from coreo_shared.exports.subject import Subject

_COLUMNS: Final = (
    "status", "severity", "rule_id", "title", "service", "resource_type", "resource_id", "resource_arn", "region",
    "account_id", "message", "reason", "missing_actions", "evidence", "remediation", "controls", "aliases",
    "fingerprint", "run_id", "observed_at",
)  # fmt: skip
# What a spreadsheet takes for the beginning of a formula (OWASP: CSV injection).
_FORMULA: Final = frozenset("=+-@\t\r\n")


def as_json(value: Any) -> str:
    """JSON of one line. Numbers that JSON does not have become null."""
    return msgspec.json.encode(value).decode()


def write_array(items: Iterable[Any], out: TextIO) -> None:
    """A JSON array, an item a line, each written as it comes."""
    separator = "[\n"
    for item in items:
        out.write(separator)
        out.write(as_json(item))
        separator = ",\n"
    out.write("\n]" if separator == ",\n" else "[]")


def write_json(findings: Iterable[Finding], subject: Subject, facts: Facts, out: TextIO) -> None:
    """One document: the subject, then the findings, one a line."""
    out.write(f'{{"subject": {as_json(subject)},\n"findings": ')
    write_array(_rows(findings, subject, facts), out)
    out.write("}\n")


def write_json_lines(findings: Iterable[Finding], subject: Subject, facts: Facts, out: TextIO) -> None:
    """A finding a line."""
    for each in _rows(findings, subject, facts):
        out.write(as_json(each))
        out.write("\n")


def write_csv(findings: Iterable[Finding], subject: Subject, facts: Facts, out: TextIO) -> None:
    """RFC 4180, with a header. What is nested is JSON; a text that might be a formula has an apostrophe before it."""
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for each in _rows(findings, subject, facts):
        each["missing_actions"] = " ".join(each["missing_actions"])
        each["aliases"] = " ".join(each["aliases"])
        each["remediation"] = each["remediation"]["console"]
        writer.writerow([_cell(each[name]) for name in _COLUMNS])


def _rows(findings: Iterable[Finding], subject: Subject, facts: Facts) -> Iterator[dict[str, Any]]:
    return (row(finding, subject, facts.of(finding)) for finding in findings)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    # Some spreadsheets stop at a null character.
    text = (value if isinstance(value, str) else as_json(value)).replace("\0", "\N{REPLACEMENT CHARACTER}")
    return f"'{text}" if _may_be_formula(text) else text


def _may_be_formula(text: str) -> bool:
    # Spreadsheets skip spaces before a formula, and take full-width forms for the plain ones.
    first = unicodedata.normalize("NFKC", text.lstrip(" \u00a0\u3000")[:1])
    return first[:1] in _FORMULA if first else False
