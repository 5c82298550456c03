"""Queries on results that go. Of a run that has gone its row stays, with when, why and by whose wish.

Locks are taken in one order: runs' rows by id, then the team's access record. The life of findings has a lock of its
own, and is never waited for with a run's row in hand.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.ledger.repository import EVENTS_CHANNEL
from coreo_results.life.repository import lock_life
from coreo_results.suppressions.repository import lock_hits
from coreo_shared.contracts.custody import DEFAULT_DISPLAY_DAYS
from coreo_shared.contracts.terms import GoneWhy, ObjectKind

# Runs of the onboard pool have no results.
_LOCK = {
    kind: text(f"""
        SELECT run_id, ended_at IS NOT NULL AS has_ended FROM runs
        WHERE team_id = :team AND {column} = :id AND pool <> 'onboard' ORDER BY run_id FOR NO KEY UPDATE
    """)  # noqa: S608  constants
    for kind, column in (
        (ObjectKind.RUN, "run_id"),
        (ObjectKind.PLAN, "plan_id"),
        (ObjectKind.CLOUD_ACCOUNT, "cloud_account_id"),
    )
}
# From here on only runs that are locked: one that begins meanwhile is none of them.
_LOCKED = "team_id = :team AND run_id = ANY (CAST(:runs AS uuid[]))"
_DROP_KEYS = text(f"DELETE FROM run_keys WHERE {_LOCKED}")  # noqa: S608  constants
_TELL = f"""
    INSERT INTO run_events
        (team_id, run_id, version, state, reason, attempt, units_done, units_total, counts,
        terms, deploy, resume_at, approval_until, results_gone)
    SELECT team_id, run_id, version, state, reason, attempt, units_done, units_total, counts,
        terms, deploy, resume_at, approval_until,
        jsonb_build_object('at', purged_at, 'why', coalesce(purged_why, '{GoneWhy.ACCOUNT}'), 'by', purged_by)
    FROM changed
"""  # noqa: S608  constants
_GONE = text(f"""
    WITH changed AS (
        UPDATE runs SET purged_at = now(), purged_why = :why, purged_by = :by, forget_life = :forget_life,
            version = version + 1, updated_at = now()
        WHERE {_LOCKED} AND purged_at IS NULL RETURNING *
    ), told AS ({_TELL})
    SELECT count(*) AS runs, pg_notify('{EVENTS_CHANNEL}', '') FROM changed
""")  # noqa: S608  constants
_LIVES = text(f"""
    SELECT cloud_account_id, plan_id, clock_timestamp() AS until FROM runs WHERE {_LOCKED} AND plan_id IS NOT NULL
    GROUP BY cloud_account_id, plan_id ORDER BY cloud_account_id, plan_id
""")  # noqa: S608  constants
_LEFT = text(f"SELECT run_id FROM runs WHERE {_LOCKED} AND cleared_at IS NULL ORDER BY run_id")  # noqa: S608  constants
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
# A trigger forgets with it who saw the run's findings first (migration 0013).
_CLEARED = text("UPDATE runs SET cleared_at = now() WHERE team_id = :team AND run_id = :run")
# Table, its key within a run, rows at once. With chunks go groups and changes.
_PARTS = (
    ("suppression_hits", "suppression_id, version, unit, chunk_index", 2_000),
    ("suppression_marks", "suppression_id, version", 2_000),
    ("chunks", "unit, chunk_index", 20),
    ("run_documents", "name, part", 20),
    ("resolved_findings", "severity_order, rule_id, tag", 5_000),
    ("units", "unit", 2_000),
    ("run_totals", "severity_order, rule_id, status, region", 5_000),
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
NOT_EVERYTHING = "Not everything could be evaluated."  # a reason without counts
_FORGET_COUNTS = text(f"""
    WITH chosen AS (
        SELECT run_id FROM runs WHERE team_id = :team AND purged_at IS NOT NULL AND counts_kept
            AND EXISTS (SELECT FROM custody_settings s WHERE s.team_id = :team AND NOT s.keep_counts)
        ORDER BY run_id LIMIT 500 FOR NO KEY UPDATE SKIP LOCKED
    ), changed AS (
        UPDATE runs r SET counts = '{{}}', changes = NULL, counts_kept = false, version = version + 1,
            updated_at = now(), reason = CASE WHEN r.state = 'PARTIAL' THEN '{NOT_EVERYTHING}' ELSE r.reason END
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
    """The runs of a scope, and whether all have ended."""

    runs: list[UUID]
    have_ended: bool


@dataclass(frozen=True)
class Life:
    """What is known of a plan's findings in a cloud account, as far as they were not seen after `until`."""

    cloud_account_id: UUID
    plan_id: UUID
    until: datetime


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
        """Locks all runs of the scope, so that none of them can be claimed meanwhile."""
        rows = (await self._connection.execute(_LOCK[scope.kind], {**self._team, "id": scope.id})).all()
        return Locked([row.run_id for row in rows], all(row.has_ended for row in rows))

    async def lock_due(self, run_id: UUID) -> bool:
        """Whether the run's time is over and nobody else has it in hand; it is locked then."""
        return (await self._connection.execute(_IS_DUE, {**self._team, "run": run_id})).first() is not None

    async def drop(self, runs: list[UUID], reason: Reason, *, forget_life: bool = False) -> int:
        """Drops the keys of locked runs, and says of them that they are gone; of how many that is news."""
        await self._connection.execute(_DROP_KEYS, {**self._team, "runs": runs})
        said = {"why": reason.why, "by": reason.by, "forget_life": forget_life}
        return int((await self._connection.execute(_GONE, {**self._team, "runs": runs, **said})).one().runs)

    async def drop_suppressions(self, cloud_account_id: UUID) -> None:
        """Deletes those that are for this cloud account alone."""
        await self._connection.execute(_SUPPRESSIONS, {**self._team, "id": cloud_account_id})

    async def lives_of(self, runs: list[UUID]) -> list[Life]:
        """What is known by these runs, until now."""
        rows = await self._connection.execute(_LIVES, {**self._team, "runs": runs})
        return [Life(row.cloud_account_id, row.plan_id, row.until) for row in rows]

    async def left(self, runs: list[UUID]) -> list[UUID]:
        """Those of these runs, all gone, of which something is left."""
        return list((await self._connection.execute(_LEFT, {**self._team, "runs": runs})).scalars())

    async def life_of(self, run_id: UUID) -> Life | None:
        """What goes with a gone run; None when it stays."""
        row = (await self._connection.execute(_PURGED, {**self._team, "run": run_id})).first()
        return None if row is None else Life(row.cloud_account_id, row.plan_id, row.purged_at)

    async def forget_life(self, life: Life) -> int:
        """Deletes some of it; of how many findings."""
        await lock_life(self._connection, self._team["team"], life.cloud_account_id, life.plan_id)
        where = {"cloud_account": life.cloud_account_id, "plan": life.plan_id, "until": life.until}
        return (await self._connection.execute(_FORGET_LIFE, {**self._team, **where})).rowcount

    async def clear(self, run_id: UUID) -> bool | None:
        """Deletes some of what is left of a run that is gone; whether nothing is.

        None when there is nothing to do here, or somebody else is at it.
        """
        run = {**self._team, "run": run_id}
        if (await self._connection.execute(_LOCK_PURGED, run)).first() is None:
            return None
        await lock_hits(self._connection, self._team["team"])
        for statement, limit in _CLEAR:
            if (await self._connection.execute(statement, run)).rowcount == limit:
                return False
        await self._connection.execute(_CLEARED, run)
        return True

    async def forget_counts(self) -> int:
        """Clears the counts of some runs that are gone, if the team wants none; of how many."""
        return int((await self._connection.execute(_FORGET_COUNTS, self._team)).one().runs)
