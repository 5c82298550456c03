"""Does what exclusions take, step by step. Each step may be done again, and broken off anywhere it goes on from there.

The order matters. First the log says what was asked, in one entry whatever the number of runs: from then on no restore
brings these runs back, and each goes on with this. Then tombstones name the runs, some in each. Readable copies get new
keys, and backup keys go, while the team's old key is still there; then the team gets a new one, everything that is kept
is wrapped anew, and the old one is destroyed. After that no copy of the database, of the key ledger or of the backups
that was taken before opens anything of these runs.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.access.record import Detail, NewEntry, note
from coreo_results.auth import Actor
from coreo_results.backups.excluding import ExcludedBackups
from coreo_results.backups.log import written
from coreo_results.chunks.rekey import Rekeying
from coreo_results.exclusions.errors import StillThereError
from coreo_results.exclusions.proof import hash_of, receipt_of
from coreo_results.exclusions.repository import ExclusionRepository, Stored
from coreo_results.keys.errors import KeyDestroyedError, NoTeamKeyError
from coreo_results.keys.repository import KeyRepository
from coreo_results.keys.seal import DamagedError
from coreo_results.keys.turnover import Turnovers
from coreo_results.keys.vault import Vault
from coreo_results.retention.service import Retention
from coreo_shared.contracts.backups import ExclusionAsked, Logged, ReceiptIssued, RunsExcluded
from coreo_shared.contracts.exclusions import LISTED_RUNS, Display, ExclusionStep
from coreo_shared.contracts.terms import AccessAction
from coreo_shared.db import Database
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)
_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:key, 0))")


class ExclusionWorker:
    """Works for one team at a time."""

    def __init__(
        self,
        database: Database,
        vault: Vault,
        turnovers: Turnovers,
        rekeying: Rekeying,
        retention: Retention,
        backups: ExcludedBackups,
        *,
        runs_per_entry: int = LISTED_RUNS,
    ) -> None:
        self._database = database
        self._vault = vault
        self._turnovers = turnovers
        self._rekeying = rekeying
        self._retention = retention
        self._backups = backups
        self._page = runs_per_entry

    async def work(self, team_id: UUID) -> bool:
        """Does all that is pending for the team; whether nothing is left. One process at a time is at it.

        An exclusion that does not get further keeps no other from it, and says why. What all of them need together,
        raises: KeyUnavailableError, DamagedError, VaultError, and what the stores raise.
        """
        async with self._alone(team_id) as is_alone:
            if not is_alone:
                return False
            for exclusion in await self._pending(team_id):
                try:
                    await self._begin(team_id, exclusion)
                except Exception as error:  # noqa: BLE001  whatever it is, it must not hold up the others
                    await self._failed(team_id, exclusion.id, error)
            await self._turn_over(team_id)
            for exclusion in await self._pending(team_id):
                if exclusion.is_through(ExclusionStep.OLD_KEYS):
                    try:
                        await self._finish(team_id, exclusion)
                    except Exception as error:  # noqa: BLE001  as above
                        await self._failed(team_id, exclusion.id, error)
            return not await self._pending(team_id)

    async def _begin(self, team_id: UUID, exclusion: Stored) -> None:
        """What each needs for itself."""
        if not exclusion.is_through(ExclusionStep.INTENT):
            await self._announce(team_id, exclusion)
        if not exclusion.is_through(ExclusionStep.TOMBSTONE):
            await self._bury(team_id, exclusion)
        if not exclusion.is_through(ExclusionStep.DISPLAY):
            await self._see_to_display(team_id, exclusion)
        if not exclusion.is_through(ExclusionStep.BACKUPS):
            async with self._database.transaction(team_id) as connection:
                runs = await ExclusionRepository(connection, team_id).runs(exclusion.id)
            await self._backups.delete(team_id, [run.run_id for run in runs])
            await self._passed(team_id, exclusion.id, ExclusionStep.BACKUPS)

    async def _announce(self, team_id: UUID, exclusion: Stored) -> None:
        async def decide(connection: AsyncConnection, seq: int) -> Logged | None:
            repository = ExclusionRepository(connection, team_id)
            until = await repository.intended(exclusion.id, seq)
            if until is None:
                return None
            run_ids = [run.run_id for run in await repository.runs(exclusion.id)]
            is_short = len(run_ids) <= self._page
            return ExclusionAsked(
                exclusion_id=exclusion.id,
                scope=exclusion.scope,
                scope_id=exclusion.scope_id,
                display=exclusion.display,
                runs=len(run_ids),
                runs_sha256=hash_of(run_ids),
                run_ids=run_ids if is_short else await repository.stored_behind(exclusion.id, until),
                until=until,
                requested_at=written(exclusion.requested_at),
                requested_by=exclusion.requested_by,
                reason=exclusion.reason,
            )

        await self._backups.tell(team_id, decide)
        await self._passed(team_id, exclusion.id, ExclusionStep.INTENT)

    async def _bury(self, team_id: UUID, exclusion: Stored) -> None:
        async def decide(connection: AsyncConnection, seq: int) -> Logged | None:
            repository = ExclusionRepository(connection, team_id)
            runs = await repository.untold(exclusion.id, self._page)
            if not runs:
                return None
            await repository.told(exclusion.id, runs, seq)
            await self._backups.drop(connection, team_id, runs, seq)
            return RunsExcluded(
                exclusion_id=exclusion.id,
                scope=exclusion.scope,
                scope_id=exclusion.scope_id,
                run_ids=runs,
                requested_by=exclusion.requested_by,
                reason=exclusion.reason,
            )

        while await self._backups.tell(team_id, decide):
            pass
        await self._passed(team_id, exclusion.id, ExclusionStep.TOMBSTONE)

    async def _see_to_display(self, team_id: UUID, exclusion: Stored) -> None:
        while True:
            async with self._database.transaction(team_id) as connection:
                runs = await ExclusionRepository(connection, team_id).unseen(exclusion.id, self._page)
            if not runs:
                break
            for run_id in runs:
                became = await self._display(team_id, run_id, exclusion)
                async with self._database.transaction(team_id) as connection:
                    await ExclusionRepository(connection, team_id).seen(exclusion.id, run_id, became)
        await self._passed(team_id, exclusion.id, ExclusionStep.DISPLAY)

    async def _display(self, team_id: UUID, run_id: UUID, exclusion: Stored) -> str:
        if exclusion.display is Display.KEEP:
            try:
                return "none" if await self._rekeying.run(team_id, run_id) is None else "rekeyed"
            except DamagedError:
                # What is left of it may matter to somebody, so nobody but a person decides that it goes.
                raise StillThereError(
                    f"the readable copy of run {run_id} is damaged, so that it cannot get a new key: delete its results"
                ) from None
        async with self._database.transaction(team_id) as connection:
            if await KeyRepository(connection).run_key(team_id, run_id) is None:
                return "none"
        await self._retention.delete_run(team_id, run_id, Actor(exclusion.requested_by_id, exclusion.requested_by))
        return "deleted"

    async def _turn_over(self, team_id: UUID) -> None:
        """A new key for the team, once for all that wait for one; then the end of the old ones."""
        pending = await self._pending(team_id)
        ready = [
            each
            for each in pending
            if each.is_through(ExclusionStep.BACKUPS) and not each.is_through(ExclusionStep.NEW_KEY)
        ]
        if ready:
            try:
                turnover = await self._turnovers.begin(team_id)
                versions: tuple[int, int] | None = (turnover.old, turnover.new)
            except NoTeamKeyError:  # nothing of this team was ever stored
                versions = None
            async with self._database.transaction(team_id) as connection:
                for each in ready:
                    await ExclusionRepository(connection, team_id).new_key(each.id, versions)
        waiting = [each for each in await self._pending(team_id) if each.is_through(ExclusionStep.NEW_KEY)]
        if not all(each.is_through(ExclusionStep.OLD_KEYS) for each in waiting):
            await self._turnovers.finish(team_id)
            for each in waiting:
                await self._passed(team_id, each.id, ExclusionStep.OLD_KEYS)

    async def _finish(self, team_id: UUID, exclusion: Stored) -> None:
        """Looks whether it is all true, and signs that it is. Raises StillThereError."""
        await self._check_vault(team_id, exclusion.key_old)
        async with self._database.transaction(team_id) as connection:
            runs = await ExclusionRepository(connection, team_id).runs(exclusion.id)
        numbers = {run.log_seq for run in runs} | {exclusion.intent_seq}
        entries = await self._backups.entries(team_id, sorted(number for number in numbers if number is not None))

        async def decide(connection: AsyncConnection, _: int) -> Logged | None:
            repository = ExclusionRepository(connection, team_id)
            left = await repository.left(exclusion)
            if left is not None:
                raise StillThereError(f"{left} that must be gone are still there")
            receipt = self._backups.sign(receipt_of(team_id, exclusion, runs, entries, by=self._backups.by))
            if not await repository.finish(exclusion.id, receipt):
                return None
            said: Detail = {"exclusion": str(exclusion.id), "runs": len(runs), "receipt": True}
            actor = Actor(exclusion.requested_by_id, exclusion.requested_by)
            entry = NewEntry(actor, AccessAction.EXCLUDE, exclusion.scope, exclusion.scope_id, said)
            await note(connection, team_id, entry)
            return ReceiptIssued(exclusion_id=exclusion.id, receipt=receipt)

        await self._backups.tell(team_id, decide)
        _log.info("exclusion_done", team_id=str(team_id), exclusion_id=str(exclusion.id), runs=len(runs))

    async def _check_vault(self, team_id: UUID, version: int | None) -> None:
        if version is None:
            return
        try:
            await self._vault.load(team_id, version)
        except KeyDestroyedError:
            return
        raise StillThereError(f"version {version} of the team's key is still in the vault")

    async def _pending(self, team_id: UUID) -> list[Stored]:
        async with self._database.transaction(team_id) as connection:
            return await ExclusionRepository(connection, team_id).pending()

    async def _passed(self, team_id: UUID, exclusion_id: UUID, step: ExclusionStep) -> None:
        async with self._database.transaction(team_id) as connection:
            await ExclusionRepository(connection, team_id).passed(exclusion_id, step)

    async def _failed(self, team_id: UUID, exclusion_id: UUID, error: Exception) -> None:
        _log.error("exclusion_waits", team_id=str(team_id), exclusion_id=str(exclusion_id), exc_info=error)
        async with self._database.transaction(team_id) as connection:
            await ExclusionRepository(connection, team_id).failed(exclusion_id, problem_of(error))

    @asynccontextmanager
    async def _alone(self, team_id: UUID) -> AsyncIterator[bool]:
        async with self._database.transaction(team_id) as connection:
            got = (await connection.execute(_TRY_LOCK, {"key": f"exclusions {team_id}"})).scalar_one()
            yield bool(got)


def problem_of(error: Exception) -> str:
    """What the team is told of why it does not get further. Words of ours alone: others may hold anything."""
    if isinstance(error, StillThereError):
        return str(error)
    detail = getattr(error, "detail", None)
    return detail if isinstance(detail, str) else f"it does not get further at the moment ({type(error).__name__})"
