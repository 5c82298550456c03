"""Queries on findings of units that are done, as their team sees them. Nothing here is decrypted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Row, TextClause
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.chunks.repository import SEVERITIES, severity_order
from coreo_results.findings.filters import Filters, Position
from coreo_results.findings.statements import PAGES, RULES, SUMMED_UP, TOTALS
from coreo_results.keys.seal import DamagedError
from coreo_results.life.changes import CHANGE_NUMBERS
from coreo_results.planner import joining_by_hash
from coreo_results.suppressions.lens import Lens
from coreo_shared.contracts.terms import FindingStatus, Severity


@dataclass(frozen=True)
class Span:
    """`count` neighbouring findings of a chunk, alike in what is in clear and in what the team makes of them.

    `severity_order` and `status` are as stored, `shown_order` is what pages are ordered by.
    """

    severity_order: int
    rule_id: str
    unit: str
    chunk_index: int
    first: int
    count: int
    status: FindingStatus
    region: str
    shown_order: int
    suppression_id: UUID | None


@dataclass(frozen=True)
class RuleCounts:
    """What a run found by one rule."""

    rule_id: str
    severity: Severity
    by_status: dict[str, int]


class FindingRepository:
    """Findings of one run of the connection's team, as far as they are in clear, through the team's lens."""

    def __init__(self, connection: AsyncConnection, team_id: UUID, run_id: UUID, lens: Lens) -> None:
        self._connection = connection
        self._split = bool(lens.selective)
        self._run = {
            "team": team_id,
            "run": run_id,
            "whole_rules": [rule_id for rule_id, _ in lens.whole],
            "whole_regions": [region for _, region in lens.whole],
            "whole_ids": list(lens.whole.values()),
            "override_rules": list(lens.severities),
            "override_orders": list(lens.severities.values()),
        }
        if self._split:
            self._run["selective_ids"] = [key for key, _ in lens.selective]
            self._run["selective_versions"] = [version for _, version in lens.selective]

    async def check_totals(self) -> None:
        """Raises DamagedError where totals are missing: counts and pages go by them, and would look good."""
        if not (await self._connection.execute(SUMMED_UP, self._run)).scalar_one():
            raise DamagedError("the totals of a run are not what its counts say")

    async def total(self, filters: Filters, resource_hash: int | None) -> int:
        """How many findings pass the filters."""
        statement = TOTALS[resource_hash is not None, bool(filters.changes), self._split]
        (row,) = await self._rows(statement, self._parameters(filters, resource_hash), many=bool(filters.changes))
        return int(row.total)

    async def spans(
        self, filters: Filters, resource_hash: int | None, after: Position | None, limit: int
    ) -> list[Span]:
        """The next spans after a position, in the order of pages; the first may begin before it."""
        statement = PAGES[resource_hash is not None, bool(filters.changes), self._split]
        parameters = {**self._parameters(filters, resource_hash), **_cursor_parameters(after), "limit": limit}
        rows = await self._rows(statement, parameters, many=bool(filters.changes))
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
                shown_order=row.shown_order,
                suppression_id=row.suppression_id,
            )
            for row in rows
        ]

    async def rules(self) -> list[RuleCounts]:
        """Counts per rule, the most severe first."""
        found: dict[tuple[int, str], dict[str, int]] = {}
        for row in await self._rows(RULES[self._split], self._run, many=False):
            found.setdefault((row.shown_order, row.rule_id), {})[row.shown_status] = row.findings
        return [RuleCounts(rule_id, SEVERITIES[order], by_status) for (order, rule_id), by_status in found.items()]

    async def _rows(self, statement: TextClause, parameters: Mapping[str, Any], *, many: bool) -> Sequence[Row[Any]]:
        if not (many or self._split):
            return (await self._connection.execute(statement, parameters)).all()
        async with joining_by_hash(self._connection):
            return (await self._connection.execute(statement, parameters)).all()

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
