"""What was known of findings, put together again from backups, the newest run of a plan first.

The newest run that says anything of a finding decides. One whose unit a later run listed to the end, under rules that
it ran, without saying anything of it, is gone. The comparison of runs that end later goes on from there.
"""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.backups.records import Past
from coreo_results.chunks.columns import Group
from coreo_results.chunks.repository import array, severity_order
from coreo_results.chunks.sealing import SealedChunk
from coreo_shared.contracts.terms import FindingStatus

_REMEMBERED = 100_000  # tags; of more, the database alone knows that they are there
# Of a finding that a run has several times the worst counts, as in `life.comparison`.
_RANK = {FindingStatus.FAIL: 0, FindingStatus.NOT_EVALUATED: 1, FindingStatus.SUPPRESSED: 2, FindingStatus.PASS: 3}
_RANKED = "CASE {status} WHEN 'FAIL' THEN 0 WHEN 'NOT_EVALUATED' THEN 1 WHEN 'SUPPRESSED' THEN 2 ELSE 3 END"
# Findings come by groups that are alike; `first` is a place in the lists of who saw any of them first. Where the run
# does not say (-1), it is the first that is known of: to leave the finding out would say that it is gone.
_KNOW = text(f"""
    INSERT INTO finding_life AS l (team_id, cloud_account_id, plan_id, tag, rule_id, severity_order, unit, status,
        first_run, first_seen, last_run, last_seen, failed_run, failed_unit, failed_chunk, failed_position)
    SELECT :team, :cloud_account, :plan, n.tag, g.rule_id, g.severity_order, :unit, g.status,
        coalesce((CAST(:first_runs AS uuid[]))[n.first + 1], :run),
        coalesce((CAST(CAST(:first_seen AS text[]) AS timestamptz[]))[n.first + 1],
            CAST(CAST(:ended_at AS text) AS timestamptz)),
        :run, CAST(CAST(:ended_at AS text) AS timestamptz),
        CASE g.status WHEN 'FAIL' THEN CAST(:run AS uuid) END, CASE g.status WHEN 'FAIL' THEN :unit END,
        CASE g.status WHEN 'FAIL' THEN CAST(:index AS int) END, CASE g.status WHEN 'FAIL' THEN n.position END
    FROM unnest(CAST(:rules AS text[]), CAST(:severities AS smallint[]), CAST(:statuses AS text[]),
        CAST(:tags AS text[]), CAST(:firsts AS text[]), CAST(:positions AS text[]))
        AS g (rule_id, severity_order, status, tags, firsts, positions)
    CROSS JOIN LATERAL unnest(CAST(g.tags AS uuid[]), CAST(g.firsts AS int[]), CAST(g.positions AS int[]))
        AS n (tag, first, position)
    ON CONFLICT (team_id, cloud_account_id, plan_id, tag) DO UPDATE SET
        unit = excluded.unit, status = excluded.status, failed_run = excluded.failed_run,
        failed_unit = excluded.failed_unit, failed_chunk = excluded.failed_chunk,
        failed_position = excluded.failed_position
    WHERE l.last_run = excluded.last_run
        AND {_RANKED.format(status="excluded.status")} < {_RANKED.format(status="l.status")}
""")  # noqa: S608  constants
# Where a finding failed that the run says neither FAIL nor PASS of.
_FAILED = text("""
    UPDATE finding_life l SET failed_run = f.run_id, failed_unit = f.unit, failed_chunk = f.index,
        failed_position = f.position
    FROM unnest(CAST(:tags AS uuid[]), CAST(:runs AS uuid[]), CAST(:units AS text[]), CAST(:indexes AS int[]),
        CAST(:positions AS int[])) AS f (tag, run_id, unit, index, position)
    WHERE l.team_id = :team AND l.cloud_account_id = :cloud_account AND l.plan_id = :plan AND l.tag = f.tag
        AND l.last_run = :run AND l.status NOT IN ('PASS', 'FAIL', 'GONE')
""")


@dataclass
class PlanPast:
    """Of one plan in one cloud account. Its runs are given newest first, each with all of its chunks."""

    team_id: UUID
    cloud_account_id: UUID
    plan_id: UUID
    _judged: dict[str, set[str]] = field(default_factory=dict)  # rules by unit, of runs that are newer
    _known: set[str] = field(default_factory=set)  # tags, of runs that are newer
    _of_run: set[str] = field(default_factory=set)
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
        if past is None or self._known.issuperset(chunk.tags):
            return
        values = self._values(chunk, past)
        place = {"team": self.team_id, "cloud_account": self.cloud_account_id, "plan": self.plan_id}
        place |= {"run": UUID(run["run_id"])}
        if values["tags"]:
            more = {"ended_at": run["ended_at"], "unit": unit, "index": chunk.place.index}
            more |= {"first_runs": run["first_runs"], "first_seen": run["first_seen"]}
            await connection.execute(_KNOW, {**place, **more, **values})
        if past.failed is not None:
            await connection.execute(_FAILED, {**place, **_failed(chunk, past.failed)})

    def leave(self, run: dict[str, Any]) -> None:
        """The run at hand is over; what follows is older."""
        rules = run.get("rules")
        for unit, is_whole in self._units.items():
            if is_whole:
                self._judged.setdefault(unit, set()).update(self._found[unit] if rules is None else rules)
        if len(self._known) + len(self._of_run) <= _REMEMBERED:
            self._known |= self._of_run
        self._of_run, self._units, self._found = set(), {}, {}

    def _values(self, chunk: SealedChunk, past: Past) -> dict[str, list[Any]]:
        seen: set[str] = set()
        first_of = past.firsts()
        rows: list[tuple[Any, ...]] = []
        for group in sorted(chunk.groups, key=lambda group: _RANK[group.status]):
            positions = [
                position
                for position, tag in enumerate(chunk.tags[group.first : group.first + group.count], group.first)
                if tag not in self._known and tag not in seen
            ]
            tags = [chunk.tags[position] for position in positions]
            if len(set(tags)) < len(tags):
                positions = list({chunk.tags[position]: position for position in reversed(positions)}.values())
                tags = [chunk.tags[position] for position in positions]
            if tags:
                seen.update(tags)
                firsts = [first_of[position] for position in positions]
                shown = self._status(chunk.place.unit, group)
                lists = (array(tags), array(firsts), array(positions))
                rows.append((group.rule_id, severity_order(group.severity), shown, *lists))
        self._of_run |= seen
        names = ("rules", "severities", "statuses", "tags", "firsts", "positions")
        return dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)) if rows else {"tags": []}

    def _status(self, unit: str, group: Group) -> str:
        return "GONE" if group.rule_id in self._judged.get(unit, ()) else group.status.value


def _failed(chunk: SealedChunk, failed: str) -> dict[str, list[Any]]:
    known = msgspec.json.decode(failed, type=dict[int, tuple[UUID, str, int, int]])
    places = list(known.values())
    return {
        "tags": [UUID(chunk.tags[position]) for position in known],
        "runs": [run for run, _, _, _ in places],
        "units": [unit for _, unit, _, _ in places],
        "indexes": [index for _, _, index, _ in places],
        "positions": [position for _, _, _, position in places],
    }
