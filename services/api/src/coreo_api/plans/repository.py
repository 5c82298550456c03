"""Queries on plans. Deleted ones stay for the runs that name them, and are not found here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

_SELECT = """
SELECT p.id, p.name, p.kind, p.revision, r.spec, r.lint, p.schedule, p.enabled, p.next_tick_at, p.last_tick_at,
    p.last_tick_problem, p.created_at, p.updated_at,
    ARRAY(SELECT a.cloud_account_id FROM plan_accounts a
          WHERE (a.team_id, a.plan_id) = (p.team_id, p.id) ORDER BY a.position) AS cloud_account_ids
FROM plans p JOIN plan_revisions r ON (r.team_id, r.plan_id, r.revision) = (p.team_id, p.id, p.revision)
WHERE p.team_id = :team AND p.deleted_at IS NULL
"""


@dataclass(frozen=True)
class Revision:
    """A revision to be stored; `spec` and `lint` as JSON."""

    number: int
    spec: str
    lint: str | None = None


async def insert(
    connection: AsyncConnection,
    team_id: UUID,
    plan_id: UUID,
    *,
    values: dict[str, Any],
    first: Revision,
    now: datetime,
) -> None:
    """A new plan with its first revision. `values`: name, kind, schedule (JSON), enabled, next_tick_at."""
    await connection.execute(
        text(
            "INSERT INTO plans (team_id, id, name, kind, revision, schedule, enabled, next_tick_at, created_at, "
            "updated_at) VALUES (:team, :id, :name, :kind, 1, CAST(:schedule AS jsonb), :enabled, :next_tick_at, "
            ":now, :now)"
        ),
        values | {"team": team_id, "id": plan_id, "now": now},
    )
    await insert_revision(connection, team_id, plan_id, first, now=now)


async def insert_revision(
    connection: AsyncConnection, team_id: UUID, plan_id: UUID, revision: Revision, *, now: datetime
) -> None:
    """A revision of a plan."""
    statement = text(
        "INSERT INTO plan_revisions (team_id, plan_id, revision, spec, lint, created_at) "
        "VALUES (:team, :id, :number, CAST(:spec AS jsonb), CAST(:lint AS jsonb), :now)"
    )
    await connection.execute(statement, vars(revision) | {"team": team_id, "id": plan_id, "now": now})


async def find_revision(connection: AsyncConnection, team_id: UUID, plan_id: UUID, revision: int) -> Row[Any] | None:
    """A revision of a plan (revision, spec)."""
    statement = text(
        "SELECT revision, spec FROM plan_revisions WHERE team_id = :team AND plan_id = :id AND revision = :revision"
    )
    return (await connection.execute(statement, {"team": team_id, "id": plan_id, "revision": revision})).first()


async def update(
    connection: AsyncConnection, team_id: UUID, plan_id: UUID, *, values: dict[str, Any], now: datetime
) -> None:
    """Sets name, revision, schedule (JSON), enabled and next_tick_at."""
    statement = text(
        "UPDATE plans SET name = :name, revision = :revision, schedule = CAST(:schedule AS jsonb), "
        "enabled = :enabled, next_tick_at = :next_tick_at, updated_at = :now WHERE team_id = :team AND id = :id"
    )
    await connection.execute(statement, values | {"team": team_id, "id": plan_id, "now": now})


async def find(connection: AsyncConnection, team_id: UUID, plan_id: UUID, *, lock: bool = False) -> Row[Any] | None:
    """A plan by its id; locked against other changes, runs and ticks if asked."""
    statement = text(f"{_SELECT} AND p.id = :id {'FOR UPDATE OF p' if lock else ''}")
    return (await connection.execute(statement, {"team": team_id, "id": plan_id})).first()


async def was_there(connection: AsyncConnection, team_id: UUID, plan_id: UUID) -> bool:
    """Whether the team has, or had, such a plan."""
    statement = text("SELECT EXISTS (SELECT FROM plans WHERE team_id = :team AND id = :id)")
    return bool((await connection.execute(statement, {"team": team_id, "id": plan_id})).scalar_one())


async def list_page(connection: AsyncConnection, team_id: UUID, before: UUID, limit: int) -> Sequence[Row[Any]]:
    """Plans, newest first."""
    statement = text(f"{_SELECT} AND p.id < :before ORDER BY p.id DESC LIMIT :limit")
    return (await connection.execute(statement, {"team": team_id, "before": before, "limit": limit})).all()


async def list_revisions(
    connection: AsyncConnection, team_id: UUID, plan_id: UUID, below: int, limit: int
) -> Sequence[Row[Any]]:
    """Revisions of a plan, newest first."""
    statement = text(
        "SELECT r.revision, p.kind, r.spec, r.lint, r.created_at FROM plan_revisions r "
        "JOIN plans p ON (p.team_id, p.id) = (r.team_id, r.plan_id) "
        "WHERE r.team_id = :team AND r.plan_id = :id AND r.revision < :below ORDER BY r.revision DESC LIMIT :limit"
    )
    values = {"team": team_id, "id": plan_id, "below": below, "limit": limit}
    return (await connection.execute(statement, values)).all()


async def lock_accounts(connection: AsyncConnection, team_id: UUID, account_ids: Sequence[UUID]) -> set[UUID]:
    """Which of these the team has; they cannot be deleted until the transaction ends."""
    statement = text(
        "SELECT id FROM cloud_accounts WHERE team_id = :team AND id = ANY(CAST(:ids AS uuid[])) "
        "AND deleted_at IS NULL ORDER BY id FOR SHARE"
    )
    return set((await connection.execute(statement, {"team": team_id, "ids": list(account_ids)})).scalars())


async def set_accounts(connection: AsyncConnection, team_id: UUID, plan_id: UUID, account_ids: Sequence[UUID]) -> None:
    """These and no others are the plan's targets."""
    values = {"team": team_id, "id": plan_id}
    await connection.execute(text("DELETE FROM plan_accounts WHERE team_id = :team AND plan_id = :id"), values)
    statement = text(
        "INSERT INTO plan_accounts (team_id, plan_id, cloud_account_id, position) "
        "SELECT :team, :id, account, position "
        "FROM unnest(CAST(:ids AS uuid[])) WITH ORDINALITY AS target (account, position)"
    )
    await connection.execute(statement, values | {"ids": list(account_ids)})


async def delete(connection: AsyncConnection, team_id: UUID, plan_id: UUID, now: datetime) -> None:
    """The plan is gone for everyone; its rows stay for the runs that name it."""
    statement = text("UPDATE plans SET deleted_at = :now WHERE team_id = :team AND id = :id")
    await connection.execute(statement, {"team": team_id, "id": plan_id, "now": now})
