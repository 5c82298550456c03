"""Makes results go: of a run, a plan or a cloud account on request, of a run when its time is over.

Each goes in two steps. First the keys, in one short transaction with the entry in the access record: from its commit
on nobody can read anything, whatever happens next. Then what the keys protected, in small transactions; if that is
interrupted, the sweeper goes on.
"""

import time
from collections.abc import Callable
from uuid import UUID

from coreo_results.access.record import NewEntry, note
from coreo_results.auth import Actor
from coreo_results.ledger.errors import RunAtWorkError, RunsAtWorkError
from coreo_results.retention.repository import Life, Reason, RetentionRepository, Scope
from coreo_shared.contracts.custody import Deleted
from coreo_shared.contracts.terms import AccessAction, GoneWhy, ObjectKind
from coreo_shared.db import Database
from coreo_shared.observability.logs import get_logger
from coreo_shared.web.problems import not_found

BY_RETENTION = Actor(None, "retention")
_INLINE_SECONDS = 4.0  # how long a request clears what it can; callers wait ten
_log = get_logger(__name__)


class Retention:
    """The end of results, on the request path and for the sweeper."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock

    async def delete_run(self, team_id: UUID, run_id: UUID, actor: Actor) -> Deleted:
        """Deletes a run's results; said again, there is nothing to do. Raises a 404 Problem, RunAtWorkError."""
        scope = Scope(ObjectKind.RUN, run_id)
        return await self._delete(team_id, scope, Reason(GoneWhy.REQUESTED, actor.name), actor)

    async def delete_plan(self, team_id: UUID, plan_id: UUID, actor: Actor) -> Deleted:
        """Deletes the results of all the plan's runs, and the life of its findings. Raises RunsAtWorkError."""
        scope = Scope(ObjectKind.PLAN, plan_id)
        return await self._delete(team_id, scope, Reason(GoneWhy.REQUESTED, actor.name), actor)

    async def purge_account(self, team_id: UUID, cloud_account_id: UUID, actor: Actor) -> Deleted:
        """As `delete_plan`, of a cloud account; suppressions for it alone go too. Raises RunsAtWorkError."""
        scope = Scope(ObjectKind.CLOUD_ACCOUNT, cloud_account_id)
        return await self._delete(team_id, scope, Reason(GoneWhy.ACCOUNT, actor.name), actor)

    async def expire(self, team_id: UUID, run_id: UUID) -> bool:
        """Drops the run's key if its time is over; False when it is not (any more), or somebody has it in hand."""
        async with self._database.transaction(team_id) as connection:
            repository = RetentionRepository(connection, team_id)
            if not await repository.lock_due(run_id):
                return False
            await repository.drop([run_id], Reason(GoneWhy.EXPIRED))
            entry = NewEntry(BY_RETENTION, AccessAction.EXPIRE, ObjectKind.RUN, run_id)
            await note(connection, team_id, entry)
        _log.info("results_expired", team_id=str(team_id), run_id=str(run_id))
        return True

    async def clear(self, team_id: UUID, run_id: UUID) -> bool:
        """Deletes what is left of a run whose results are gone; False if somebody else is at it."""
        async with self._database.transaction(team_id) as connection:
            life = await RetentionRepository(connection, team_id).life_of(run_id)
        if life is not None:
            await self._forget_life(team_id, life)
        return await self._clear(team_id, run_id)

    async def forget_counts(self, team_id: UUID) -> None:
        """Clears the counts of all runs whose results are gone, if the team wants none."""
        while True:
            async with self._database.transaction(team_id) as connection:
                if not await RetentionRepository(connection, team_id).forget_counts():
                    return

    async def _delete(self, team_id: UUID, scope: Scope, reason: Reason, actor: Actor) -> Deleted:
        is_run = scope.kind is ObjectKind.RUN
        async with self._database.transaction(team_id) as connection:
            repository = RetentionRepository(connection, team_id)
            locked = await repository.lock(scope)
            if is_run and not locked.runs:
                raise not_found("run")
            if not locked.have_ended:
                raise RunAtWorkError if is_run else RunsAtWorkError(scope.kind)
            gone = await repository.drop(locked.runs, reason, forget_life=not is_run)
            if scope.kind is ObjectKind.CLOUD_ACCOUNT:
                await repository.drop_suppressions(scope.id)
            lives = [] if is_run else await repository.lives_of(locked.runs)
            left = await repository.left(locked.runs)
            await note(connection, team_id, NewEntry(actor, AccessAction.DELETE, scope.kind, scope.id, {"runs": gone}))
        what = {"team_id": str(team_id), scope.kind: str(scope.id)}
        _log.info("results_purged", why=reason.why, runs=gone, **what)
        await self._clear_all(team_id, left, lives)
        return Deleted(runs=gone)

    async def _clear_all(self, team_id: UUID, runs: list[UUID], lives: list[Life]) -> None:
        """What is known of findings goes before anything is answered, so that no later run is held against it."""
        for life in lives:
            await self._forget_life(team_id, life)
        until = self._clock() + _INLINE_SECONDS
        for run_id in runs:
            if self._clock() >= until:
                return
            await self._clear(team_id, run_id, until=until)
        await self.forget_counts(team_id)

    async def _clear(self, team_id: UUID, run_id: UUID, *, until: float | None = None) -> bool:
        """Whether nothing is left. Stops at the clock's time `until`."""
        cleared: bool | None = False
        while cleared is False and (until is None or self._clock() < until):
            async with self._database.transaction(team_id) as connection:
                cleared = await RetentionRepository(connection, team_id).clear(run_id)
        return bool(cleared)

    async def _forget_life(self, team_id: UUID, life: Life) -> None:
        deleted = 1
        while deleted:
            async with self._database.transaction(team_id) as connection:
                deleted = await RetentionRepository(connection, team_id).forget_life(life)
