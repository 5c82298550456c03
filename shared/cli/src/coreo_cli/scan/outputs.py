"""Where a scan's report goes: a format on standard output, and files whose endings say their format."""

import os
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from coreo_cli.errors import CliError, UsageMistakeError
from coreo_cli.text import plain
from coreo_shared.catalogue import Catalogue
from coreo_shared.contracts.findings import Finding
from coreo_shared.exports import SUFFIXES, Format, Subject, export


@dataclass(frozen=True)
class Target:
    """A file to write, whole or not at all."""

    path: Path
    format: Format


def targets_of(paths: Sequence[Path]) -> list[Target]:
    """The files with their formats. Raises UsageMistakeError or CliError before anything is scanned in vain."""
    targets = [Target(path, _format_of(path)) for path in paths]
    for target in targets:
        folder = target.path.absolute().parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise CliError(f"--output: nothing can be written to the folder {plain(folder)}.")
        if target.path.is_dir():
            raise CliError(f"--output: {plain(target.path)} is a folder.")
    return targets


def write(target: Target, findings: Iterable[Finding], subject: Subject, catalogue: Catalogue) -> None:
    """Writes the file in one step: who reads it never sees a part. Raises CliError."""
    path = target.path.absolute()
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
        try:
            with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
                export(target.format, findings, subject, catalogue, file)
            Path(temporary).chmod(_mode())
            Path(temporary).replace(path)
        except BaseException:
            with suppress(FileNotFoundError):
                Path(temporary).unlink()
            raise
    except OSError as error:
        raise CliError(f"{plain(path)} cannot be written: {error.strerror or 'error'}.") from None


def write_out(
    format_: Format, findings: Iterable[Finding], subject: Subject, catalogue: Catalogue, out: TextIO
) -> None:
    """Writes to standard output."""
    export(format_, findings, subject, catalogue, out)
    out.flush()


def _format_of(path: Path) -> Format:
    # The longest ending first: report.ocsf.json is OCSF, report.json is not.
    for format_, suffix in sorted(SUFFIXES.items(), key=lambda pair: -len(pair[1])):
        if path.name.lower().endswith(suffix):
            return format_
    endings = ", ".join(SUFFIXES.values())
    raise UsageMistakeError(
        f"--output: the ending of {plain(path.name)} says no format.", next_step=f"Endings: {endings}."
    )


def _mode() -> int:
    """What a file gets that is made the usual way: the umask cannot be asked for without setting it."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o666 & ~mask
