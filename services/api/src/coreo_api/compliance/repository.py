"""Queries on people's answers to controls."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

_COLUMNS = "id, framework, control, met, text, evidence_url, expires_at, by_name, answered_at, replaced_at"


async def retire(
    connection: AsyncConnection, team_id: UUID, account_id: UUID, framework: str, control: str, now: datetime
) -> bool:
    """Takes the present answer away; whether there was one."""
    statement = text(
        "UPDATE control_answers SET replaced_at = :now WHERE team_id = :team AND cloud_account_id = :account "
        "AND framework = :framework AND control = :control AND replaced_at IS NULL"
    )
    values = {"team": team_id, "account": account_id, "framework": framework, "control": control, "now": now}
    return (await connection.execute(statement, values)).rowcount > 0


async def insert(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """An answer: team, id, account, framework, control, met, text, evidence_url, expires_at, token, by_name, now."""
    statement = text(
        "INSERT INTO control_answers (team_id, id, cloud_account_id, framework, control, met, text, evidence_url, "
        "expires_at, token_id, by_name, answered_at) VALUES (:team, :id, :account, :framework, :control, :met, :text, "
        ":evidence_url, :expires_at, :token, :by_name, :now)"
    )
    await connection.execute(statement, values)


async def list_page(
    connection: AsyncConnection,
    team_id: UUID,
    account_id: UUID,
    *,
    framework: str | None,
    replaced: bool,
    before: UUID,
    limit: int,
) -> Sequence[Row[Any]]:
    """The answers of a cloud account, newest first; with `replaced` also those that others took the place of."""
    statement = text(
        f"SELECT {_COLUMNS} FROM control_answers WHERE team_id = :team AND cloud_account_id = :account "  # noqa: S608  constants
        "AND (CAST(:framework AS text) IS NULL OR framework = :framework) AND (:replaced OR replaced_at IS NULL) "
        "AND id < :before ORDER BY id DESC LIMIT :limit"
    )
    values = {"team": team_id, "account": account_id, "framework": framework, "replaced": replaced}
    return (await connection.execute(statement, values | {"before": before, "limit": limit})).all()


async def present(connection: AsyncConnection, team_id: UUID, account_id: UUID, framework: str) -> Sequence[Row[Any]]:
    """The answers that hold or have expired, of one framework."""
    statement = text(
        f"SELECT {_COLUMNS} FROM control_answers WHERE team_id = :team AND cloud_account_id = :account "  # noqa: S608  constants
        "AND framework = :framework AND replaced_at IS NULL"
    )
    return (await connection.execute(statement, {"team": team_id, "account": account_id, "framework": framework})).all()


async def run_spec(connection: AsyncConnection, team_id: UUID, group_id: UUID) -> Any:
    """What a group of runs was asked to do: the job's AuditSpec, as JSON."""
    statement = text("SELECT spec FROM run_groups WHERE team_id = :team AND id = :id")
    return (await connection.execute(statement, {"team": team_id, "id": group_id})).scalar_one()
