"""Queries on the outbox, as the role coreo_api_system: over all teams.

Who delivers holds an advisory lock, not the rows: a transaction that waits for the network must have no transaction id
yet, as the results service's feed, should it share our server, waits for the oldest one at work.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_api.accounts.states import AccountState
from coreo_shared.contracts.terms import Pool

# First halves of locks' names; the second is the team, or 0.
_TEAM_LOCKS = {Pool.AUDIT: 0x436F, Pool.DEPLOY: 0x4373}
_WISHES_LOCK = 0x4370


async def teams_with_jobs(connection: AsyncConnection, pool: Pool, now: datetime) -> Sequence[UUID]:
    """Teams that have jobs of the pool to be sent, who waits longest first."""
    statement = text(
        "SELECT o.team_id FROM outbox o JOIN runs r ON (r.team_id, r.id) = (o.team_id, o.run_id) "
        "WHERE o.kind IN ('job', 'resume') AND o.due_at <= :now AND r.pool = :pool "
        "GROUP BY o.team_id ORDER BY min(o.created_at)"
    )
    return (await connection.execute(statement, {"now": now, "pool": pool})).scalars().all()


async def lock_team(connection: AsyncConnection, team_id: UUID, pool: Pool) -> bool:
    """Whether no other replica is sending the team's jobs of the pool; none begins to until the transaction ends."""
    statement = text("SELECT pg_try_advisory_xact_lock(:lock, hashtext(:team))")
    values = {"lock": _TEAM_LOCKS[pool], "team": str(team_id)}
    return bool((await connection.execute(statement, values)).scalar_one())


async def drop_needless_jobs(connection: AsyncConnection) -> None:
    """Takes back the jobs of runs that ended, or that nobody wants any more, before they were sent.

    Who goes on with a run hears from the ledger that it shall end.
    """
    statement = text(
        "DELETE FROM outbox o USING runs r WHERE (r.team_id, r.id) = (o.team_id, o.run_id) "
        "AND ((o.kind = 'job' AND (r.ended_at IS NOT NULL OR r.cancel_requested)) "
        "OR (o.kind = 'resume' AND r.ended_at IS NOT NULL))"
    )
    await connection.execute(statement)


async def count_at_work(connection: AsyncConnection, team_id: UUID) -> int:
    """How many of the team's audits were sent and have not ended."""
    statement = text(
        "SELECT count(*) FROM runs WHERE team_id = :team AND ended_at IS NULL AND dispatched_at IS NOT NULL "
        "AND pool = 'audit'"
    )
    return int((await connection.execute(statement, {"team": team_id})).scalar_one())


_JOBS = """
SELECT o.id, o.attempts, o.team_id, o.ticket, r.id AS run_id, r.pool, r.plan_id, r.plan_revision, r.expires_at,
    r.backup, r.region, r.target_id, g.spec, g.terms, g.token_id, c.id AS cloud_account_id, c.account_id, c.role_arn,
    c.external_id
FROM outbox o JOIN runs r ON (r.team_id, r.id) = (o.team_id, o.run_id)
JOIN run_groups g ON (g.team_id, g.id) = (r.team_id, r.group_id)
JOIN cloud_accounts c ON (c.team_id, c.id) = (r.team_id, r.cloud_account_id)
WHERE o.team_id = :team AND o.kind IN ('job', 'resume') AND o.due_at <= :now AND r.expires_at > :now
    AND r.pool = :pool AND c.deleted_at IS NULL
"""


async def take_jobs(connection: AsyncConnection, team_id: UUID, now: datetime, limit: int) -> Sequence[Row[Any]]:
    """Audits to be sent now, oldest first, with all that goes into them; under `lock_team`.

    A job waits while its cloud account's role is not proven, or no longer.
    """
    statement = text(f"{_JOBS} AND c.state = :connected ORDER BY o.created_at, o.id LIMIT :limit")
    values = {"team": team_id, "now": now, "limit": limit, "pool": Pool.AUDIT, "connected": AccountState.CONNECTED}
    return (await connection.execute(statement, values)).all()


async def take_deploys(connection: AsyncConnection, team_id: UUID, now: datetime, limit: int) -> Sequence[Row[Any]]:
    """As `take_jobs`, for deploys whose turn it is.

    Who changes a stack is followed to the end, whatever has become of the account: AWS goes on, watched or not.
    """
    statement = text(
        f"{_JOBS} AND r.holds_target AND (c.state = :connected OR (r.state = 'APPLYING' AND c.role_arn IS NOT NULL)) "
        "ORDER BY o.due_at, o.id LIMIT :limit"
    )
    values = {"team": team_id, "now": now, "limit": limit, "pool": Pool.DEPLOY, "connected": AccountState.CONNECTED}
    return (await connection.execute(statement, values)).all()


async def mark_sent(connection: AsyncConnection, team_id: UUID, rows: Sequence[Row[Any]], now: datetime) -> None:
    """These rows of `take_jobs` are on the queue. One that has got another ticket since stays to be sent."""
    values = {
        "team": team_id,
        "ids": [row.id for row in rows],
        "tickets": [row.ticket or 0 for row in rows],
        "runs": [row.run_id for row in rows],
        "now": now,
    }
    for statement in (
        (
            "DELETE FROM outbox o USING unnest(CAST(:ids AS uuid[]), CAST(:tickets AS bigint[])) AS e (id, ticket) "
            "WHERE o.team_id = :team AND o.id = e.id AND coalesce(o.ticket, 0) = e.ticket"
        ),
        "UPDATE runs SET dispatched_at = :now WHERE team_id = :team AND id = ANY(CAST(:runs AS uuid[]))",
    ):
        await connection.execute(text(statement), values)


async def postpone(connection: AsyncConnection, team_id: UUID, row_id: UUID, problem: str, due_at: datetime) -> None:
    """This row could not be delivered; it is due again later."""
    statement = text(
        "UPDATE outbox SET attempts = attempts + 1, problem = :problem, due_at = :due_at "
        "WHERE team_id = :team AND id = :id"
    )
    await connection.execute(statement, {"team": team_id, "id": row_id, "problem": problem, "due_at": due_at})


async def add_expiries(connection: AsyncConnection, reason_sent: str, reason_unsent: str, now: datetime) -> None:
    """A row of kind expire for each run that no worker has taken in time.

    Reasons may have `{pool}` in them.
    """
    statement = text(
        "INSERT INTO outbox (team_id, id, kind, run_id, reason, created_at, due_at) "
        "SELECT team_id, gen_random_uuid(), 'expire', id, "
        "replace(CASE WHEN dispatched_at IS NULL THEN :unsent ELSE :sent END, '{pool}', pool), "
        "CAST(:now AS timestamptz), "
        "CAST(:now AS timestamptz) FROM runs WHERE state = 'QUEUED' AND expires_at <= :now "
        "AND deploy->>'resume' IS NULL ON CONFLICT DO NOTHING"  # the ledger ends what was approved and not gone on with
    )
    await connection.execute(statement, {"sent": reason_sent, "unsent": reason_unsent, "now": now})


async def lock_wishes(connection: AsyncConnection) -> bool:
    """Whether no other replica is delivering wishes; none begins to until the transaction ends."""
    statement = text("SELECT pg_try_advisory_xact_lock(:lock, 0)")
    return bool((await connection.execute(statement, {"lock": _WISHES_LOCK})).scalar_one())


async def take_wishes(connection: AsyncConnection, now: datetime, limit: int) -> Sequence[Row[Any]]:
    """Rows of kind cancel and expire to be delivered now; under `lock_wishes`."""
    statement = text(
        "SELECT o.id, o.team_id, o.kind, o.reason, o.attempts, r.id AS run_id, r.plan_id, r.plan_revision, r.ended_at, "
        "r.pool, r.cloud_account_id, c.account_id "
        "FROM outbox o JOIN runs r ON (r.team_id, r.id) = (o.team_id, o.run_id) "
        "JOIN cloud_accounts c ON (c.team_id, c.id) = (r.team_id, r.cloud_account_id) "
        "WHERE o.kind IN ('cancel', 'expire') AND o.due_at <= :now "
        "ORDER BY o.created_at LIMIT :limit"
    )
    return (await connection.execute(statement, {"now": now, "limit": limit})).all()


async def remove(connection: AsyncConnection, team_id: UUID, row_id: UUID) -> None:
    """This row is delivered."""
    statement = text("DELETE FROM outbox WHERE team_id = :team AND id = :id")
    await connection.execute(statement, {"team": team_id, "id": row_id})
