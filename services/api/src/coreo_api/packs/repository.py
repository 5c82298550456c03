"""Queries on rule packs. A deleted version is not found by name, only by those who have it pinned."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

_COLUMNS = "id, name, version, title, source, digest, created_at"


async def insert(connection: AsyncConnection, values: dict[str, Any]) -> None:
    """A version: team, id, name, version, title, source, digest, token, now."""
    statement = text(
        "INSERT INTO rule_packs (team_id, id, name, version, title, source, digest, token_id, created_at) "
        "VALUES (:team, :id, :name, :version, :title, :source, :digest, :token, :now)"
    )
    await connection.execute(statement, values)


async def lock(connection: AsyncConnection, team_id: UUID) -> None:
    """Until the transaction ends nobody else changes the team's packs: versions are counted without gaps."""
    await connection.execute(
        text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": f"rule-packs {team_id}"}
    )


async def find(
    connection: AsyncConnection, team_id: UUID, name: str, version: int | None = None, *, pinned: bool = False
) -> Row[Any] | None:
    """A version, or the newest; with `pinned` also one that is deleted."""
    statement = text(
        f"SELECT {_COLUMNS} FROM rule_packs WHERE team_id = :team AND name = :name "  # noqa: S608  constants
        "AND (CAST(:version AS integer) IS NULL OR version = :version) AND (:pinned OR deleted_at IS NULL) "
        "ORDER BY version DESC LIMIT 1"
    )
    values = {"team": team_id, "name": name, "version": version, "pinned": pinned}
    return (await connection.execute(statement, values)).first()


async def last_version(connection: AsyncConnection, team_id: UUID, name: str) -> int:
    """The highest that there ever was; 0 for none."""
    statement = text("SELECT COALESCE(max(version), 0) FROM rule_packs WHERE team_id = :team AND name = :name")
    last: int = (await connection.execute(statement, {"team": team_id, "name": name})).scalar_one()
    return last


async def count(connection: AsyncConnection, team_id: UUID) -> int:
    """How many packs there are."""
    statement = text("SELECT count(DISTINCT name) FROM rule_packs WHERE team_id = :team AND deleted_at IS NULL")
    found: int = (await connection.execute(statement, {"team": team_id})).scalar_one()
    return found


async def list_page(connection: AsyncConnection, team_id: UUID, before: UUID, limit: int) -> Sequence[Row[Any]]:
    """The newest version of each pack, newest first."""
    statement = text(
        f"SELECT {_COLUMNS} FROM (SELECT DISTINCT ON (name) * FROM rule_packs "  # noqa: S608  constants
        "WHERE team_id = :team AND deleted_at IS NULL ORDER BY name, version DESC) newest "
        "WHERE id < :before ORDER BY id DESC LIMIT :limit"
    )
    return (await connection.execute(statement, {"team": team_id, "before": before, "limit": limit})).all()


async def list_versions(
    connection: AsyncConnection, team_id: UUID, name: str, before: UUID, limit: int
) -> Sequence[Row[Any]]:
    """The versions of a pack, newest first."""
    statement = text(
        f"SELECT {_COLUMNS} FROM rule_packs WHERE team_id = :team AND name = :name AND deleted_at IS NULL "  # noqa: S608  constants
        "AND id < :before ORDER BY id DESC LIMIT :limit"
    )
    values = {"team": team_id, "name": name, "before": before, "limit": limit}
    return (await connection.execute(statement, values)).all()


async def plans_with(connection: AsyncConnection, team_id: UUID, name: str) -> Sequence[str]:
    """The names of the plans whose present revision has the pack."""
    statement = text(
        "SELECT p.name FROM plans p JOIN plan_revisions r "
        "ON (r.team_id, r.plan_id, r.revision) = (p.team_id, p.id, p.revision) "
        "WHERE p.team_id = :team AND p.deleted_at IS NULL AND EXISTS (SELECT FROM "
        "jsonb_array_elements_text(COALESCE(r.spec->'rule_packs', '[]')) pack WHERE split_part(pack, '@', 1) = :name) "
        "ORDER BY p.name"
    )
    return (await connection.execute(statement, {"team": team_id, "name": name})).scalars().all()


async def delete(connection: AsyncConnection, team_id: UUID, name: str, now: datetime) -> int:
    """Deletes all versions; how many there were."""
    statement = text(
        "UPDATE rule_packs SET deleted_at = :now WHERE team_id = :team AND name = :name AND deleted_at IS NULL"
    )
    return (await connection.execute(statement, {"team": team_id, "name": name, "now": now})).rowcount
