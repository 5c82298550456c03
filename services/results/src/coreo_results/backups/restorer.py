"""The whole of a restore: everything is verified first, and only then anything is written, into an empty database."""

import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from coreo_results.access.record import Detail, NewEntry, note
from coreo_results.auth import Actor
from coreo_results.backups.display import TABLES, DisplayRules, shown_for_ever
from coreo_results.backups.heads import Head, HeadRepository
from coreo_results.backups.loader import Loader
from coreo_results.backups.opening import LedgerKeys
from coreo_results.backups.reading import BackupsRefusedError, TeamBackups, read_team
from coreo_results.backups.restore import Restored, TeamRestore
from coreo_results.backups.restored_exclusions import restore_exclusions
from coreo_results.backups.service import BackupStores
from coreo_results.backups.verification import TeamVerdict, Verifier
from coreo_results.keys.adoption import Adoption
from coreo_results.keys.material import Sealed
from coreo_results.keys.service import Keys
from coreo_results.keys.vault import Vault
from coreo_results.keys.wrapping import WrappedKey
from coreo_shared.contracts.terms import AccessAction, ObjectKind
from coreo_shared.crypto.statements import Statements
from coreo_shared.db import Database

_TOGETHER = 4  # plans restored at once
_TABLES = ("runs", "team_keys", "backup_heads", "custody_settings")  # of these the system's role sees all rows
_ANYTHING = text(" UNION ALL ".join(f"SELECT 1 FROM {table}" for table in _TABLES) + " LIMIT 1")  # noqa: S608  constants


@dataclass(frozen=True)
class Target:
    """The database to fill: as the service's role, and as the system's, which sees whether there is anything in it."""

    database: Database
    system_database: Database


@dataclass
class RestoreReport:
    """What was restored, team by team."""

    verified: dict[UUID, TeamVerdict] = field(default_factory=dict)
    restored: dict[UUID, Restored] = field(default_factory=dict)
    started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    verified_at: datetime | None = None
    ended_at: datetime | None = None


@dataclass(frozen=True)
class Restorer:
    """Restores all teams, or one. `say` is told how it goes, in sentences for people."""

    stores: BackupStores
    vault: Vault
    statements: Statements
    target: Target
    say: Callable[[str], None] = lambda _: None

    async def run(
        self, *, only: UUID | None = None, thorough: bool = False, with_expired: bool = False
    ) -> RestoreReport:
        """Raises BackupsRefusedError, with nothing written, where anything is wrong with the backups or the database.

        `with_expired`: also the results of runs that are too old to be shown. Their team's settings then say 1,826
        days, as they would go again at once otherwise.
        """
        await self._check_empty()
        report = RestoreReport()
        verifier = Verifier(self.stores, self.vault, self.statements, thorough)
        async for verdict in verifier.teams(only):
            report.verified[verdict.team_id] = verdict
            self.say(f"team {verdict.team_id}: verified, {len(verdict.problems)} problems")
        bad = [problem for verdict in report.verified.values() for problem in verdict.problems]
        if bad:
            raise BackupsRefusedError(
                f"{len(bad)} problems; nothing was restored.\n" + "\n".join(f"- {problem}" for problem in bad[:50])
            )
        report.verified_at = datetime.now(UTC)
        for team_id in report.verified:
            backups = await read_team(self.stores, team_id, self.statements)
            report.restored[team_id] = await self._team(backups, with_expired=with_expired)
        report.ended_at = datetime.now(UTC)
        return report

    async def _check_empty(self) -> None:
        try:
            async with self.target.system_database.transaction() as connection:
                is_used = (await connection.execute(_ANYTHING)).first() is not None
        except ProgrammingError:
            raise BackupsRefusedError(
                "the database does not have this version's tables: run coreo-results migrate first"
            ) from None
        if is_used:
            raise BackupsRefusedError(
                "the database is not empty, and a restore only fills an empty one: make another, migrate it, and let "
                "COREO_DATABASE_URL and COREO_SYSTEM_DATABASE_URL name that"
            )

    async def _team(self, backups: TeamBackups, *, with_expired: bool) -> Restored:
        team_id, snapshot, database = backups.team_id, backups.ledger.snapshot, self.target.database
        keys = Keys(database, self.vault)
        adoption = Adoption(database, keys, self.vault)
        await adoption.versions(team_id)
        for secret in snapshot.secrets:
            wrapped = WrappedKey(secret.team_key_version, Sealed(secret.wrapped))
            await adoption.secret(team_id, secret.name, wrapped)
        restore = TeamRestore(
            database=database,
            keys=keys,
            store=self.stores.backups,
            backups=backups,
            ledger_keys=LedgerKeys(self.vault, backups.ledger),
            rules=None if with_expired else DisplayRules.of(snapshot.settings, datetime.now(UTC)),
        )
        done = await restore.run(at_once=_TOGETHER)
        async with database.transaction(team_id) as connection:
            loader = Loader(connection, team_id)
            settings = shown_for_ever(snapshot.settings, team_id) if with_expired else snapshot.settings
            for table in TABLES:
                await loader.rows(table, bytes(settings.get(table, b"[]")))
            await HeadRepository(connection, team_id).put(_head(backups), snapshot.number)
            await restore_exclusions(connection, backups.log, self.statements)
            detail: Detail = {"runs": done.runs, "snapshot": snapshot.number, "log_seq": backups.log.seq}
            await note(
                connection, team_id, NewEntry(operator(), AccessAction.RESTORE, ObjectKind.TEAM, team_id, detail)
            )
        self.say(f"team {team_id}: restored, {done.runs} runs")
        return done


def operator() -> Actor:
    """Who runs the command, for access records."""
    return Actor(None, f"operator on {socket.gethostname()}")


def _head(backups: TeamBackups) -> Head:
    """Where the log is. The entry that the snapshot carries may still have to be stored."""
    snapshot = backups.ledger.snapshot
    is_pending = backups.end != snapshot.log_entry
    return Head(
        seq=backups.log.seq - is_pending,
        entry=backups.end,
        pending=snapshot.log_entry if is_pending else None,
        snapshot_at=None,
    )
