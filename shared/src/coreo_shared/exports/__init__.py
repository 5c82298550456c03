"""Findings as files: JSON, JSON lines, CSV, OCSF, ASFF, SARIF, JUnit, and a report in HTML.

Findings are read once and, where the format permits, written as they come: their number does not matter to memory.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Final, TextIO

from coreo_shared.catalogue import Catalogue
from coreo_shared.contracts.findings import Finding
from coreo_shared.exports import asff, junit, ocsf, report, sarif, tabular
from coreo_shared.exports.rows import Facts
from coreo_shared.exports.sound import sound
from coreo_shared.exports.subject import SUFFIXES, USUAL_FRAMEWORKS, Format, Subject

Writer = Callable[[Iterable[Finding], Subject, Facts, TextIO], None]

_WRITERS: Final[Mapping[Format, Writer]] = {
    Format.JSON: tabular.write_json,
    Format.JSONL: tabular.write_json_lines,
    Format.CSV: tabular.write_csv,
    Format.OCSF: ocsf.write,
    Format.ASFF: asff.write,
    Format.SARIF: sarif.write,
    Format.JUNIT: junit.write,
    Format.HTML: report.write,
}


def export(format: Format, findings: Iterable[Finding], subject: Subject, catalogue: Catalogue, out: TextIO) -> None:  # noqa: A002  the word
    """Writes the findings to `out`, which takes any text and leaves line ends alone (`newline=""`)."""
    _WRITERS[format](sound(findings), subject, Facts(catalogue), out)


__all__ = ["SUFFIXES", "USUAL_FRAMEWORKS", "Format", "Subject", "export"]
