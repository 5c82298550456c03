"""Queries on wrapped keys, and on the register of the teams' keys."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.keys.errors import KeyRetiredError
from coreo_results.keys.material import Sealed
from coreo_results.keys.wrapping import WrappedKey

_REFUSED = "CK001"  # raised by check_team_key_version(), see migration 0005


@dataclass(frozen=True)
class TeamKeyVersion:
    """A version of a team's key as the register has it. The key itself is in the vault."""

    version: int
    root_key: str
    wrapped: Sealed | None  # by a version of Coreo that had no vault, until the key is moved
    in_vault: bool
    is_retired: bool
    is_destroyed: bool


@dataclass(frozen=True)
class WrappedRunKey(WrappedKey):
    """A run's data key as stored. `generation` grows when the run is keyed anew."""

    generation: int = 1


_VERSION_COLUMNS = """version, root_key, wrapped, in_vault_at IS NOT NULL AS in_vault,
    retired_at IS NOT NULL AS retired, destroyed_at IS NOT NULL AS destroyed"""
_NEWEST = text(
    f"SELECT {_VERSION_COLUMNS} FROM team_keys WHERE team_id = :team ORDER BY version DESC LIMIT 1"  # noqa: S608  constants
)
_VERSION = text(f"SELECT {_VERSION_COLUMNS} FROM team_keys WHERE team_id = :team AND version = :version")  # noqa: S608  constants
# For an hour after it was moved a key stays, for processes of an older version of Coreo.
_LEAVING = "in_database AND (in_vault_at IS NULL OR in_vault_at < now() - interval '1 hour')"
_IN_DATABASE = text(
    f"SELECT {_VERSION_COLUMNS} FROM team_keys WHERE team_id = :team AND {_LEAVING} ORDER BY version"  # noqa: S608  constants
)
_ADD = text(
    "INSERT INTO team_keys (team_id, version, root_key, in_database, in_vault_at)"
    " VALUES (:team, :version, :root_key, false, now()) ON CONFLICT DO NOTHING"
)
_MOVED = text(
    "UPDATE team_keys SET in_vault_at = now(), root_key = :root_key"
    " WHERE team_id = :team AND version = :version AND in_vault_at IS NULL"
)
_ROOT = text("UPDATE team_keys SET root_key = :root_key WHERE team_id = :team AND version = :version")
_RETIRE = text("""
    UPDATE team_keys SET retired_at = now(), wrapped = NULL, in_database = false
    WHERE team_id = :team AND version < :version AND retired_at IS NULL
""")
_RETIRE_THESE = text("""
    UPDATE team_keys SET retired_at = now(), wrapped = NULL, in_database = false
    WHERE team_id = :team AND version = ANY (CAST(:versions AS int[])) AND retired_at IS NULL
""")
_RETIRED_VERSIONS = text("""
    SELECT version FROM team_keys WHERE team_id = :team AND retired_at IS NOT NULL AND destroyed_at IS NULL
    ORDER BY version
""")
_DESTROYED = text("""
    UPDATE team_keys SET destroyed_at = now()
    WHERE team_id = :team AND version = ANY (CAST(:versions AS int[])) AND destroyed_at IS NULL
""")
_LEFT = text("""
    UPDATE team_keys SET wrapped = NULL, in_database = false
    WHERE team_id = :team AND version = :version AND in_vault_at IS NOT NULL
""")
_DUE = text(
    f"SELECT DISTINCT team_id FROM team_keys WHERE {_LEAVING} OR (retired_at IS NOT NULL AND destroyed_at IS NULL)"  # noqa: S608  constants
)
_LATELY_RETIRED = text("""
    SELECT team_id, version FROM team_keys WHERE retired_at > now() - make_interval(secs => CAST(:seconds AS float8))
""")
_RUN = text("SELECT team_key_version, wrapped, generation FROM run_keys WHERE team_id = :team AND run_id = :run")
_ADD_RUN = text(
    "INSERT INTO run_keys (team_id, run_id, team_key_version, wrapped) VALUES (:team, :run, :version, :wrapped)"
    " ON CONFLICT DO NOTHING"
)
_REPLACE_RUN = text(
    "UPDATE run_keys SET team_key_version = :version, wrapped = :wrapped, generation = :generation"
    " WHERE team_id = :team AND run_id = :run"
)
_GENERATION = text("SELECT generation FROM run_keys WHERE team_id = :team AND run_id = :run")
_SECRET = text("SELECT team_key_version, wrapped FROM team_secrets WHERE team_id = :team AND name = :name")
_ADD_SECRET = text(
    "INSERT INTO team_secrets (team_id, name, team_key_version, wrapped) VALUES (:team, :name, :version, :wrapped)"
    " ON CONFLICT DO NOTHING"
)


async def due_teams(connection: AsyncConnection) -> list[UUID]:
    """Teams with a key that is to leave the database, or is retired and not destroyed; for the system role."""
    return list((await connection.execute(_DUE)).scalars())


async def lately_retired(connection: AsyncConnection, seconds: float) -> list[tuple[UUID, int]]:
    """(team, version) of what was retired within this time; for the system role."""
    rows = await connection.execute(_LATELY_RETIRED, {"seconds": seconds})
    return [(row.team_id, row.version) for row in rows]


@contextmanager
def refusing_retired_keys() -> Iterator[None]:
    """Around statements that store what a team key wraps. Raises KeyRetiredError where the database refused that."""
    try:
        yield
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == _REFUSED:
            raise KeyRetiredError from None
        raise


class KeyRepository:
    """Wrapped keys of the connection's team."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def newest_version(self, team_id: UUID) -> TeamKeyVersion | None:
        """The version that new keys are wrapped with, if the team has one."""
        row = (await self._connection.execute(_NEWEST, {"team": team_id})).one_or_none()
        return None if row is None else _version(row)

    async def version(self, team_id: UUID, version: int) -> TeamKeyVersion | None:
        """A version of the team's key."""
        row = (await self._connection.execute(_VERSION, {"team": team_id, "version": version})).one_or_none()
        return None if row is None else _version(row)

    async def leaving_versions(self, team_id: UUID) -> list[TeamKeyVersion]:
        """Versions whose wrapped key is to be moved from the database, or was moved long enough ago to go."""
        rows = await self._connection.execute(_IN_DATABASE, {"team": team_id})
        return [_version(row) for row in rows]

    async def forget_wrapped(self, team_id: UUID, version: int) -> None:
        """Drops the version's key from the database. It must be in the vault."""
        await self._connection.execute(_LEFT, {"team": team_id, "version": version})

    async def add_version(self, team_id: UUID, version: int, root_key: str) -> None:
        """Registers a version that is in the vault, unless it is registered."""
        await self._connection.execute(_ADD, {"team": team_id, "version": version, "root_key": root_key})

    async def mark_moved(self, team_id: UUID, version: int, root_key: str) -> None:
        """Notes that the vault has the version, wrapped by this root key."""
        await self._connection.execute(_MOVED, {"team": team_id, "version": version, "root_key": root_key})

    async def mark_root(self, team_id: UUID, version: int, root_key: str) -> None:
        """Notes which root key wraps the version in the vault."""
        await self._connection.execute(_ROOT, {"team": team_id, "version": version, "root_key": root_key})

    async def retire_before(self, team_id: UUID, version: int) -> None:
        """Retires all versions before this one, once nobody is storing anything under them any more."""
        await self._connection.execute(_RETIRE, {"team": team_id, "version": version})

    async def retire(self, team_id: UUID, versions: list[int]) -> None:
        """Retires just these."""
        await self._connection.execute(_RETIRE_THESE, {"team": team_id, "versions": versions})

    async def retired_versions(self, team_id: UUID) -> list[int]:
        """Versions that are retired and not destroyed."""
        return list((await self._connection.execute(_RETIRED_VERSIONS, {"team": team_id})).scalars())

    async def mark_destroyed(self, team_id: UUID, versions: list[int]) -> None:
        """Notes that the vault has these no more."""
        await self._connection.execute(_DESTROYED, {"team": team_id, "versions": versions})

    async def run_key(self, team_id: UUID, run_id: UUID) -> WrappedRunKey | None:
        """The run's data key; None before the first claim and after it was destroyed."""
        row = (await self._connection.execute(_RUN, {"team": team_id, "run": run_id})).one_or_none()
        return None if row is None else WrappedRunKey(row.team_key_version, Sealed(row.wrapped), row.generation)

    async def add_run_key(self, team_id: UUID, run_id: UUID, key: WrappedRunKey) -> None:
        """Stores the run's data key, unless it has one. Raises KeyRetiredError."""
        values = {"team": team_id, "run": run_id, "version": key.team_key_version, "wrapped": key.wrapped}
        with refusing_retired_keys():
            await self._connection.execute(_ADD_RUN, values)

    async def replace_run_key(self, team_id: UUID, run_id: UUID, key: WrappedRunKey) -> None:
        """Stores another data key of the run. Raises KeyRetiredError."""
        values = {"team": team_id, "run": run_id, "version": key.team_key_version, "wrapped": key.wrapped}
        with refusing_retired_keys():
            await self._connection.execute(_REPLACE_RUN, {**values, "generation": key.generation})

    async def run_key_generation(self, team_id: UUID, run_id: UUID) -> int | None:
        """The generation of the run's data key, if it has one."""
        found = (await self._connection.execute(_GENERATION, {"team": team_id, "run": run_id})).scalar_one_or_none()
        return None if found is None else int(found)

    async def secret(self, team_id: UUID, name: str) -> WrappedKey | None:
        """One of the team's secrets, if it has it."""
        row = (await self._connection.execute(_SECRET, {"team": team_id, "name": name})).one_or_none()
        return None if row is None else WrappedKey(row.team_key_version, Sealed(row.wrapped))

    async def add_secret(self, team_id: UUID, name: str, key: WrappedKey) -> None:
        """Stores a secret, unless the team has it. Raises KeyRetiredError."""
        values = {"team": team_id, "name": name, "version": key.team_key_version, "wrapped": key.wrapped}
        with refusing_retired_keys():
            await self._connection.execute(_ADD_SECRET, values)


def _version(row: Row[Any]) -> TeamKeyVersion:
    wrapped = None if row.wrapped is None else Sealed(row.wrapped)
    return TeamKeyVersion(row.version, row.root_key, wrapped, row.in_vault, row.retired, row.destroyed)
