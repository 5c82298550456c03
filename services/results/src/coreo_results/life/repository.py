"""Queries on the life of findings."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.life.comparison import COMPARE, FORGET, NOT_SEEN
from coreo_results.planner import joining_by_hash
from coreo_shared.contracts.life import ChangeCounts

_REMEMBER_GONE_DAYS = 400  # a resource that comes back within that time is not seen for the first time


@dataclass(frozen=True)
class EndedRun:
    """A run that has ended, of a plan in a cloud account."""

    run_id: UUID
    cloud_account_id: UUID
    plan_id: UUID
    rules: list[str] | None


@dataclass(frozen=True)
class Comparison:
    """What a run's comparison says; `counts` is None while there is none."""

    previous_run_id: UUID | None
    counts: ChangeCounts | None


@dataclass(frozen=True)
class Resolved:
    """A finding that a run resolved, and where it failed last."""

    severity_order: int
    rule_id: str
    tag: UUID
    gone: bool
    first_run: UUID
    first_seen: str
    failed_run: UUID
    failed_unit: str
    failed_chunk: int
    failed_position: int


@dataclass(frozen=True)
class Past:
    """What a run was told of a finding beside the finding: its change's code, and when it was first seen."""

    code: int
    first_run: UUID | None
    first_seen: str | None


# Runs that say all there is to say of their units: audits, and of deploys those that look for drift.
_DUE = (
    "ended_at IS NOT NULL AND life_at IS NULL AND purged_at IS NULL AND plan_id IS NOT NULL"
    " AND (pool = 'audit' OR action = 'drift')"
)
_DUE_RUNS = text(f"SELECT team_id, run_id FROM runs WHERE {_DUE} ORDER BY ended_at, run_id LIMIT :limit")  # noqa: S608  constants
_PLAN_OF_DUE = text(f"""
    SELECT cloud_account_id, plan_id FROM runs WHERE team_id = :team AND run_id = :run AND {_DUE}
""")  # noqa: S608  constants
_SETTLED = text(f"""
    SELECT 1 FROM runs WHERE team_id = :team AND run_id = :run AND ended_at IS NOT NULL AND NOT ({_DUE})
""")  # noqa: S608  constants
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")
_NEXT_DUE = text(f"""
    SELECT run_id, cloud_account_id, plan_id, rules FROM runs
    WHERE team_id = :team AND cloud_account_id = :cloud_account AND plan_id = :plan AND {_DUE}
    ORDER BY ended_at, run_id LIMIT 1 FOR NO KEY UPDATE
""")  # noqa: S608  constants
# The clock, as the transaction may have begun before the one that it waited for.
_COMPARED = text("""
    UPDATE runs r SET life_at = clock_timestamp(), changes = CAST(:changes AS jsonb),
        first_runs = CAST(:first_runs AS uuid[]), first_seen = CAST(:first_seen AS timestamptz[]), previous_run_id = (
        SELECT p.run_id FROM runs p
        WHERE p.team_id = r.team_id AND p.cloud_account_id = r.cloud_account_id AND p.plan_id = r.plan_id
            AND p.target_id IS NOT DISTINCT FROM r.target_id
            AND p.life_at IS NOT NULL AND p.units_done > 0 AND p.run_id <> r.run_id
        ORDER BY p.life_at DESC LIMIT 1
    )
    WHERE r.team_id = :team AND r.run_id = :run
""")
_COMPARISON = text("SELECT previous_run_id, changes::text AS changes FROM runs WHERE team_id = :team AND run_id = :run")
_TOTAL = text("SELECT count(*) FROM resolved_findings WHERE team_id = :team AND run_id = :run")
_RESOLVED = text("""
    SELECT * FROM resolved_findings WHERE team_id = :team AND run_id = :run
        AND (CAST(:after AS boolean) IS FALSE OR (severity_order, rule_id, tag)
            > (CAST(:c_severity AS smallint), CAST(:c_rule AS text), CAST(:c_tag AS uuid)))
    ORDER BY severity_order, rule_id, tag LIMIT :limit
""")
# Each array is taken out of its compressed form once, by adding nothing to it, and not for each of its elements.
_PAST = text("""
    WITH wanted AS (
        SELECT * FROM unnest(CAST(:units AS text[]), CAST(:indexes AS int[]), CAST(:positions AS int[]))
            AS w (unit, chunk_index, position)
    ), told AS MATERIALIZED (
        SELECT unit, chunk_index, cc.codes || '{}' AS codes, cc.first_of || '{}' AS first_of
        FROM (SELECT DISTINCT unit, chunk_index FROM wanted) AS w
        JOIN chunk_changes cc USING (unit, chunk_index) WHERE cc.team_id = :team AND cc.run_id = :run
    )
    SELECT unit, chunk_index, w.position, t.codes[w.position + 1] AS code,
        r.first_runs[t.first_of[w.position + 1] + 1] AS first_run,
        r.first_seen[t.first_of[w.position + 1] + 1] AS first_seen
    FROM wanted w JOIN told t USING (unit, chunk_index)
    JOIN runs r ON r.team_id = :team AND r.run_id = :run
""")


async def lock_life(connection: AsyncConnection, team_id: UUID, cloud_account_id: UUID, plan_id: UUID) -> None:
    """Nobody else changes what is known of the plan's findings in the account until the transaction ends."""
    await connection.execute(_LOCK, {"key": f"life {team_id} {cloud_account_id} {plan_id}"})


async def due_runs(connection: AsyncConnection, limit: int) -> list[tuple[UUID, UUID]]:
    """(team, run) of runs that have ended and are not compared yet, oldest first; for the system role."""
    return [(row.team_id, row.run_id) for row in await connection.execute(_DUE_RUNS, {"limit": limit})]


class LifeRepository:
    """What became of findings of the connection's team."""

    def __init__(self, connection: AsyncConnection, team_id: UUID) -> None:
        self._connection = connection
        self._team_id = team_id

    async def next_due(self, run_id: UUID) -> EndedRun | None:
        """The oldest run of this run's plan and cloud account that is due, locked; None when this run is not due.

        Until the transaction ends nobody else compares runs of that plan in that account.
        """
        due = (await self._connection.execute(_PLAN_OF_DUE, self._run(run_id))).first()
        if due is None:
            return None
        plan = {"cloud_account": due.cloud_account_id, "plan": due.plan_id}
        await lock_life(self._connection, self._team_id, due.cloud_account_id, due.plan_id)
        if (await self._connection.execute(_PLAN_OF_DUE, self._run(run_id))).first() is None:
            return None  # somebody was quicker
        row = (await self._connection.execute(_NEXT_DUE, {"team": self._team_id, **plan})).first()
        return None if row is None else EndedRun(row.run_id, row.cloud_account_id, row.plan_id, row.rules)

    async def is_settled(self, run_id: UUID) -> bool:
        """Whether the run has ended and will never be due (any more)."""
        return (await self._connection.execute(_SETTLED, self._run(run_id))).first() is not None

    async def compare(self, run: EndedRun) -> ChangeCounts:
        """Compares the run with what is known, which then is what this run says."""
        key = {"team": self._team_id, "run": run.run_id, "cloud_account": run.cloud_account_id, "plan": run.plan_id}
        async with joining_by_hash(self._connection):
            row = (await self._connection.execute(COMPARE, {**key, "rules": run.rules})).one()
        plan = {name: key[name] for name in ("team", "cloud_account", "plan")}
        not_seen = (await self._connection.execute(NOT_SEEN, key)).scalar_one()
        await self._connection.execute(FORGET, {**plan, "days": _REMEMBER_GONE_DAYS})
        counts = ChangeCounts(
            new=row.new, unchanged=row.unchanged, changed=row.changed, resolved=row.resolved, not_seen=not_seen
        )
        changes = msgspec.json.encode(counts).decode()
        told = {"changes": changes, "first_runs": row.first_runs or [], "first_seen": row.first_seen or []}
        await self._connection.execute(_COMPARED, {**self._run(run.run_id), **told})
        return counts

    async def comparison(self, run_id: UUID) -> Comparison:
        """What the run's comparison says. The run must exist."""
        row = (await self._connection.execute(_COMPARISON, self._run(run_id))).one()
        counts = None if row.changes is None else msgspec.json.decode(row.changes, type=ChangeCounts)
        return Comparison(row.previous_run_id, counts)

    async def resolved_total(self, run_id: UUID) -> int:
        """How many findings the run resolved."""
        return int((await self._connection.execute(_TOTAL, self._run(run_id))).scalar_one())

    async def resolved(self, run_id: UUID, after: tuple[int, str, UUID] | None, limit: int) -> list[Resolved]:
        """What the run resolved, most severe first, after (severity order, rule, tag)."""
        severity, rule, tag = after or (0, "", UUID(int=0))
        cursor = {"after": after is not None, "c_severity": severity, "c_rule": rule, "c_tag": tag, "limit": limit}
        return [_resolved(row) for row in await self._connection.execute(_RESOLVED, {**self._run(run_id), **cursor})]

    async def past(self, run_id: UUID, places: Sequence[tuple[str, int, int]]) -> dict[tuple[str, int, int], Past]:
        """What the run was told of its findings at (unit, chunk, position); nothing before it was compared."""
        wanted = {
            "units": [unit for unit, _, _ in places],
            "indexes": [index for _, index, _ in places],
            "positions": [position for _, _, position in places],
        }
        rows = await self._connection.execute(_PAST, {**self._run(run_id), **wanted})
        return {
            (row.unit, row.chunk_index, row.position): Past(
                row.code, row.first_run, None if row.first_seen is None else written(row.first_seen)
            )
            for row in rows
        }

    def _run(self, run_id: UUID) -> dict[str, Any]:
        return {"team": self._team_id, "run": run_id}


def written(time: datetime) -> str:
    """RFC 3339, UTC."""
    return time.astimezone(UTC).isoformat()


def _resolved(row: Row[Any]) -> Resolved:
    return Resolved(
        severity_order=row.severity_order,
        rule_id=row.rule_id,
        tag=row.tag,
        gone=row.gone,
        first_run=row.first_run,
        first_seen=written(row.first_seen),
        failed_run=row.failed_run,
        failed_unit=row.failed_unit,
        failed_chunk=row.failed_chunk,
        failed_position=row.failed_position,
    )
