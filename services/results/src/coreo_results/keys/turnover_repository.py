"""Queries on what the versions of a team's key wrap, whatever kind it is."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.keys.material import Sealed
from coreo_results.keys.repository import refusing_retired_keys
from coreo_results.keys.wrapping import Wrapping


@dataclass(frozen=True)
class Wrapped:
    """A row of a wrapping's table."""

    which: UUID | str
    version: int
    wrapped: Sealed


class TurnoverRepository:
    """Rows of one kind, of the connection's team."""

    def __init__(self, connection: AsyncConnection, team_id: UUID, wrapping: Wrapping) -> None:
        self._connection = connection
        self._team_id = team_id
        self._table = wrapping.table
        self._id = wrapping.id_column
        self._id_type = wrapping.id_type

    async def old_versions(self, newest: int) -> list[int]:
        """Versions before `newest` that rows are under."""
        statement = text(
            f"SELECT DISTINCT team_key_version AS version FROM {self._table}"  # noqa: S608  names of ours
            " WHERE team_id = :team AND team_key_version < :newest"
        )
        return list((await self._connection.execute(statement, {"team": self._team_id, "newest": newest})).scalars())

    async def lock(self, versions: list[int], limit: int) -> list[Wrapped]:
        """Some rows under these versions that nobody else has locked."""
        return await self._lock(versions, limit, "SKIP LOCKED")

    async def lock_one(self, versions: list[int]) -> list[Wrapped]:
        """A row under these versions, waited for; none if there is none."""
        return await self._lock(versions, 1, "")

    async def replace(self, version: int, rows: list[Wrapped]) -> None:
        """Stores what these locked rows are now. Raises KeyRetiredError."""
        statement = text(f"""
            UPDATE {self._table} t SET team_key_version = :version, wrapped = anew.wrapped
            FROM unnest(CAST(:which AS {self._id_type}[]), CAST(:wrapped AS bytea[])) AS anew (which, wrapped)
            WHERE t.team_id = :team AND t.{self._id} = anew.which
        """)  # noqa: S608  names of ours
        values = {"which": [row.which for row in rows], "wrapped": [row.wrapped for row in rows]}
        with refusing_retired_keys():
            await self._connection.execute(statement, {"team": self._team_id, "version": version, **values})

    async def _lock(self, versions: list[int], limit: int, waiting: str) -> list[Wrapped]:
        statement = text(
            f"SELECT {self._id} AS which, team_key_version AS version, wrapped FROM {self._table}"  # noqa: S608  names of ours
            " WHERE team_id = :team AND team_key_version = ANY (CAST(:versions AS int[]))"
            f" LIMIT :limit FOR UPDATE {waiting}"
        )
        values = {"team": self._team_id, "versions": versions, "limit": limit}
        rows = await self._connection.execute(statement, values)
        return [Wrapped(row.which, row.version, Sealed(row.wrapped)) for row in rows]
