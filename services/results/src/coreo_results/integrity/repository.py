"""Queries of who looks through everything that is stored."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.chunks.columns import Group
from coreo_results.chunks.repository import SEVERITIES
from coreo_results.chunks.sealing import ChunkPlace
from coreo_results.integrity.chunk import StoredChunk
from coreo_shared.contracts.terms import FindingStatus


@dataclass(frozen=True)
class SealedThing:
    """A decision's text where it stands."""

    table: str
    id: UUID
    key_version: int
    sealed: bytes


_TEAMS = text("SELECT team_id FROM runs UNION SELECT team_id FROM team_keys ORDER BY team_id")
_RUNS = text("""
    SELECT run_id, EXISTS (SELECT FROM run_keys k WHERE k.team_id = r.team_id AND k.run_id = r.run_id) AS has_key,
        EXISTS (SELECT FROM chunks c WHERE c.team_id = r.team_id AND c.run_id = r.run_id) AS has_chunks,
        EXISTS (SELECT FROM run_documents d WHERE d.team_id = r.team_id AND d.run_id = r.run_id) AS has_documents,
        r.deploy IS NOT NULL AS is_deploy
    FROM runs r WHERE team_id = :team AND run_id > :after AND purged_at IS NULL ORDER BY run_id LIMIT :limit
""")
# One statement, so that a chunk that is deleted meanwhile takes its groups along.
_CHUNKS = text("""
    SELECT c.unit, c.chunk_index, c.final, c.findings, c.resource_hashes, c.tags, c.sealed,
        ARRAY(SELECT (g.first, g.findings, g.rule_id, g.status, g.severity_order, g.region) FROM finding_groups g
            WHERE g.team_id = c.team_id AND g.run_id = c.run_id AND g.unit = c.unit AND g.chunk_index = c.chunk_index
            ORDER BY g.first) AS groups
    FROM chunks c
    WHERE c.team_id = :team AND c.run_id = :run AND (c.unit, c.chunk_index) > (:unit, CAST(:index AS int))
    ORDER BY c.unit, c.chunk_index LIMIT :limit
""")
_INCOMPLETE = text("""
    SELECT u.unit FROM units u
    LEFT JOIN chunks c ON c.team_id = u.team_id AND c.run_id = u.run_id AND c.unit = u.unit
    WHERE u.team_id = :team AND u.run_id = :run GROUP BY u.unit, u.chunks
    HAVING count(c.unit) <> u.chunks OR max(c.chunk_index) <> u.chunks - 1
        OR max(c.chunk_index) FILTER (WHERE c.final) IS DISTINCT FROM u.chunks - 1
    ORDER BY u.unit
""")
_SUMS = text("""
    SELECT EXISTS (
        SELECT FROM (
            SELECT g.severity_order, g.rule_id, g.status, g.region, sum(g.findings) AS findings
            FROM finding_groups g JOIN units u USING (team_id, run_id, unit)
            WHERE g.team_id = :team AND g.run_id = :run GROUP BY g.severity_order, g.rule_id, g.status, g.region
        ) AS g
        FULL JOIN (SELECT * FROM run_totals WHERE team_id = :team AND run_id = :run) AS t
            USING (severity_order, rule_id, status, region)
        WHERE t.findings IS DISTINCT FROM g.findings
    )
""")
# Names of what the run's state says is stored, and is not, or not whole. One statement, as workers go on meanwhile.
_MISSING_DOCUMENTS = text("""
    SELECT said.name FROM runs r
    CROSS JOIN LATERAL jsonb_each_text(coalesce(r.deploy -> 'documents', '{}')) AS said (name, number)
    CROSS JOIN LATERAL (
        SELECT count(*) AS parts, coalesce(sum(p.items), 0) AS items, bool_and(p.part = p.number AND p.first = p.before)
            AS in_order
        FROM (
            SELECT d.part, d.first, d.items, row_number() OVER places - 1 AS number,
                coalesce(sum(d.items) OVER (places ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS before
            FROM run_documents d WHERE d.team_id = r.team_id AND d.run_id = r.run_id AND d.name = said.name
            WINDOW places AS (ORDER BY d.part)
        ) AS p
    ) AS stored
    WHERE r.team_id = :team AND r.run_id = :run AND NOT (
        coalesce(stored.in_order, false) AND CASE WHEN said.name = 'events'
            THEN stored.items = said.number::int AND stored.parts = coalesce((r.deploy ->> 'parts')::int, 0)
            ELSE stored.parts = 1 END)
    ORDER BY said.name
""")
_SECRETS = text("SELECT name FROM team_secrets WHERE team_id = :team ORDER BY name")
# What the texts of decisions are bound to, by table.
DECISIONS = {
    "suppressions": ("suppression", "suppression_id"),
    "severity_overrides": ("override", "override_id"),
    "decisions": ("log", "decision_id"),
}


async def all_teams(connection: AsyncConnection) -> list[UUID]:
    """Teams with anything stored; for the system role."""
    return list((await connection.execute(_TEAMS)).scalars())


class IntegrityRepository:
    """All that the connection's team has."""

    def __init__(self, connection: AsyncConnection, team_id: UUID) -> None:
        self._connection = connection
        self._team_id = team_id

    async def runs(self, after: UUID, limit: int) -> list[tuple[UUID, bool, bool, bool, bool]]:
        """(run, whether it has a key, chunks, documents, and is a deploy) of the next runs."""
        values = {"team": self._team_id, "after": after, "limit": limit}
        return [
            (row.run_id, row.has_key, row.has_chunks, row.has_documents, row.is_deploy)
            for row in await self._connection.execute(_RUNS, values)
        ]

    async def chunks(self, run_id: UUID, after: tuple[str, int], limit: int) -> list[StoredChunk]:
        """The run's next chunks after (unit, index)."""
        unit, index = after
        values = {"team": self._team_id, "run": run_id, "unit": unit, "index": index, "limit": limit}
        return [
            StoredChunk(
                place=ChunkPlace(self._team_id, run_id, row.unit, row.chunk_index, row.final),
                findings=row.findings,
                resource_hashes=row.resource_hashes,
                tags=row.tags,
                groups=[_group(*parts) for parts in row.groups],
                sealed=row.sealed,
            )
            for row in await self._connection.execute(_CHUNKS, values)
        ]

    async def incomplete_units(self, run_id: UUID) -> list[str]:
        """Units that are done, and have not just the chunks that they were done with."""
        return list((await self._connection.execute(_INCOMPLETE, {"team": self._team_id, "run": run_id})).scalars())

    async def has_other_totals(self, run_id: UUID) -> bool:
        """Whether the run's totals are not those of its findings."""
        found = await self._connection.execute(_SUMS, {"team": self._team_id, "run": run_id})
        return bool(found.scalar_one())

    async def missing_documents(self, run_id: UUID) -> list[str]:
        """Names of documents that the run should have, and has not, or not whole."""
        values = {"team": self._team_id, "run": run_id}
        return list((await self._connection.execute(_MISSING_DOCUMENTS, values)).scalars())

    async def secrets(self) -> list[str]:
        """Names of the team's secrets."""
        return list((await self._connection.execute(_SECRETS, {"team": self._team_id})).scalars())

    async def decisions(self, table: str, after: UUID, limit: int) -> list[SealedThing]:
        """The next texts of a table of DECISIONS."""
        _, column = DECISIONS[table]
        statement = text(
            f"SELECT {column} AS id, key_version, sealed FROM {table}"  # noqa: S608  names of ours
            f" WHERE team_id = :team AND {column} > :after ORDER BY {column} LIMIT :limit"
        )
        rows = await self._connection.execute(statement, {"team": self._team_id, "after": after, "limit": limit})
        return [SealedThing(table, row.id, row.key_version, row.sealed) for row in rows]


def _group(first: int, count: int, rule_id: str, status: str, severity: int, region: str) -> Group:
    return Group(rule_id, FindingStatus(status), SEVERITIES[severity], region, first, count)
