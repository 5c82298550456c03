"""Queries on results that go. Of a run that has gone its row stays, with when, why and by whose wish.

Locks are taken in one order: runs' rows by id, then the team's access record. The life of findings has a lock of its
own, and is never waited for with a run's row in hand.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.ledger.repository import EVENTS_CHANNEL
from coreo_results.life.repository import lock_life
from coreo_results.suppressions.repository import lock_hits
from coreo_shared.contracts.custody import DEFAULT_DISPLAY_DAYS
from coreo_shared.contracts.terms import GoneWhy, ObjectKind

# Runs of the onboard pool have no results.
_SCOPES = {
    ObjectKind.RUN: "r.team_id = :team AND r.run_id = :id AND r.pool <> 'onboard'",
    ObjectKind.PLAN: "r.team_id = :team AND r.plan_id = :id AND r.pool <> 'onboard'",
    ObjectKind.CLOUD_ACCOUNT: "r.team_id = :team AND r.cloud_account_id = :id AND r.pool <> 'onboard'",
}


def _of_scope(statement: str) -> dict[ObjectKind, TextClause]:
    return {kind: text(statement.format(scope=scope)) for kind, scope in _SCOPES.items()}


# All rows are locked, so that none can be claimed meanwhile.
_LOCK = _of_scope("""
    SELECT count(*) AS runs, count(*) FILTER (WHERE ended_at IS NULL) AS at_work
    FROM (SELECT r.ended_at FROM runs r WHERE {scope} ORDER BY r.run_id FOR NO KEY UPDATE) AS locked
""")
_DROP_KEYS = _of_scope("""
    DELETE FROM run_keys k USING runs r WHERE {scope} AND (k.team_id, k.run_id) = (r.team_id, r.run_id)
""")
# The feed hears of it, so that the api can say so of its run: once the row and the event are there.
_TELL = f"""
    INSERT INTO run_events
        (team_id, run_id, version, state, reason, attempt, units_done, units_total, counts, results_gone)
    SELECT team_id, run_id, version, state, reason, attempt, units_done, units_total, counts,
        jsonb_build_object('at', purged_at, 'why', coalesce(purged_why, '{GoneWhy.ACCOUNT}'), 'by', purged_by)
    FROM changed
"""  # noqa: S608  constants
_GONE = _of_scope(
    f"""
    WITH changed AS (
        UPDATE runs r SET purged_at = now(), purged_why = :why, purged_by = :by, forget_life = :forget_life,
            version = version + 1, updated_at = now()
        WHERE {{scope}} AND r.purged_at IS NULL RETURNING r.*
    ), told AS ({_TELL})
    SELECT count(*) AS runs, pg_notify('{EVENTS_CHANNEL}', '') FROM changed
"""  # noqa: S608  constants
)
_LIVES = _of_scope("""
    SELECT DISTINCT r.cloud_account_id, r.plan_id FROM runs r WHERE {scope} AND r.plan_id IS NOT NULL
    ORDER BY r.cloud_account_id, r.plan_id
""")
_LEFT = _of_scope("""
    SELECT r.run_id FROM runs r WHERE {scope} AND r.purged_at IS NOT NULL AND r.cleared_at IS NULL ORDER BY r.run_id
""")
_SUPPRESSIONS = text("DELETE FROM suppressions WHERE team_id = :team AND cloud_account_id = :id")
_LOCK_PURGED = text("""
    SELECT 1 FROM runs WHERE team_id = :team AND run_id = :run AND purged_at IS NOT NULL AND cleared_at IS NULL
    FOR NO KEY UPDATE SKIP LOCKED
""")
_PURGED = text("""
    SELECT cloud_account_id, plan_id, purged_at FROM runs
    WHERE team_id = :team AND run_id = :run AND purged_at IS NOT NULL AND cleared_at IS NULL AND forget_life
        AND plan_id IS NOT NULL
""")
_CLEARED = text("UPDATE runs SET cleared_at = now() WHERE team_id = :team AND run_id = :run")
# Table, its key within a run, rows at once. With chunks go groups and changes.
_PARTS = (
    ("suppression_hits", "suppression_id, version, unit, chunk_index", 2_000),
    ("suppression_marks", "suppression_id, version", 2_000),
    ("chunks", "unit, chunk_index", 20),
    ("resolved_findings", "severity_order, rule_id, tag", 5_000),
    ("units", "unit", 2_000),
    ("run_keys", "run_id", 1),
)


def _delete_some(table: str, key: str, limit: int) -> tuple[TextClause, int]:
    statement = f"""
        DELETE FROM {table} WHERE team_id = :team AND run_id = :run AND ({key}) IN (
            SELECT {key} FROM {table} WHERE team_id = :team AND run_id = :run LIMIT {limit})
    """  # noqa: S608  constants
    return text(statement), limit


_CLEAR = [_delete_some(*part) for part in _PARTS]
_FORGET_LIFE = text("""
    DELETE FROM finding_life WHERE (team_id, cloud_account_id, plan_id, tag) IN (
        SELECT team_id, cloud_account_id, plan_id, tag FROM finding_life
        WHERE team_id = :team AND cloud_account_id = :cloud_account AND plan_id = :plan AND last_seen <= :until
        LIMIT 5000)
""")
_NOT_EVERYTHING = "Not everything could be evaluated."
_FORGET_COUNTS = text(f"""
    WITH chosen AS (
        SELECT run_id FROM runs WHERE team_id = :team AND purged_at IS NOT NULL AND counts_kept
            AND EXISTS (SELECT FROM custody_settings s WHERE s.team_id = :team AND NOT s.keep_counts)
        ORDER BY run_id LIMIT 500 FOR NO KEY UPDATE SKIP LOCKED
    ), changed AS (
        UPDATE runs r SET counts = '{{}}', changes = NULL, counts_kept = false, version = version + 1,
            updated_at = now(), reason = CASE WHEN r.state = 'PARTIAL' THEN '{_NOT_EVERYTHING}' ELSE r.reason END
        FROM chosen c WHERE r.team_id = :team AND r.run_id = c.run_id RETURNING r.*
    ), told AS ({_TELL})
    SELECT count(*) AS runs, pg_notify('{EVENTS_CHANNEL}', '') FROM changed
""")  # noqa: S608  constants
_DAYS = f"make_interval(days => coalesce(p.display_days, s.display_days, {DEFAULT_DISPLAY_DAYS}))"
_IS_DUE = text(f"""
    SELECT r.run_id FROM runs r
    LEFT JOIN plan_custody_settings p ON p.team_id = r.team_id AND p.plan_id = r.plan_id
    LEFT JOIN custody_settings s ON s.team_id = r.team_id
    WHERE r.team_id = :team AND r.run_id = :run AND r.purged_at IS NULL AND r.plan_id IS NOT NULL
        AND r.ended_at < now() - {_DAYS}
    FOR NO KEY UPDATE OF r SKIP LOCKED
""")  # noqa: S608  constants
# Plan by plan, from one to the next by the index: how long runs are kept differs, so that no order of all runs would
# have those that are due at its beginning.
_DUE = text(f"""
    WITH RECURSIVE plans AS (
        (SELECT team_id, plan_id FROM runs WHERE purged_at IS NULL AND plan_id IS NOT NULL
            ORDER BY team_id, plan_id LIMIT 1)
        UNION ALL
        SELECT n.team_id, n.plan_id FROM plans CROSS JOIN LATERAL (
            SELECT r.team_id, r.plan_id FROM runs r
            WHERE r.purged_at IS NULL AND r.plan_id IS NOT NULL
                AND (r.team_id, r.plan_id) > (plans.team_id, plans.plan_id)
            ORDER BY r.team_id, r.plan_id LIMIT 1) AS n
    )
    SELECT due.team_id, due.run_id FROM plans
    LEFT JOIN plan_custody_settings p ON p.team_id = plans.team_id AND p.plan_id = plans.plan_id
    LEFT JOIN custody_settings s ON s.team_id = plans.team_id
    CROSS JOIN LATERAL (
        SELECT r.team_id, r.run_id, r.ended_at FROM runs r
        WHERE r.purged_at IS NULL AND r.plan_id IS NOT NULL
            AND r.team_id = plans.team_id AND r.plan_id = plans.plan_id AND r.ended_at < now() - {_DAYS}
        ORDER BY r.ended_at LIMIT :limit) AS due
    ORDER BY due.ended_at, due.run_id LIMIT :limit
""")  # noqa: S608  constants
_UNCLEARED = text("""
    SELECT team_id, run_id FROM runs WHERE purged_at IS NOT NULL AND cleared_at IS NULL
    ORDER BY purged_at, run_id LIMIT :limit
""")
_COUNTS_LEFT = text("""
    SELECT s.team_id FROM custody_settings s WHERE NOT s.keep_counts AND EXISTS (
        SELECT FROM runs r WHERE r.team_id = s.team_id AND r.purged_at IS NOT NULL AND r.counts_kept)
""")


@dataclass(frozen=True)
class Scope:
    """Runs whose results shall go: a run, a plan's, or a cloud account's."""

    kind: ObjectKind
    id: UUID


@dataclass(frozen=True)
class Reason:
    """Why they go, and by whose wish."""

    why: GoneWhy
    by: str | None = None


@dataclass(frozen=True)
class Locked:
    """How many runs of a scope there are, and how many have not ended."""

    runs: int
    at_work: int


@dataclass(frozen=True)
class PlanInAccount:
    """Whose findings have a life in common."""

    cloud_account_id: UUID
    plan_id: UUID


async def due_runs(connection: AsyncConnection, limit: int) -> list[tuple[UUID, UUID]]:
    """(team, run) of runs whose time is over, longest over first; for the system role."""
    return [(row.team_id, row.run_id) for row in await connection.execute(_DUE, {"limit": limit})]


async def uncleared_runs(connection: AsyncConnection, limit: int) -> list[tuple[UUID, UUID]]:
    """(team, run) of runs of which something is left, longest gone first; for the system role."""
    return [(row.team_id, row.run_id) for row in await connection.execute(_UNCLEARED, {"limit": limit})]


async def teams_with_counts(connection: AsyncConnection) -> list[UUID]:
    """Teams that want no counts of what is gone, and still have some; for the system role."""
    return list((await connection.execute(_COUNTS_LEFT)).scalars())


class RetentionRepository:
    """Results of the connection's team."""

    def __init__(self, connection: AsyncConnection, team_id: UUID) -> None:
        self._connection = connection
        self._team = {"team": team_id}

    async def lock(self, scope: Scope) -> Locked:
        """Locks all runs of the scope."""
        row = (await self._connection.execute(_LOCK[scope.kind], self._of(scope))).one()
        return Locked(row.runs, row.at_work)

    async def lock_due(self, run_id: UUID) -> bool:
        """Whether the run's time is over and nobody else has it in hand; it is locked then."""
        return (await self._connection.execute(_IS_DUE, {**self._team, "run": run_id})).first() is not None

    async def drop(self, scope: Scope, reason: Reason, *, forget_life: bool = False) -> int:
        """Drops the keys of the locked runs, and says of them that they are gone; of how many that is news."""
        await self._connection.execute(_DROP_KEYS[scope.kind], self._of(scope))
        said = {"why": reason.why, "by": reason.by, "forget_life": forget_life}
        row = (await self._connection.execute(_GONE[scope.kind], {**self._of(scope), **said})).one()
        return int(row.runs)

    async def drop_suppressions(self, cloud_account_id: UUID) -> None:
        """Deletes those that are for this cloud account alone."""
        await self._connection.execute(_SUPPRESSIONS, {**self._team, "id": cloud_account_id})

    async def plans_of(self, scope: Scope) -> list[PlanInAccount]:
        """The plans, by cloud account, that the scope has runs of."""
        rows = await self._connection.execute(_LIVES[scope.kind], self._of(scope))
        return [PlanInAccount(row.cloud_account_id, row.plan_id) for row in rows]

    async def left(self, scope: Scope) -> list[UUID]:
        """Runs of the scope of which something is left."""
        return list((await self._connection.execute(_LEFT[scope.kind], self._of(scope))).scalars())

    async def to_forget(self, run_id: UUID) -> tuple[PlanInAccount, datetime] | None:
        """Whose findings' life goes with the gone run, as far as it was seen by then; None when it stays."""
        row = (await self._connection.execute(_PURGED, {**self._team, "run": run_id})).first()
        return None if row is None else (PlanInAccount(row.cloud_account_id, row.plan_id), row.purged_at)

    async def forget_life(self, plan: PlanInAccount, until: datetime) -> int:
        """Deletes some of what is known of findings that were not seen after `until`; how many."""
        team_id = self._team["team"]
        await lock_life(self._connection, team_id, plan.cloud_account_id, plan.plan_id)
        where = {"cloud_account": plan.cloud_account_id, "plan": plan.plan_id, "until": until}
        return (await self._connection.execute(_FORGET_LIFE, {**self._team, **where})).rowcount

    async def clear(self, run_id: UUID) -> bool:
        """Deletes some of what is left of a run that is gone; whether there may be more.

        False as well when somebody else is at it.
        """
        run = {**self._team, "run": run_id}
        if (await self._connection.execute(_LOCK_PURGED, run)).first() is None:
            return False
        await lock_hits(self._connection, self._team["team"])
        for statement, limit in _CLEAR:
            if (await self._connection.execute(statement, run)).rowcount == limit:
                return True
        await self._connection.execute(_CLEARED, run)
        return False

    async def forget_counts(self) -> int:
        """Clears the counts of some runs that are gone, if the team wants none; of how many."""
        return int((await self._connection.execute(_FORGET_COUNTS, self._team)).one().runs)

    def _of(self, scope: Scope) -> Mapping[str, Any]:
        return {**self._team, "id": scope.id}
