"""Queries on wrapped keys."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.keys.material import Sealed


@dataclass(frozen=True)
class WrappedTeamKey:
    """A team key as stored: encrypted by the root key."""

    version: int
    wrapped: Sealed


@dataclass(frozen=True)
class WrappedRunKey:
    """A run's data key as stored: encrypted by a version of its team's key."""

    team_key_version: int
    wrapped: Sealed


_NEWEST = text("SELECT version, wrapped FROM team_keys WHERE team_id = :team ORDER BY version DESC LIMIT 1")
_VERSION = text("SELECT version, wrapped FROM team_keys WHERE team_id = :team AND version = :version")
_ADD = text(
    "INSERT INTO team_keys (team_id, version, root_key, wrapped) VALUES (:team, :version, :root_key, :wrapped)"
    " ON CONFLICT DO NOTHING"
)
_RUN = text("SELECT team_key_version, wrapped FROM run_keys WHERE team_id = :team AND run_id = :run")
_ADD_RUN = text(
    "INSERT INTO run_keys (team_id, run_id, team_key_version, wrapped) VALUES (:team, :run, :version, :wrapped)"
    " ON CONFLICT DO NOTHING"
)


class KeyRepository:
    """Wrapped keys of the connection's team."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def newest_team_key(self, team_id: UUID) -> WrappedTeamKey | None:
        """The key that new runs are wrapped with, if the team has one."""
        row = (await self._connection.execute(_NEWEST, {"team": team_id})).one_or_none()
        return WrappedTeamKey(row.version, Sealed(row.wrapped)) if row else None

    async def team_key(self, team_id: UUID, version: int) -> WrappedTeamKey | None:
        """A version of the team's key."""
        row = (await self._connection.execute(_VERSION, {"team": team_id, "version": version})).one_or_none()
        return WrappedTeamKey(row.version, Sealed(row.wrapped)) if row else None

    async def add_team_key(self, team_id: UUID, key: WrappedTeamKey, root_key: str) -> None:
        """Stores a new version, unless another process was first."""
        await self._connection.execute(
            _ADD, {"team": team_id, "version": key.version, "root_key": root_key, "wrapped": key.wrapped}
        )

    async def run_key(self, team_id: UUID, run_id: UUID) -> WrappedRunKey | None:
        """The run's data key; None before the first claim and after it was destroyed."""
        row = (await self._connection.execute(_RUN, {"team": team_id, "run": run_id})).one_or_none()
        return WrappedRunKey(row.team_key_version, Sealed(row.wrapped)) if row else None

    async def add_run_key(self, team_id: UUID, run_id: UUID, key: WrappedRunKey) -> None:
        """Stores the run's data key, unless it has one."""
        await self._connection.execute(
            _ADD_RUN, {"team": team_id, "run": run_id, "version": key.team_key_version, "wrapped": key.wrapped}
        )
