"""Queries on deploy targets: one for each stack, whichever plans and cloud accounts lead to it.

A target has no lock of its own. Its runs come in the order of `position`; of those that have not ended one at most
holds the target (`runs.holds_target`), from before its job is sent until it ends or waits for people.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_shared.ids import new_id

_VIEW = """
SELECT t.id, t.account_id, t.region, t.stack_name, t.created_at,
    (SELECT count(*) FROM runs r WHERE (r.team_id, r.target_id) = (t.team_id, t.id) AND r.ended_at IS NULL) AS runs,
    (SELECT r.id FROM runs r WHERE (r.team_id, r.target_id) = (t.team_id, t.id) AND r.holds_target) AS held_by
FROM deploy_targets t WHERE t.team_id = :team
"""


async def ensure(
    connection: AsyncConnection, team_id: UUID, places: Sequence[tuple[str, str]], stack_name: str, now: datetime
) -> dict[tuple[str, str], UUID]:
    """Ids of the stack's targets by (AWS account id, region); made where there are none."""
    values = {
        "team": team_id,
        "ids": [new_id() for _ in places],
        "accounts": [account for account, _ in places],
        "regions": [region for _, region in places],
        "stack": stack_name,
        "now": now,
    }
    await connection.execute(
        text(
            "INSERT INTO deploy_targets (team_id, id, account_id, region, stack_name, created_at) "
            "SELECT :team, e.id, e.account, e.region, :stack, :now FROM unnest(CAST(:ids AS uuid[]), "
            "CAST(:accounts AS text[]), CAST(:regions AS text[])) AS e (id, account, region) "
            "ORDER BY e.account, e.region ON CONFLICT DO NOTHING"
        ),
        values,
    )
    found = await connection.execute(
        text(
            "SELECT id, account_id, region FROM deploy_targets WHERE team_id = :team AND stack_name = :stack "
            "AND account_id = ANY(CAST(:accounts AS text[])) AND region = ANY(CAST(:regions AS text[]))"
        ),
        values,
    )
    return {(row.account_id, row.region): row.id for row in found}


async def find(connection: AsyncConnection, team_id: UUID, target_id: UUID) -> Row[Any] | None:
    """A target."""
    return (await connection.execute(text(f"{_VIEW} AND t.id = :id"), {"team": team_id, "id": target_id})).first()


async def list_page(
    connection: AsyncConnection, team_id: UUID, *, stack_name: str | None, busy: bool, before: UUID, limit: int
) -> Sequence[Row[Any]]:
    """Targets, newest first; of one stack name, or those alone that have runs, if asked."""
    statement = text(
        f"{_VIEW} AND t.id < :before AND (CAST(:stack AS text) IS NULL OR t.stack_name = :stack) "
        "AND (NOT :busy OR EXISTS (SELECT FROM runs r WHERE (r.team_id, r.target_id) = (t.team_id, t.id) "
        "AND r.ended_at IS NULL)) "
        "ORDER BY t.id DESC LIMIT :limit"
    )
    values = {"team": team_id, "stack": stack_name, "busy": busy, "before": before, "limit": limit}
    return (await connection.execute(statement, values)).all()


async def queue_of(
    connection: AsyncConnection, team_id: UUID, target_id: UUID, *, lock: bool = False
) -> Sequence[Row[Any]]:
    """The target's runs that have not ended (id, state, action, position, ...), in their order."""
    statement = text(
        "SELECT r.id, r.plan_id, r.cloud_account_id, r.action, r.state, r.reason, r.holds_target, "  # noqa: S608  constants
        "r.cancel_requested, r.dispatched_at, r.created_at, r.position, c.state AS account_state FROM runs r "
        "JOIN cloud_accounts c ON (c.team_id, c.id) = (r.team_id, r.cloud_account_id) "
        "WHERE r.team_id = :team AND r.target_id = :target AND r.ended_at IS NULL "
        f"ORDER BY r.position {'FOR UPDATE OF r' if lock else ''}"
    )
    return (await connection.execute(statement, {"team": team_id, "target": target_id})).all()


async def set_positions(
    connection: AsyncConnection, team_id: UUID, run_ids: Sequence[UUID], positions: Sequence[int]
) -> None:
    """These (locked) runs have these places now."""
    statement = text(
        "UPDATE runs r SET position = e.position FROM unnest(CAST(:ids AS uuid[]), CAST(:positions AS bigint[])) "
        "AS e (id, position) WHERE r.team_id = :team AND r.id = e.id"
    )
    values = {"team": team_id, "ids": list(run_ids), "positions": list(positions)}
    await connection.execute(statement, values)


async def waiting_drifts(connection: AsyncConnection, team_id: UUID, plan_id: UUID) -> set[tuple[UUID, str]]:
    """Where a drift check of the plan has not ended: (cloud account, region)."""
    statement = text(
        "SELECT cloud_account_id, region FROM runs WHERE team_id = :team AND plan_id = :plan AND action = 'drift' "
        "AND ended_at IS NULL"
    )
    found = await connection.execute(statement, {"team": team_id, "plan": plan_id})
    return {(row.cloud_account_id, row.region) for row in found}
