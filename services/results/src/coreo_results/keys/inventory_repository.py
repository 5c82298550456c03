"""Queries on the register of all teams' keys, and on how much is under each."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.keys.wrapping import ALL_WRAPPINGS


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of a team's key as the system role sees it."""

    team_id: UUID
    version: int
    created_at: datetime
    in_database: bool
    is_retired: bool
    is_destroyed: bool


_REGISTERED = text("""
    SELECT team_id, version, created_at, in_database, retired_at IS NOT NULL AS retired,
        destroyed_at IS NOT NULL AS destroyed
    FROM team_keys WHERE CAST(:team AS uuid) IS NULL OR team_id = :team ORDER BY team_id, version
""")
_WRAPPED = " UNION ALL ".join(
    f"SELECT team_key_version AS version FROM {wrapping.table} WHERE team_id = :team"  # noqa: S608  names of ours
    for wrapping in ALL_WRAPPINGS
)
_COUNTS = text(f"SELECT version, count(*)::int AS keys FROM ({_WRAPPED}) AS wrapped GROUP BY version")  # noqa: S608  as above


async def registered(connection: AsyncConnection, team_id: UUID | None) -> list[RegisteredVersion]:
    """Versions of the team's key, or of all teams'; for the system role."""
    rows = await connection.execute(_REGISTERED, {"team": team_id})
    return [
        RegisteredVersion(row.team_id, row.version, row.created_at, row.in_database, row.retired, row.destroyed)
        for row in rows
    ]


async def wrapped_by(connection: AsyncConnection, team_id: UUID) -> dict[int, int]:
    """How many keys are under each version, of the connection's team."""
    return {row.version: row.keys for row in await connection.execute(_COUNTS, {"team": team_id})}
