"""Backs up teams' runs in the background. One in each replica: they leave each other's teams alone."""

import asyncio
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.backups.heads import HeadRepository
from coreo_results.backups.service import Backups
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


class BackupKeeper:
    """Looks for teams as the system role, and works for each as that team alone."""

    def __init__(
        self, system_database: Database, database: Database, backups: Backups, *, interval_seconds: float
    ) -> None:
        self._system_database = system_database
        self._database = database
        self._backups = backups
        self._interval_seconds = interval_seconds
        self._wanted = asyncio.Event()

    def wake(self) -> None:
        """Begins the next round at once."""
        self._wanted.set()

    async def run(self, stopping: asyncio.Event) -> None:
        """A round every interval, until `stopping`; a failure is logged and tried again."""
        stop = asyncio.create_task(stopping.wait())
        try:
            while not stopping.is_set():
                self._wanted.clear()
                try:
                    await self.round(stopping)
                except Exception as error:  # noqa: BLE001  one failure, whatever it is, must not end all rounds
                    _log.error("backups_failed", exc_info=error)
                wanted = asyncio.create_task(self._wanted.wait())
                await asyncio.wait({stop, wanted}, timeout=self._interval_seconds, return_when=asyncio.FIRST_COMPLETED)
                wanted.cancel()
        finally:
            stop.cancel()

    async def round(self, stopping: asyncio.Event | None = None) -> None:
        """Works for each team that has something to do. One that it does not work for keeps no other from it."""
        async with self._system_database.transaction() as connection:
            teams = await due_teams(connection)
        for team_id in teams:
            if stopping is not None and stopping.is_set():
                return
            try:
                cycle = await self._backups.cycle(team_id, stopping=stopping)
            except Exception as error:  # noqa: BLE001  as above
                _log.error("team_not_backed_up", team_id=str(team_id), exc_info=error)
                await self._note(team_id, str(error))
            else:
                if cycle.failed:
                    await self._note(team_id, f"{len(cycle.failed)} runs cannot be read: {next(iter(cycle.failed))}, …")
                if cycle.stored or cycle.expired:
                    _log.info(
                        "team_backed_up", team_id=str(team_id), runs=cycle.stored, findings=cycle.findings,
                        bytes=cycle.bytes, expired=cycle.expired,
                    )  # fmt: skip

    async def _note(self, team_id: UUID, problem: str) -> None:
        try:
            async with self._database.transaction(team_id) as connection:
                heads = HeadRepository(connection, team_id)
                await heads.make()
                await heads.failed(problem)
        except Exception as error:  # noqa: BLE001  it is logged already; the database may be what is away
            _log.error("backup_problem_not_noted", team_id=str(team_id), exc_info=error)
