"""What a scan says to people: how far it is, what failed, what could not be judged."""

from collections import Counter
from collections.abc import Iterable
from itertools import islice
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from coreo_cli.findings_view import draw
from coreo_cli.output import console, note, write_drawn
from coreo_cli.progress import View, open_view
from coreo_cli.scan.local import Ending, Identity, Scanned
from coreo_cli.scan.spool import Spool
from coreo_cli.text import Json
from coreo_cli.words import plural, span
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.terms import FindingStatus, Severity

_MAX_REASONS: Final = 8
_MAX_ACTIONS: Final = 8


class Progress:
    """Shows a scan at work on standard error; a context manager."""

    def __init__(self, spool: Spool, run_id: str, *, quiet: bool) -> None:
        self._spool = spool
        self._run_id = run_id
        self._quiet = quiet
        self._view: View | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._view is not None:
            self._view.__exit__(kind, error, trace)

    def begin(self, identity: Identity) -> None:
        """As the engine's watcher."""
        if not self._quiet:
            note(f"Scanning account {identity.account_id} as {identity.arn}")

    def see(self, scanned: Scanned) -> None:
        """As the engine's watcher."""
        if self._quiet:
            return
        run = {
            "id": self._run_id,
            "state": "RUNNING",
            "units_done": scanned.units_done,
            "units_total": scanned.units_total,
            "counts": counts_of(self._spool),
            "attempt": 1,
            "cancel_requested": False,
            "created_at": scanned.started_at.isoformat(),
        }
        if self._view is None:
            self._view = open_view([run], {self._run_id: scanned.identity.account_id})
            self._view.__enter__()
        else:
            self._view.see(run)


def counts_of(spool: Spool) -> Json:
    """Counts as the api gives them of a run."""
    failed = {severity: spool.by_severity[FindingStatus.FAIL, severity] for severity in Severity}
    return {
        "by_status": {status.value: count for status, count in spool.by_status.items()},
        "failed_by_severity": {severity.value: count for severity, count in failed.items() if count},
    }


def show_findings(spool: Spool, *, limit: int | None) -> None:
    """What failed, as a table on standard output, and why the rest could not be judged."""
    failed = [_as_json(finding) for finding in islice(spool.only(FindingStatus.FAIL), limit)]
    if failed:
        write_drawn(draw(failed, width=console().width))
    rest = spool.by_status[FindingStatus.FAIL] - len(failed)
    if rest:
        note(f"{rest} more failed. All of them: --all, or --output report.html")
    unknown = spool.by_status[FindingStatus.NOT_EVALUATED]
    if unknown:
        note(f"{plural(unknown, 'check')} could not be judged:")
        for line in _reasons(spool.only(FindingStatus.NOT_EVALUATED)):
            note(f"  {line}")
        note("")


def _as_json(finding: Finding) -> Json:
    found: Json = msgspec.to_builtins(finding)
    return found


def _reasons(findings: Iterable[Finding]) -> list[str]:
    """The commonest reasons, and the actions that would help."""
    reasons: Counter[str] = Counter()
    actions: dict[str, dict[str, None]] = {}
    for finding in findings:
        reason = finding.reason or "no reason was given"
        reasons[reason] += 1
        actions.setdefault(reason, {}).update(dict.fromkeys(finding.missing_actions))
    lines = []
    for reason, count in reasons.most_common(_MAX_REASONS):
        names = list(actions[reason])
        allow = (
            f" (allow {', '.join(names[:_MAX_ACTIONS])}{' …' if len(names) > _MAX_ACTIONS else ''})" if names else ""
        )
        lines.append(f"{count} x {reason}{allow}")
    if len(reasons) > _MAX_REASONS:
        lines.append(f"… and {len(reasons) - _MAX_REASONS} more reasons: they stand in every report.")
    return lines


def sum_up(spool: Spool, scanned: Scanned, rules: int) -> None:
    """One sentence about the whole, and how it ended, on standard error."""
    counts: Any = counts_of(spool)
    severe = ", ".join(f"{count} {name}" for name, count in counts["failed_by_severity"].items())
    failed = spool.by_status[FindingStatus.FAIL]
    note(
        f"{plural(rules, 'rule')} made {plural(len(spool), 'check')} of account {scanned.identity.account_id} in "
        f"{span((scanned.ended_at - scanned.started_at).total_seconds())}: "
        f"{failed} failed{f' ({severe})' if severe else ''}, {spool.by_status[FindingStatus.PASS]} passed, "
        f"{spool.by_status[FindingStatus.NOT_EVALUATED]} could not be judged."
    )
    if scanned.ending is not Ending.WHOLE:
        why = "You stopped the scan" if scanned.ending is Ending.INTERRUPTED else "The credentials ended"
        total = "" if scanned.units_total is None else f" of {scanned.units_total}"
        note(f"{why} after {scanned.units_done}{total} units: the report is not whole, and says so.")
