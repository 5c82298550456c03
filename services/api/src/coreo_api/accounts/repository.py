"""Queries on cloud accounts. Deleted ones stay for the runs that name them, and are not found here."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_shared.ids import new_id

_COLUMNS = "id, name, account_id, external_id, state, role_arn, created_at, updated_at"
_THIS = "team_id = :team AND id = :id AND deleted_at IS NULL"


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
    """A new cloud account."""
    statement = text(
        "INSERT INTO cloud_accounts (team_id, id, name, account_id, external_id, state, created_at, updated_at) "  # noqa: S608  constants
        f"VALUES (:team, :id, :name, :account_id, :external_id, :state, :now, :now) RETURNING {_COLUMNS}"
    )
    values = {"team": team_id, "id": new_id(), "name": name, "account_id": account_id, "external_id": external_id}
    return (await connection.execute(statement, values | {"state": state, "now": now})).one()


async def find(connection: AsyncConnection, team_id: UUID, account_id: UUID, *, lock: bool = False) -> Row[Any] | None:
    """A cloud account by its id; locked against other changes if asked."""
    locking = "FOR UPDATE" if lock else ""
    statement = text(f"SELECT {_COLUMNS} FROM cloud_accounts WHERE {_THIS} {locking}")  # noqa: S608  constants
    return (await connection.execute(statement, {"team": team_id, "id": account_id})).first()


async def list_page(connection: AsyncConnection, team_id: UUID, before: UUID, limit: int) -> Sequence[Row[Any]]:
    """Cloud accounts, newest first."""
    statement = text(
        f"SELECT {_COLUMNS} FROM cloud_accounts WHERE team_id = :team AND deleted_at IS NULL AND id < :before "  # noqa: S608  constants
        "ORDER BY id DESC LIMIT :limit"
    )
    return (await connection.execute(statement, {"team": team_id, "before": before, "limit": limit})).all()


async def rename(connection: AsyncConnection, team_id: UUID, account_id: UUID, name: str, now: datetime) -> Row[Any]:
    """The cloud account under its new name."""
    statement = text(
        f"UPDATE cloud_accounts SET name = :name, updated_at = :now WHERE {_THIS} RETURNING {_COLUMNS}"  # noqa: S608  constants
    )
    return (await connection.execute(statement, {"team": team_id, "id": account_id, "name": name, "now": now})).one()


async def set_role(
    connection: AsyncConnection, team_id: UUID, account_id: UUID, *, role_arn: str, state: str, now: datetime
) -> Row[Any]:
    """The cloud account with its role. IntegrityError when another cloud account has that role."""
    statement = text(
        "UPDATE cloud_accounts SET role_arn = :role_arn, state = :state, updated_at = :now "  # noqa: S608  constants
        f"WHERE {_THIS} RETURNING {_COLUMNS}"
    )
    values = {"team": team_id, "id": account_id, "role_arn": role_arn, "state": state, "now": now}
    return (await connection.execute(statement, values)).one()


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
