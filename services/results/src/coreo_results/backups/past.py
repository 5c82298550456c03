"""What was known of findings, put together again from backups, the newest run of a plan first.

The newest run that says anything of a finding decides. One whose unit a later run listed to the end, under rules that
it ran, without saying anything of it, is gone. The comparison of runs that end later goes on from there.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.backups.records import Past
from coreo_results.chunks.repository import severity_order
from coreo_results.chunks.sealing import SealedChunk
from coreo_shared.contracts.terms import FindingStatus

_REMEMBERED = 200_000  # tags; of more, the database alone knows that they are there
# Of a finding that a run has several times the worst counts, as in `life.comparison`.
_RANK = {FindingStatus.FAIL: 0, FindingStatus.NOT_EVALUATED: 1, FindingStatus.SUPPRESSED: 2, FindingStatus.PASS: 3}
_RANKED = "CASE {status} WHEN 'FAIL' THEN 0 WHEN 'NOT_EVALUATED' THEN 1 WHEN 'SUPPRESSED' THEN 2 ELSE 3 END"
_KNOW = text(f"""
    INSERT INTO finding_life AS l (team_id, cloud_account_id, plan_id, tag, rule_id, severity_order, unit, status,
        first_run, first_seen, last_run, last_seen, failed_run, failed_unit, failed_chunk, failed_position)
    SELECT :team, :cloud_account, :plan, n.tag, n.rule_id, n.severity_order, n.unit, n.status,
        n.first_run, to_timestamp(0) + n.first_seen * interval '1 microsecond',
        :run, CAST(CAST(:ended_at AS text) AS timestamptz),
        n.failed_run, n.failed_unit, n.failed_chunk, n.failed_position
    FROM unnest(CAST(:tags AS uuid[]), CAST(:rules AS text[]), CAST(:severities AS smallint[]), CAST(:units AS text[]),
        CAST(:statuses AS text[]), CAST(:first_runs AS uuid[]), CAST(:first_seen AS bigint[]),
        CAST(:failed_runs AS uuid[]), CAST(:failed_units AS text[]), CAST(:failed_chunks AS int[]),
        CAST(:failed_positions AS int[]))
        AS n (tag, rule_id, severity_order, unit, status, first_run, first_seen,
              failed_run, failed_unit, failed_chunk, failed_position)
    ON CONFLICT (team_id, cloud_account_id, plan_id, tag) DO UPDATE SET
        unit = excluded.unit, status = excluded.status, failed_run = excluded.failed_run,
        failed_unit = excluded.failed_unit, failed_chunk = excluded.failed_chunk,
        failed_position = excluded.failed_position
    WHERE l.last_run = excluded.last_run
        AND {_RANKED.format(status="excluded.status")} < {_RANKED.format(status="l.status")}
""")  # noqa: S608  constants
_NAMES = (
    *("tags", "rules", "severities", "units", "statuses", "first_runs", "first_seen"),
    *("failed_runs", "failed_units", "failed_chunks", "failed_positions"),
)


@dataclass
class _Judged:
    """What runs looked at so far listed to the end: rules by unit."""

    rules: dict[str, set[str]] = field(default_factory=dict)

    def has(self, unit: str, rule_id: str) -> bool:
        return rule_id in self.rules.get(unit, ())


@dataclass
class PlanPast:
    """Of one plan in one cloud account. Its runs are given newest first, each with all of its chunks."""

    team_id: UUID
    cloud_account_id: UUID
    plan_id: UUID
    _judged: _Judged = field(default_factory=_Judged)
    _known: set[UUID] = field(default_factory=set)
    _of_run: set[UUID] = field(default_factory=set)
    _units: dict[str, bool] = field(default_factory=dict)  # of the run at hand: was it listed to the end?
    _found: dict[str, set[str]] = field(default_factory=dict)  # of the run at hand: rules by unit

    async def learn(
        self, connection: AsyncConnection, run: dict[str, Any], chunk: SealedChunk, past: Past | None
    ) -> None:
        """Takes in a chunk of the run (its row in the ledger) that is at hand."""
        unit = chunk.place.unit
        is_whole = chunk.listed and (past is not None or not chunk.findings)
        self._units[unit] = self._units.get(unit, True) and is_whole
        self._found.setdefault(unit, set()).update(group.rule_id for group in chunk.groups)
        rows = [] if past is None else self._rows(UUID(run["run_id"]), chunk, past)
        if rows:
            values = dict(zip(_NAMES, map(list, zip(*rows, strict=True)), strict=True))
            plan = {"team": self.team_id, "cloud_account": self.cloud_account_id, "plan": self.plan_id}
            await connection.execute(_KNOW, {**plan, "run": UUID(run["run_id"]), "ended_at": run["ended_at"], **values})

    def leave(self, run: dict[str, Any]) -> None:
        """The run at hand is over; what follows is older."""
        rules = run.get("rules")
        for unit, is_whole in self._units.items():
            if is_whole:
                judged = self._judged.rules.setdefault(unit, set())
                judged |= self._found[unit] if rules is None else set(rules)
        if len(self._known) + len(self._of_run) <= _REMEMBERED:
            self._known |= self._of_run
        self._of_run, self._units, self._found = set(), {}, {}

    def _rows(self, run_id: UUID, chunk: SealedChunk, past: Past) -> list[tuple[Any, ...]]:
        best: dict[UUID, tuple[int, tuple[Any, ...]]] = {}
        for group in chunk.groups:
            is_gone = self._judged.has(chunk.place.unit, group.rule_id)
            rank, severity = _RANK[group.status], severity_order(group.severity)
            for position in range(group.first, group.first + group.count):
                tag = chunk.tags[position]
                first = past.first_of[position]
                if first < 0 or tag in self._known or (tag in best and best[tag][0] <= rank):
                    continue
                failed = _failed(run_id, chunk, group.status, past, position, is_gone=is_gone)
                status = "GONE" if is_gone else group.status.value
                row = (tag, group.rule_id, severity, chunk.place.unit, status, *past.firsts[first], *failed)
                best[tag] = (rank, row)
        self._of_run.update(best)
        return [row for _, row in best.values()]


def _failed(
    run_id: UUID, chunk: SealedChunk, status: FindingStatus, past: Past, position: int, *, is_gone: bool
) -> Iterable[Any]:
    """Where the finding failed last, while nothing says that it no longer does."""
    if is_gone or status is FindingStatus.PASS:
        return (None, None, None, None)
    if status is FindingStatus.FAIL:
        return (run_id, chunk.place.unit, chunk.place.index, position)
    return past.failed.get(position, (None, None, None, None))
