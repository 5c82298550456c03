"""Queries on settings about the custody of results. What has no row has the defaults."""

from typing import Any
from uuid import UUID

import msgspec
from msgspec import UNSET
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_shared.contracts.custody import CustodyPatch, CustodySettings, PlanCustody, PlanCustodyPatch

_TEAM = text("SELECT * FROM custody_settings WHERE team_id = :team")
_SET_TEAM = text("""
    INSERT INTO custody_settings AS s (team_id, display_days, backup_days, backups, keep_counts)
    VALUES (:team, coalesce(CAST(:display_days AS int), :default_display_days),
        coalesce(CAST(:backup_days AS int), :default_backup_days), coalesce(CAST(:backups AS boolean), true),
        coalesce(CAST(:keep_counts AS boolean), true))
    ON CONFLICT (team_id) DO UPDATE SET
        display_days = coalesce(CAST(:display_days AS int), s.display_days),
        backup_days = coalesce(CAST(:backup_days AS int), s.backup_days),
        backups = coalesce(CAST(:backups AS boolean), s.backups),
        keep_counts = coalesce(CAST(:keep_counts AS boolean), s.keep_counts),
        updated_at = now()
    RETURNING *
""")
_PLAN = text("SELECT * FROM plan_custody_settings WHERE team_id = :team AND plan_id = :plan")
_SET_PLAN = text("""
    INSERT INTO plan_custody_settings AS s (team_id, plan_id, display_days, backup)
    VALUES (:team, :plan, CAST(:display_days AS int), coalesce(CAST(:backup AS boolean), true))
    ON CONFLICT (team_id, plan_id) DO UPDATE SET
        display_days = CASE WHEN CAST(:says_days AS boolean) THEN CAST(:display_days AS int) ELSE s.display_days END,
        backup = coalesce(CAST(:backup AS boolean), s.backup),
        updated_at = now()
    RETURNING *
""")


class CustodyRepository:
    """Settings of the connection's team."""

    def __init__(self, connection: AsyncConnection, team_id: UUID) -> None:
        self._connection = connection
        self._team = {"team": team_id}

    async def team(self) -> CustodySettings:
        """The team's."""
        row = (await self._connection.execute(_TEAM, self._team)).first()
        return CustodySettings() if row is None else _of_team(row)

    async def set_team(self, patch: CustodyPatch) -> CustodySettings:
        """The team's after the change."""
        given = {name: None if value is UNSET else value for name, value in msgspec.structs.asdict(patch).items()}
        defaults = CustodySettings()
        given |= {"default_display_days": defaults.display_days, "default_backup_days": defaults.backup_days}
        return _of_team((await self._connection.execute(_SET_TEAM, {**self._team, **given})).one())

    async def plan(self, plan_id: UUID) -> PlanCustody:
        """The plan's."""
        row = (await self._connection.execute(_PLAN, {**self._team, "plan": plan_id})).first()
        team = await self.team()
        return PlanCustody(plan_id=plan_id, team=team) if row is None else _of_plan(row, team)

    async def set_plan(self, plan_id: UUID, patch: PlanCustodyPatch) -> PlanCustody:
        """The plan's after the change."""
        days, backup = patch.display_days, patch.backup
        given = {
            "plan": plan_id,
            "says_days": days is not UNSET,
            "display_days": None if days is UNSET else days,
            "backup": None if backup is UNSET else backup,
        }
        row = (await self._connection.execute(_SET_PLAN, {**self._team, **given})).one()
        return _of_plan(row, await self.team())


def _of_team(row: Row[Any]) -> CustodySettings:
    return CustodySettings(
        display_days=row.display_days,
        backup_days=row.backup_days,
        backups=row.backups,
        keep_counts=row.keep_counts,
        updated_at=row.updated_at,
    )


def _of_plan(row: Row[Any], team: CustodySettings) -> PlanCustody:
    return PlanCustody(
        plan_id=row.plan_id, display_days=row.display_days, backup=row.backup, updated_at=row.updated_at, team=team
    )
