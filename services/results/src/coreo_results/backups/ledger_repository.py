"""Queries on the key ledger, for its snapshots: the database makes pages and their hashes itself."""

from dataclasses import dataclass
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.backups.display import TABLES
from coreo_results.backups.log import written
from coreo_shared.contracts.backups import LedgerKeyVersion, LedgerSecret

PAGE_ENTRIES = 64  # entries of the log whose runs' keys are on one page


@dataclass(frozen=True)
class PageState:
    """A page as the database would make it now."""

    page: int
    sha256: str
    keys: int


_CONTENT = """
    SELECT b.log_seq / :entries AS page, k.run_id, uuid_send(k.run_id) || int4send(k.team_key_version)
        || int4send(octet_length(k.wrapped)) || k.wrapped AS record
    FROM backup_keys k JOIN backups b USING (team_id, run_id)
    WHERE k.team_id = :team AND b.state = 'STORED'
"""
_PAGES = text(f"""
    SELECT page, count(*)::int AS keys, encode(sha256(string_agg(record, ''::bytea ORDER BY run_id)), 'hex') AS sha256
    FROM ({_CONTENT}) AS content GROUP BY page ORDER BY page
""")  # noqa: S608  constants
_PAGE = text(f"""
    SELECT count(*)::int AS keys, string_agg(record, ''::bytea ORDER BY run_id) AS content
    FROM ({_CONTENT} AND b.log_seq / :entries = :page) AS content
""")  # noqa: S608  constants
_VERSIONS = text("""
    SELECT version, root_key, created_at FROM team_keys WHERE team_id = :team AND destroyed_at IS NULL ORDER BY version
""")
_SECRETS = text("SELECT name, team_key_version, wrapped FROM team_secrets WHERE team_id = :team ORDER BY name")
_SETTINGS = {
    table: text(f"SELECT to_jsonb(s)::text AS row FROM {table} s WHERE team_id = :team ORDER BY 1")  # noqa: S608  names of ours
    for table in TABLES
}
_UNDER = text("""
    SELECT count(*) FROM (
        SELECT team_id, team_key_version FROM backup_keys UNION ALL SELECT team_id, team_key_version FROM team_secrets
    ) AS wrapped WHERE team_id = :team AND team_key_version = ANY (CAST(:versions AS int[]))
""")


class LedgerRepository:
    """The key ledger of the connection's team."""

    def __init__(self, connection: AsyncConnection, team_id: UUID) -> None:
        self._connection = connection
        self.team_id = team_id
        self._team = {"team": team_id}

    async def pages(self) -> list[PageState]:
        """All pages, without their content."""
        rows = await self._connection.execute(_PAGES, {**self._team, "entries": PAGE_ENTRIES})
        return [PageState(row.page, row.sha256, row.keys) for row in rows]

    async def page(self, page: int) -> tuple[bytes, int]:
        """A page's content, and how many keys are on it."""
        row = (await self._connection.execute(_PAGE, {**self._team, "entries": PAGE_ENTRIES, "page": page})).one()
        return bytes(row.content or b""), row.keys

    async def key_versions(self) -> list[LedgerKeyVersion]:
        """Versions of the team's key that are not destroyed."""
        rows = await self._connection.execute(_VERSIONS, self._team)
        return [
            LedgerKeyVersion(version=row.version, root_key=row.root_key, created_at=written(row.created_at))
            for row in rows
        ]

    async def secrets(self) -> list[LedgerSecret]:
        """The team's secrets, wrapped."""
        rows = await self._connection.execute(_SECRETS, self._team)
        return [
            LedgerSecret(name=row.name, team_key_version=row.team_key_version, wrapped=bytes(row.wrapped))
            for row in rows
        ]

    async def settings(self) -> dict[str, msgspec.Raw]:
        """The team's settings, by table: rows as JSON."""
        found = {}
        for table, statement in _SETTINGS.items():
            rows = list((await self._connection.execute(statement, self._team)).scalars())
            found[table] = msgspec.Raw(f"[{','.join(rows)}]".encode())
        return found

    async def keys_under(self, versions: list[int]) -> int:
        """How many keys of the ledger are under these versions of the team's key."""
        return int((await self._connection.execute(_UNDER, {**self._team, "versions": versions})).scalar_one())
