"""Queries on teams and tokens."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_shared.ids import new_id

_TOKEN_COLUMNS = "id, name, scopes, created_at, expires_at"
_VALID = "revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now)"


async def identify(connection: AsyncConnection, token_hash: bytes, now: datetime) -> Row[Any] | None:
    """The token (id, team_id, name, scopes) of this hash, if valid; the transaction then sees its team alone."""
    await connection.execute(text("SELECT set_config('app.token_hash', :hash, true)"), {"hash": token_hash.hex()})
    statement = text(f"SELECT id, team_id, name, scopes FROM tokens WHERE token_hash = :hash AND {_VALID}")  # noqa: S608  constants
    found = (await connection.execute(statement, {"hash": token_hash, "now": now})).first()
    settings = "SELECT set_config('app.token_hash', '', true), set_config('app.team_id', :team, true)"
    await connection.execute(text(settings), {"team": "" if found is None else str(found.team_id)})
    return found


async def insert_team(connection: AsyncConnection, team_id: UUID, name: str, now: datetime) -> None:
    """A new team."""
    statement = text("INSERT INTO teams (id, name, created_at) VALUES (:id, :name, :now)")
    await connection.execute(statement, {"id": team_id, "name": name, "now": now})


async def find_team(connection: AsyncConnection, team_id: UUID) -> Row[Any]:
    """The team (id, name, created_at)."""
    statement = text("SELECT id, name, created_at FROM teams WHERE id = :id")
    return (await connection.execute(statement, {"id": team_id})).one()


async def insert_token(
    connection: AsyncConnection,
    team_id: UUID,
    name: str,
    token_hash: bytes,
    now: datetime,
    *,
    expires_at: datetime | None,
    scopes: Sequence[str],
) -> Row[Any]:
    """A new token; its public columns."""
    statement = text(
        "INSERT INTO tokens (team_id, id, name, token_hash, created_at, expires_at, scopes) "  # noqa: S608  constants
        f"VALUES (:team, :id, :name, :hash, :now, :expires_at, :scopes) RETURNING {_TOKEN_COLUMNS}"
    )
    values = {"team": team_id, "id": new_id(), "name": name, "hash": token_hash, "now": now, "expires_at": expires_at}
    values["scopes"] = list(scopes)
    return (await connection.execute(statement, values)).one()


async def list_tokens(connection: AsyncConnection, team_id: UUID, before: UUID, limit: int) -> Sequence[Row[Any]]:
    """Tokens that are not revoked, newest first."""
    statement = text(
        f"SELECT {_TOKEN_COLUMNS} FROM tokens WHERE team_id = :team AND revoked_at IS NULL AND id < :before "  # noqa: S608  constants
        "ORDER BY id DESC LIMIT :limit"
    )
    return (await connection.execute(statement, {"team": team_id, "before": before, "limit": limit})).all()


async def find_token(connection: AsyncConnection, team_id: UUID, token_id: UUID) -> Row[Any]:
    """The public columns of a token that was just identified."""
    statement = text(f"SELECT {_TOKEN_COLUMNS} FROM tokens WHERE team_id = :team AND id = :id")  # noqa: S608  constants
    return (await connection.execute(statement, {"team": team_id, "id": token_id})).one()


async def lock_tokens(connection: AsyncConnection, team_id: UUID) -> None:
    """One at a time revokes tokens of a team, until the transaction ends."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:team, 1))"), {"team": str(team_id)})


async def has_other_token(
    connection: AsyncConnection, team_id: UUID, token_id: UUID, scopes: Sequence[str], now: datetime
) -> bool:
    """Whether the team has a valid token with all these scopes beside this one."""
    statement = text(
        "SELECT EXISTS (SELECT FROM tokens WHERE team_id = :team AND id <> :id "  # noqa: S608  constants
        f"AND scopes @> CAST(:scopes AS text[]) AND {_VALID})"
    )
    values = {"team": team_id, "id": token_id, "scopes": list(scopes), "now": now}
    return bool((await connection.execute(statement, values)).scalar_one())


async def revoke_token(connection: AsyncConnection, team_id: UUID, token_id: UUID, now: datetime) -> bool:
    """Whether there was such a token; it is good for nothing from now on."""
    statement = text(
        "UPDATE tokens SET revoked_at = :now WHERE team_id = :team AND id = :id AND revoked_at IS NULL RETURNING id"
    )
    return (await connection.execute(statement, {"team": team_id, "id": token_id, "now": now})).first() is not None
