"""Queries on finding groups of units that are done. Nothing here is decrypted."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.chunks.repository import SEVERITIES, severity_order
from coreo_results.findings.filters import Filters, Position
from coreo_results.life.changes import CHANGE_NUMBERS
from coreo_shared.contracts.terms import FindingStatus, Severity


@dataclass(frozen=True)
class Span:
    """`count` neighbouring findings of a chunk, alike in what is in clear."""

    severity_order: int
    rule_id: str
    unit: str
    chunk_index: int
    first: int
    count: int
    status: FindingStatus
    region: str


@dataclass(frozen=True)
class RuleCounts:
    """What a run found by one rule."""

    rule_id: str
    severity: Severity
    by_status: dict[str, int]


# Spans are whole groups, or single findings where one resource or change is looked for. A hash's place in its array is
# the finding's place in the chunk (ids first, then ARNs); so is that of a change's code.
_GROUPS = "SELECT g.* FROM finding_groups g WHERE g.team_id = :team AND g.run_id = :run"
_OF_RESOURCE = """
    SELECT g.team_id, g.run_id, g.severity_order, g.rule_id, g.unit, g.chunk_index,
        hit.position AS first, 1 AS findings,
        g.status, g.region
    FROM chunks c
    CROSS JOIN LATERAL (
        SELECT ((h.place - 1) % c.findings)::int AS position
        FROM unnest(c.resource_hashes) WITH ORDINALITY AS h (hash, place)
        WHERE h.hash = CAST(:resource AS bigint)
    ) AS hit
    JOIN finding_groups g ON g.team_id = c.team_id AND g.run_id = c.run_id AND g.unit = c.unit
        AND g.chunk_index = c.chunk_index AND hit.position >= g.first AND hit.position < g.first + g.findings
    WHERE c.team_id = :team AND c.run_id = :run
"""
# A group's codes are a slice of its chunk's.
_OF_CHANGE = """
    SELECT g.team_id, g.run_id, g.severity_order, g.rule_id, g.unit, g.chunk_index,
        g.first + (k.place - 1)::int AS first, 1 AS findings,
        g.status, g.region
    FROM ({spans}) AS g
    JOIN chunk_changes c USING (team_id, run_id, unit, chunk_index)
    CROSS JOIN LATERAL unnest(c.codes[g.first + 1 : g.first + g.findings]) WITH ORDINALITY AS k (code, place)
    WHERE k.code / 10 = ANY (CAST(:changes AS smallint[]))
"""
_MATCHING = """
    SELECT s.* FROM ({spans}) AS s
    JOIN units u ON u.team_id = s.team_id AND u.run_id = s.run_id AND u.unit = s.unit
    WHERE (CAST(:statuses AS text[]) IS NULL OR s.status = ANY (CAST(:statuses AS text[])))
        AND (CAST(:severities AS smallint[]) IS NULL OR s.severity_order = ANY (CAST(:severities AS smallint[])))
        AND (CAST(:rules AS text[]) IS NULL OR s.rule_id = ANY (CAST(:rules AS text[])))
        AND (CAST(:regions AS text[]) IS NULL OR s.region = ANY (CAST(:regions AS text[])))
"""
_TOTAL = "SELECT coalesce(sum(m.findings), 0)::bigint FROM ({matching}) AS m"
# A span is of the page when its last finding comes after the cursor. Every span has a finding, so as many spans as
# findings are wanted are enough.
_PAGE = """
    SELECT m.severity_order, m.rule_id, m.unit, m.chunk_index, m.first, m.findings, m.status, m.region
    FROM ({matching}) AS m
    WHERE CAST(:after AS boolean) IS FALSE
        OR (m.severity_order, m.rule_id, m.unit, m.chunk_index, m.first + m.findings - 1)
        > (CAST(:c_severity AS smallint), CAST(:c_rule AS text), CAST(:c_unit AS text), CAST(:c_chunk AS int),
           CAST(:c_position AS int))
    ORDER BY m.severity_order, m.rule_id, m.unit, m.chunk_index, m.first
    LIMIT :limit
"""
# By (is a resource looked for, is a change).
_SPANS = {
    (False, False): _GROUPS,
    (True, False): _OF_RESOURCE,
    (False, True): _OF_CHANGE.format(spans=_GROUPS),
    (True, True): _OF_CHANGE.format(spans=_OF_RESOURCE),
}
_TOTALS = {by: text(_TOTAL.format(matching=_MATCHING.format(spans=spans))) for by, spans in _SPANS.items()}
_PAGES = {by: text(_PAGE.format(matching=_MATCHING.format(spans=spans))) for by, spans in _SPANS.items()}
_RULES = text("""
    SELECT g.rule_id, g.severity_order, g.status, sum(g.findings)::int AS findings
    FROM finding_groups g JOIN units u ON u.team_id = g.team_id AND u.run_id = g.run_id AND u.unit = g.unit
    WHERE g.team_id = :team AND g.run_id = :run
    GROUP BY g.rule_id, g.severity_order, g.status
    ORDER BY g.severity_order, g.rule_id, g.status
""")


class FindingRepository:
    """Findings of one run of the connection's team, as far as they are in clear."""

    def __init__(self, connection: AsyncConnection, team_id: UUID, run_id: UUID) -> None:
        self._connection = connection
        self._run = {"team": team_id, "run": run_id}

    async def total(self, filters: Filters, resource_hash: int | None) -> int:
        """How many findings pass the filters."""
        statement = _TOTALS[resource_hash is not None, bool(filters.changes)]
        found = await self._connection.execute(statement, self._parameters(filters, resource_hash))
        return int(found.scalar_one())

    async def spans(
        self, filters: Filters, resource_hash: int | None, after: Position | None, limit: int
    ) -> list[Span]:
        """The next spans after a position, in the order of pages; the first may begin before it."""
        statement = _PAGES[resource_hash is not None, bool(filters.changes)]
        parameters = {**self._parameters(filters, resource_hash), **_cursor_parameters(after), "limit": limit}
        rows = await self._connection.execute(statement, parameters)
        return [
            Span(
                severity_order=row.severity_order,
                rule_id=row.rule_id,
                unit=row.unit,
                chunk_index=row.chunk_index,
                first=row.first,
                count=row.findings,
                status=FindingStatus(row.status),
                region=row.region,
            )
            for row in rows
        ]

    async def rules(self) -> list[RuleCounts]:
        """Counts per rule, the most severe first."""
        found: dict[tuple[int, str], dict[str, int]] = {}
        for row in await self._connection.execute(_RULES, self._run):
            found.setdefault((row.severity_order, row.rule_id), {})[row.status] = row.findings
        return [RuleCounts(rule_id, SEVERITIES[order], by_status) for (order, rule_id), by_status in found.items()]

    def _parameters(self, filters: Filters, resource_hash: int | None) -> Mapping[str, Any]:
        chosen: dict[str, Any] = {
            **self._run,
            "statuses": sorted(filters.statuses) or None,
            "severities": [severity_order(severity) for severity in filters.severities] or None,
            "rules": sorted(filters.rule_ids) or None,
            "regions": sorted(filters.regions) or None,
        }
        if resource_hash is not None:
            chosen["resource"] = resource_hash
        if filters.changes:
            chosen["changes"] = [CHANGE_NUMBERS[change] for change in filters.changes]
        return chosen


def _cursor_parameters(after: Position | None) -> dict[str, Any]:
    return {
        "after": after is not None,
        "c_severity": after.severity_order if after else 0,
        "c_rule": after.rule_id if after else "",
        "c_unit": after.unit if after else "",
        "c_chunk": after.chunk_index if after else 0,
        "c_position": after.position if after else 0,
    }
