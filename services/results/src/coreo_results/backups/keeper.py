"""Backs up teams' runs in the background. Replicas leave each other's teams alone."""

import asyncio
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.backups.heads import HeadRepository
from coreo_results.backups.service import Backups
from coreo_results.rounds import Keeper
from coreo_shared.db import Database
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)
# Runs to back up, backups to let go of, things begun, and snapshots of the key ledger that grow old.
_DUE_TEAMS = text("""
    SELECT team_id FROM runs
        WHERE ended_at IS NOT NULL AND backup_settled_at IS NULL AND purged_at IS NULL AND pool <> 'onboard'
    UNION SELECT team_id FROM backups WHERE state = 'STORED' AND expires_at <= now()
    UNION SELECT team_id FROM backups WHERE state IN ('WRITING', 'DROPPING')
    UNION SELECT b.team_id FROM backups b JOIN runs r USING (team_id, run_id)
        WHERE b.state = 'STORED' AND b.deletion_seq IS NULL
            AND r.purged_at IS NOT NULL AND r.purged_why IS DISTINCT FROM 'expired'
    UNION SELECT h.team_id FROM backup_heads h JOIN custody_settings s USING (team_id)
        WHERE h.days IS DISTINCT FROM s.backup_days
    UNION SELECT team_id FROM backup_heads
        WHERE pending IS NOT NULL OR snapshot_at IS NULL OR snapshot_at < now() - interval '1 day'
""")


async def due_teams(connection: AsyncConnection) -> list[UUID]:
    """Teams with something to do; for the system role."""
    return list((await connection.execute(_DUE_TEAMS)).scalars())


class RunsNotBackedUpError(Exception):
    """Runs that cannot be read; all others of the team are backed up. Each was logged by itself."""


class BackupKeeper(Keeper):
    """Has all that is due done."""

    NAME = "backups"
    ROUND_FAILED, TEAM_FAILED, NOT_NOTED = "backups_failed", "team_not_backed_up", "backup_problem_not_noted"

    def __init__(
        self, system_database: Database, database: Database, backups: Backups, *, interval_seconds: float
    ) -> None:
        super().__init__(system_database, database, interval_seconds=interval_seconds)
        self._backups = backups

    async def due(self, connection: AsyncConnection) -> list[UUID]:
        """See Keeper."""
        return await due_teams(connection)

    async def work(self, team_id: UUID, stopping: asyncio.Event | None) -> bool:
        """A cycle. Raises what `Backups.cycle` raises."""
        cycle = await self._backups.cycle(team_id, stopping=stopping)
        if cycle.stored or cycle.expired:
            _log.info(
                "team_backed_up", team_id=str(team_id), runs=cycle.stored, findings=cycle.findings,
                bytes=cycle.bytes, expired=cycle.expired,
            )  # fmt: skip
        if cycle.failed:
            error = RunsNotBackedUpError(f"{len(cycle.failed)} runs cannot be read: {next(iter(cycle.failed))}, …")
            await self.note(team_id, error)
        return not cycle.failed

    async def write_down(self, connection: AsyncConnection, team_id: UUID, error: Exception) -> None:
        """Where `GET /backups` finds it."""
        heads = HeadRepository(connection, team_id)
        await heads.make()
        await heads.failed(str(error))
