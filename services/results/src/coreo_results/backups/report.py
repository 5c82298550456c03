"""What is said of backups, restores and drills, for people. Pure."""

from datetime import datetime
from uuid import UUID

from coreo_results.backups.drill import DrillReport
from coreo_results.backups.reading import TeamBackups
from coreo_results.backups.restorer import RestoreReport
from coreo_results.backups.service import Cycle
from coreo_results.backups.verification import TeamVerdict
from coreo_shared.contracts.backups import BackedUpRun

_MOST = 50  # differences that are written out


def cycle_line(team_id: UUID, cycle: Cycle) -> str:
    """What was backed up of a team."""
    return (
        f"team {team_id}: {_count(cycle.stored, 'run')}, {_count(cycle.findings, 'finding')}, {_size(cycle.bytes)} "
        f"stored; {_count(cycle.expired, 'run')} expired; {_count(len(cycle.failed), 'run')} cannot be backed up"
    )


def team_line(backups: TeamBackups) -> str:
    """What a team has."""
    runs = backups.runs
    findings, size = sum(run.findings for run in runs), sum(run.bytes for run in runs)
    log, snapshot = backups.log, backups.ledger.snapshot
    return (
        f"team {backups.team_id}: {_count(len(runs), 'run')}, {_count(findings, 'finding')}, {_size(size)}; "
        f"log of {_count(log.seq, 'entry')} until {_time(log.at)}; key ledger {snapshot.number} of {_time(snapshot.at)}"
    )


def run_line(run: BackedUpRun) -> str:
    """A run."""
    return (
        f"  run {run.run_id}: ended {_time(run.ended_at)}, {_count(run.findings, 'finding')}, {run.bytes:,} bytes, "
        f"kept until {_time(run.expires_at)}"
    )


def verdict_line(verdict: TeamVerdict) -> str:
    """What was found of a team."""
    it = verdict.summary
    if it is None or verdict.problems:
        return f"team {verdict.team_id}: {_count(len(verdict.problems), 'problem')}"
    return (
        f"team {verdict.team_id}: {_count(verdict.runs, 'run')}, {_count(verdict.findings, 'finding')}, "
        f"{_size(verdict.bytes)} are good; log of {_count(it.log_seq, 'entry')} until {_time(it.log_at)}; "
        f"key ledger {it.snapshot} of {_time(it.snapshot_at)}; "
        f"{it.excluded} runs excluded, {it.expired} expired, {it.deleted} deleted"
        + (f", {it.pending} about to be excluded" if it.pending else "")
    )


def restore_text(report: RestoreReport) -> str:
    """A restore, whole."""
    return "\n".join([f"Restore of {report.started_at:%Y-%m-%d %H:%M} UTC", *_verified(report), *_restored(report)])


def drill_text(report: DrillReport) -> str:
    """A drill, whole."""
    restore, compared = report.restore, report.compared.values()
    differences = [f"run {each.run_id} of team {team}: {each.what}" for team, of in report.compared.items()
                   for each in of.differences]  # fmt: skip
    lines = [f"Drill of {restore.started_at:%Y-%m-%d %H:%M} UTC", *_verified(restore), *_restored(restore)]
    lines += _lines(
        "compared",
        f"{_count(sum(each.runs for each in compared), 'run')}, "
        f"{_count(sum(each.findings for each in compared), 'finding')} with the live database in "
        f"{_seconds(restore.ended_at, report.ended_at)}: {_count(len(differences), 'difference')}",
        *differences[:_MOST],
    )
    if not_shown := sum(each.not_shown for each in compared):
        lines += _lines("", f"left out {_count(not_shown, 'run')}: the live database no longer shows their results")
    if due := sum(each.due for each in compared):
        lines += _lines("", f"{_count(due, 'run')} of the live database are not in the backups yet")
    said = "the backups restore what is live" if report.is_good else "NOT the same: see the differences above"
    return "\n".join([*lines, *_lines("result", said)])


def _verified(report: RestoreReport) -> list[str]:
    verdicts = report.verified.values()
    summaries = [each.summary for each in verdicts if each.summary is not None]
    gone = [f"{sum(getattr(each, name) for each in summaries)} {name}" for name in ("excluded", "expired", "deleted")]
    if pending := sum(each.pending for each in summaries):
        gone.append(f"{pending} about to be excluded")
    return _lines(
        "verified",
        f"{_count(len(verdicts), 'team')}, {_count(sum(each.log_seq for each in summaries), 'log entry')}, "
        f"{_count(sum(each.runs for each in verdicts), 'run')}, "
        f"{_count(sum(each.findings for each in verdicts), 'finding')}, "
        f"{_size(sum(each.bytes for each in verdicts))} in {_seconds(report.started_at, report.verified_at)}",
        "signatures, chains, key ledgers, hashes and counts are good, and every run decrypts",
        f"runs that are no longer in the backups: {', '.join(gone)}",
        f"the oldest key ledger is of {_time(min((each.snapshot_at for each in summaries), default=None))}",
    )


def _restored(report: RestoreReport) -> list[str]:
    done = report.restored.values()
    more = []
    if bare := sum(each.without_content for each in done):
        more.append(f"of {_count(bare, 'run')} the ledger's entry alone: deleted, or too old to be shown")
    return _lines(
        "restored",
        f"{_count(sum(each.runs for each in done), 'run')}, "
        f"{_count(sum(each.findings for each in done), 'finding')} in {_seconds(report.verified_at, report.ended_at)}",
        *more,
    )


def _lines(label: str, *texts: str) -> list[str]:
    return [f"  {label if number == 0 else '':10} {text}" for number, text in enumerate(texts)]


def _count(number: int, what: str) -> str:
    plural = f"{what[:-1]}ies" if what.endswith("y") else f"{what}s"
    return f"{number:,} {what if number == 1 else plural}"


def _time(written: str | None) -> str:
    return "never" if written is None else f"{datetime.fromisoformat(written):%Y-%m-%d %H:%M:%S} UTC"


def _seconds(start: datetime | None, end: datetime | None) -> str:
    return "no time" if start is None or end is None else f"{(end - start).total_seconds():.1f} s"


def _size(size: int) -> str:
    return f"{size / 1_000_000:,.1f} MB"
