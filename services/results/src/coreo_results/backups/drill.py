"""The drill: restores into a scratch database, and compares what is there then with the live one."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from coreo_results.access.record import Detail, NewEntry, note
from coreo_results.backups.comparison import Compared, Side, compare_team
from coreo_results.backups.restorer import Restorer, RestoreReport, operator
from coreo_results.keys.service import Keys
from coreo_shared.contracts.terms import AccessAction, ObjectKind

SUFFIX = "_drill"
_TABLES = text("SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'")


class ScratchError(Exception):
    """The scratch database cannot be used; the message says what to change."""


@dataclass
class DrillReport:
    """What a drill came to."""

    restore: RestoreReport
    compared: dict[UUID, Compared] = field(default_factory=dict)
    ended_at: datetime | None = None

    @property
    def is_good(self) -> bool:
        """Whether the restored database is what the live one is."""
        return not any(each.differences for each in self.compared.values())


def scratch_url(url: str, name: str) -> str:
    """The same server and role, another database. Raises ScratchError for one that may be somebody's."""
    if not name.endswith(SUFFIX):
        raise ScratchError(f"a drill empties its database, so the name of that must end in {SUFFIX}: not {name}")
    return make_url(url).set(database=name).render_as_string(hide_password=False)


async def empty(owner_url: str) -> None:
    """Deletes all rows of the scratch database, as the role that owns its tables."""
    if not (make_url(owner_url).database or "").endswith(SUFFIX):
        raise ScratchError("this is no scratch database")
    engine = create_async_engine(owner_url, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            tables = list((await connection.execute(_TABLES)).scalars())
            names = ", ".join(f'public."{name}"' for name in tables)
            await connection.execute(text(f"TRUNCATE {names} RESTART IDENTITY CASCADE"))
    finally:
        await engine.dispose()


async def drill(restorer: Restorer, live: Side, *, only: UUID | None = None) -> DrillReport:
    """Restores and compares. Raises BackupsRefusedError, DamagedError."""
    report = DrillReport(await restorer.run(only=only, thorough=True))
    database = restorer.target.database
    for team_id in report.restore.restored:
        compared = await compare_team(team_id, live, Side(database, Keys(database, restorer.vault)))
        report.compared[team_id] = compared
        restorer.say(f"team {team_id}: compared, {len(compared.differences)} differences")
        async with live.database.transaction(team_id) as connection:
            detail: Detail = {"runs": compared.runs, "differences": len(compared.differences)}
            await note(connection, team_id, NewEntry(operator(), AccessAction.DRILL, ObjectKind.TEAM, team_id, detail))
    report.ended_at = datetime.now(UTC)
    return report
