"""Queries on severity overrides."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.chunks.repository import SEVERITIES, severity_order
from coreo_results.decisions.sealing import SealedText
from coreo_shared.contracts.terms import Severity


@dataclass(frozen=True)
class StoredOverride:
    """A row."""

    id: UUID
    rule_id: str
    cloud_account_id: UUID | None
    severity: Severity
    updated_at: datetime
    text: SealedText


_COLUMNS = "override_id, rule_id, cloud_account_id, severity_order, updated_at, key_version, sealed"
_LOCK_TEAM = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")
_COUNT = text("SELECT count(*) FROM severity_overrides WHERE team_id = :team")
_OF_RULE = text("""
    SELECT override_id FROM severity_overrides WHERE team_id = :team AND rule_id = :rule
        AND cloud_account_id IS NOT DISTINCT FROM CAST(:cloud_account AS uuid)
""")
_SET = text(f"""
    INSERT INTO severity_overrides
        (team_id, override_id, rule_id, cloud_account_id, severity_order, key_version, sealed)
    VALUES (:team, :id, :rule, :cloud_account, :severity, :key_version, :sealed)
    ON CONFLICT (team_id, override_id) DO UPDATE SET severity_order = excluded.severity_order, updated_at = now(),
        key_version = excluded.key_version, sealed = excluded.sealed
    RETURNING {_COLUMNS}
""")  # noqa: S608  constants
_FIND = text(f"SELECT {_COLUMNS} FROM severity_overrides WHERE team_id = :team AND override_id = :id")  # noqa: S608  constants
_PAGE = text(f"""
    SELECT {_COLUMNS} FROM severity_overrides WHERE team_id = :team AND override_id < :before
    ORDER BY override_id DESC LIMIT :limit
""")  # noqa: S608  constants
_REMOVE = text("DELETE FROM severity_overrides WHERE team_id = :team AND override_id = :id RETURNING override_id")
# One for the cloud account comes last, so that it goes before one for all.
_FOR_RUN = text("""
    SELECT o.rule_id, o.severity_order FROM severity_overrides o JOIN runs r ON r.team_id = :team AND r.run_id = :run
    WHERE o.team_id = :team AND (o.cloud_account_id IS NULL OR o.cloud_account_id = r.cloud_account_id)
    ORDER BY o.cloud_account_id NULLS FIRST
""")


class OverrideRepository:
    """Overrides of the connection's team."""

    def __init__(self, connection: AsyncConnection, team_id: UUID) -> None:
        self._connection = connection
        self._team = {"team": team_id}

    async def lock_count(self) -> int:
        """How many there are; nobody sets one until the transaction ends."""
        await self._connection.execute(_LOCK_TEAM, {"key": f"overrides {self._team['team']}"})
        return int((await self._connection.execute(_COUNT, self._team)).scalar_one())

    async def id_of(self, rule_id: str, cloud_account_id: UUID | None) -> UUID | None:
        """The override of a rule, for this cloud account or (None) for all."""
        values = {**self._team, "rule": rule_id, "cloud_account": cloud_account_id}
        found: UUID | None = (await self._connection.execute(_OF_RULE, values)).scalar_one_or_none()
        return found

    async def set(
        self, override_id: UUID, rule_id: str, cloud_account_id: UUID | None, severity: Severity, sealed: SealedText
    ) -> StoredOverride:
        """A new row, or the same one with another severity."""
        values = {"id": override_id, "rule": rule_id, "cloud_account": cloud_account_id}
        values |= {"severity": severity_order(severity), "key_version": sealed.key_version, "sealed": sealed.sealed}
        return _stored((await self._connection.execute(_SET, {**self._team, **values})).one())

    async def find(self, override_id: UUID) -> StoredOverride | None:
        """The row."""
        row = (await self._connection.execute(_FIND, {**self._team, "id": override_id})).first()
        return None if row is None else _stored(row)

    async def page(self, before: UUID, limit: int) -> Sequence[StoredOverride]:
        """Rows older than `before`, newest first."""
        values = {**self._team, "before": before, "limit": limit}
        return [_stored(row) for row in await self._connection.execute(_PAGE, values)]

    async def remove(self, override_id: UUID) -> bool:
        """Whether there was one."""
        removed = await self._connection.execute(_REMOVE, {**self._team, "id": override_id})
        return removed.first() is not None

    async def for_run(self, run_id: UUID) -> dict[str, int]:
        """Rule id to its severity order, as the run's cloud account has it."""
        rows = await self._connection.execute(_FOR_RUN, {**self._team, "run": run_id})
        return {row.rule_id: row.severity_order for row in rows}


def _stored(row: Row[Any]) -> StoredOverride:
    return StoredOverride(
        id=row.override_id,
        rule_id=row.rule_id,
        cloud_account_id=row.cloud_account_id,
        severity=SEVERITIES[row.severity_order],
        updated_at=row.updated_at,
        text=SealedText(row.key_version, row.sealed),
    )
