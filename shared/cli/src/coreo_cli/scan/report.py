"""A scan from its first call to its reports."""

from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

from coreo_cli.output import note
from coreo_cli.scan.local import Ending, Scanned, Wanted, scan
from coreo_cli.scan.outputs import targets_of, write, write_out
from coreo_cli.scan.spool import Spool
from coreo_cli.scan.words import Progress, show_findings, sum_up
from coreo_cli.text import plain
from coreo_shared.catalogue import GLOBAL, Catalogue
from coreo_shared.contracts.terms import FindingStatus
from coreo_shared.exports import USUAL_FRAMEWORKS, Format, Subject
from coreo_shared.ids import new_id


class Report:
    """Scans, then writes what was asked for; a context manager. Raises CliError for a file that cannot be written."""

    def __init__(
        self,
        catalogue: Catalogue,
        wanted: Wanted,
        frameworks: Sequence[str],
        format_: str,
        paths: Sequence[Path],
        *,
        quiet: bool,
    ) -> None:
        self._catalogue = catalogue
        self._wanted = wanted
        self._frameworks = tuple(frameworks) or USUAL_FRAMEWORKS
        self._format = format_
        self._targets = targets_of(paths)
        self._quiet = quiet
        self._run_id = str(new_id())
        self._stack = ExitStack()
        self.spool = Spool()

    def __enter__(self) -> Self:
        self._stack.enter_context(self.spool)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def run(self) -> Scanned:
        """Scans. Raises CliError where nothing can be scanned."""
        with Progress(self.spool, self._run_id, quiet=self._quiet) as progress:
            return scan(self._wanted, self._catalogue, self.spool, progress)

    def write(self, scanned: Scanned, out: TextIO, *, limit: int | None) -> None:
        """Writes the files, then to standard output; the table has `limit` failures."""
        subject = self._subject(scanned)
        for target in self._targets:
            write(target, self.spool, subject, self._catalogue)
        if self._format == "table":
            show_findings(self.spool, limit=limit)
        elif self._format != "none":
            write_out(Format(self._format), self.spool, subject, self._catalogue, out)
        if not self._quiet:
            sum_up(self.spool, scanned, len(self._wanted.rules))
            for target in self._targets:
                note(f"Written: {plain(target.path)}")

    def _subject(self, scanned: Scanned) -> Subject:
        return Subject(
            account_id=scanned.identity.account_id,
            partition=scanned.identity.partition,
            run_id=self._run_id,
            started_at=scanned.started_at,
            ended_at=scanned.ended_at,
            version=version("coreo-cli"),
            regions=tuple(sorted(scanned.regions - {GLOBAL})),
            rules=tuple(self._wanted.rules),
            complete=scanned.ending is Ending.WHOLE and not self.spool.by_status[FindingStatus.NOT_EVALUATED],
            frameworks=self._frameworks,
        )
