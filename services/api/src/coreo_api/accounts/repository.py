"""Queries on cloud accounts. Deleted ones stay for the runs that name them, and are not found here."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_shared.ids import new_id

_THIS = "team_id = :team AND id = :id AND deleted_at IS NULL"
_SELECT = """
    SELECT c.team_id, c.id, c.name, c.account_id, c.external_id, c.next_external_id, c.state, c.reason, c.role_arn,
        c.missing_actions, c.next_verification_at, c.created_at, c.updated_at,
        EXISTS (SELECT FROM account_history h WHERE h.team_id = c.team_id AND h.cloud_account_id = c.id
            AND h.state IS NOT NULL AND h.ended_at IS NULL AND h.kind <> 'purge') AS verifying,
        v.id AS verification_id, v.report AS verification, v.ended_at AS verified_at
    FROM cloud_accounts c LEFT JOIN LATERAL (
        SELECT h.id, h.report, h.ended_at FROM account_history h
        WHERE h.team_id = c.team_id AND h.cloud_account_id = c.id AND h.report IS NOT NULL AND (h.kind = 'verify'
            OR h.kind = 'confirm' AND h.report->>'verdict' IN ('CONNECTED', 'INSECURE'))
        ORDER BY h.id DESC LIMIT 1
    ) v ON true
    WHERE c.team_id = :team AND c.deleted_at IS NULL
"""


async def insert(
    connection: AsyncConnection,
    team_id: UUID,
    *,
    name: str,
    account_id: str,
    external_id: str,
    state: str,
    now: datetime,
) -> Row[Any]:
    """A new cloud account: its id."""
    statement = text(
        "INSERT INTO cloud_accounts (team_id, id, name, account_id, external_id, state, created_at, updated_at) "
        "VALUES (:team, :id, :name, :account_id, :external_id, :state, :now, :now) RETURNING id"
    )
    values = {"team": team_id, "id": new_id(), "name": name, "account_id": account_id, "external_id": external_id}
    return (await connection.execute(statement, values | {"state": state, "now": now})).one()


async def find(connection: AsyncConnection, team_id: UUID, account_id: UUID, *, lock: bool = False) -> Row[Any] | None:
    """A cloud account by its id; locked against other changes if asked."""
    locking = "FOR UPDATE OF c" if lock else ""
    statement = text(f"{_SELECT} AND c.id = :id {locking}")
    return (await connection.execute(statement, {"team": team_id, "id": account_id})).first()


async def list_page(connection: AsyncConnection, team_id: UUID, before: UUID, limit: int) -> Sequence[Row[Any]]:
    """Cloud accounts, newest first."""
    statement = text(f"{_SELECT} AND c.id < :before ORDER BY c.id DESC LIMIT :limit")
    return (await connection.execute(statement, {"team": team_id, "before": before, "limit": limit})).all()


async def rename(connection: AsyncConnection, team_id: UUID, account_id: UUID, name: str, now: datetime) -> None:
    """Gives the cloud account its new name."""
    statement = text(f"UPDATE cloud_accounts SET name = :name, updated_at = :now WHERE {_THIS}")  # noqa: S608  constants
    await connection.execute(statement, {"team": team_id, "id": account_id, "name": name, "now": now})


async def set_state(
    connection: AsyncConnection, team_id: UUID, account_id: UUID, *, role_arn: str | None, state: str, now: datetime
) -> None:
    """The cloud account with this role, about which nothing is known yet, or without any."""
    statement = text(
        "UPDATE cloud_accounts SET role_arn = :role_arn, state = :state, reason = NULL, missing_actions = '[]', "  # noqa: S608  constants
        f"failures = 0, next_verification_at = NULL, updated_at = :now WHERE {_THIS}"
    )
    values = {"team": team_id, "id": account_id, "role_arn": role_arn, "state": state, "now": now}
    await connection.execute(statement, values)


async def set_next_external_id(
    connection: AsyncConnection, team_id: UUID, account_id: UUID, external_id: str | None, now: datetime
) -> None:
    """What the external id shall become; None when it shall stay."""
    statement = text(f"UPDATE cloud_accounts SET next_external_id = :next, updated_at = :now WHERE {_THIS}")  # noqa: S608  constants
    await connection.execute(statement, {"team": team_id, "id": account_id, "next": external_id, "now": now})


async def has_role(connection: AsyncConnection, team_id: UUID, account_id: UUID, role_arn: str) -> bool:
    """Whether another cloud account of the team has this role."""
    statement = text(
        "SELECT EXISTS (SELECT FROM cloud_accounts WHERE team_id = :team AND id <> :id AND role_arn = :role_arn "
        "AND deleted_at IS NULL)"
    )
    values = {"team": team_id, "id": account_id, "role_arn": role_arn}
    return bool((await connection.execute(statement, values)).scalar_one())


async def delete(connection: AsyncConnection, team_id: UUID, account_id: UUID, now: datetime) -> None:
    """The cloud account is gone for everyone; its row stays for the runs that name it."""
    statement = text(f"UPDATE cloud_accounts SET deleted_at = :now WHERE {_THIS}")  # noqa: S608  constants
    await connection.execute(statement, {"team": team_id, "id": account_id, "now": now})


async def count_plans(connection: AsyncConnection, team_id: UUID, account_id: UUID) -> int:
    """How many plans target the cloud account."""
    statement = text(
        "SELECT count(*) FROM plans p JOIN plan_accounts a ON (a.team_id, a.plan_id) = (p.team_id, p.id) "
        "WHERE p.team_id = :team AND a.cloud_account_id = :id AND p.deleted_at IS NULL"
    )
    return int((await connection.execute(statement, {"team": team_id, "id": account_id})).scalar_one())
