"""Fires plans' schedules. A tick fires once, however many replicas look: its plan's row is locked while it does, the
tick's group is unique, and runs and the plan's next tick are stored in one transaction."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_api.accounts.states import AccountState
from coreo_api.context import Context
from coreo_api.deploys import targets
from coreo_api.plans.deploy_schemas import DeploySpec
from coreo_api.plans.kinds import DEPLOY
from coreo_api.plans.schedule import DueTicks, Schedule, due_ticks
from coreo_api.runs import repository as runs
from coreo_api.runs.requests import Deploy, Place, Starter, Trigger
from coreo_shared.contracts.deploys import DeployAction
from coreo_shared.observability.logs import get_logger
from coreo_shared.rules.errors import UnknownNameError

_log = get_logger(__name__)
_LOOK_SECONDS = 30.0
_SOON_SECONDS = 0.1  # another replica holds the plan that is due


class Scheduler:
    """Starts runs of the plans that are due."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._starter = Starter(context.catalogue, timedelta(seconds=context.settings.job_ttl_seconds))

    async def step(self) -> float:
        """Fires all that is due; the seconds until the next tick."""
        while not self._context.stopping.is_set() and await self._fire_one():
            pass
        async with self._context.system_database.transaction() as connection:
            statement = text("SELECT min(next_tick_at) FROM plans WHERE enabled AND deleted_at IS NULL")
            following = (await connection.execute(statement)).scalar_one()
        if following is None:
            return _LOOK_SECONDS
        seconds: float = (following - self._context.clock()).total_seconds()
        return min(_LOOK_SECONDS, max(_SOON_SECONDS, seconds))

    async def _fire_one(self) -> bool:
        """Whether a plan was due that no other replica is firing."""
        now = self._context.clock()
        async with self._context.system_database.transaction() as connection:
            plan = await _take_due(connection, now)
            if plan is None:
                return False
            due = due_ticks(Schedule.model_validate(plan.schedule), plan.id, plan.next_tick_at, now)
            problem = await self._fire(connection, plan, due, now)
            await _set_next(connection, plan, due, problem)
        _log.info("schedule_fired", plan_id=str(plan.id), ticks=len(due.fire), problem=problem)
        return True

    async def _fire(self, connection: AsyncConnection, plan: Row[Any], due: DueTicks, now: datetime) -> str | None:
        """Starts the runs of all due ticks; why some could not be. A plan that fails must not hold up the others."""
        try:
            async with connection.begin_nested():
                return await self._start(connection, plan, due, now)
        except DBAPIError:
            raise  # the whole transaction is tried again
        except UnknownNameError as error:
            return f"{error.field} of the plan's spec is no longer in the catalogue; send a new spec."
        except Exception as error:  # noqa: BLE001  a bug: logged whole, shown on the plan
            _log.error("schedule_failed", plan_id=str(plan.id), exc_info=error)
            return "Something broke on our side; it has been logged. Start the plan by hand, or wait for its next tick."

    async def _start(self, connection: AsyncConnection, plan: Row[Any], due: DueTicks, now: datetime) -> str | None:
        accounts = await runs.targets_of(connection, plan.team_id, plan.id)
        ready = [account for account in accounts if account.state == AccountState.CONNECTED]
        problem = None
        for tick in due.fire if ready else ():
            trigger = Trigger("schedule", tick_at=tick)
            if plan.kind == DEPLOY:
                problem = await self._look_for_drift(connection, plan, ready, trigger, now)
            else:
                ids = [account.id for account in ready]
                await self._starter.start(connection, plan.team_id, plan, ids, trigger, now)
        if not accounts:
            return "The plan has no cloud accounts."
        waiting = len(accounts) - len(ready)
        left_out = f"{waiting} of its {len(accounts)} cloud accounts are not CONNECTED: left out." if waiting else None
        return left_out or problem

    async def _look_for_drift(
        self,
        connection: AsyncConnection,
        plan: Row[Any],
        accounts: Sequence[Row[Any]],
        trigger: Trigger,
        now: datetime,
    ) -> str | None:
        """Starts a drift check of each stack, unless one still waits; says of how many."""
        waiting = await targets.waiting_drifts(connection, plan.team_id, plan.id)
        places = {
            (account.account_id, region): Place(account.id, account.account_id, region)
            for account in accounts
            for region in DeploySpec.model_validate(plan.spec).regions
        }
        free = [place for place in places.values() if (place.cloud_account_id, place.region) not in waiting]
        if free:
            wish = Deploy(DeployAction.DRIFT, free)
            await self._starter.start_deploy(connection, plan.team_id, plan, wish, trigger, now)
        late = len(places) - len(free)
        return f"The check before of {late} of its {len(places)} stacks has not ended: left out." if late else None


async def _take_due(connection: AsyncConnection, now: datetime) -> Row[Any] | None:
    """A plan that is due, locked."""
    statement = text(
        "SELECT p.team_id, p.id, p.kind, p.revision, p.schedule, p.next_tick_at, r.spec FROM plans p "
        "JOIN plan_revisions r ON (r.team_id, r.plan_id, r.revision) = (p.team_id, p.id, p.revision) "
        "WHERE p.enabled AND p.deleted_at IS NULL AND p.next_tick_at <= :now "
        "ORDER BY p.next_tick_at LIMIT 1 FOR UPDATE OF p SKIP LOCKED"
    )
    return (await connection.execute(statement, {"now": now})).first()


async def _set_next(connection: AsyncConnection, plan: Row[Any], due: DueTicks, problem: str | None) -> None:
    statement = text(
        "UPDATE plans SET next_tick_at = :following, last_tick_at = :last, last_tick_problem = :problem "
        "WHERE team_id = :team AND id = :id"
    )
    last = due.fire[-1] if due.fire else plan.next_tick_at
    missed = None if due.fire else "Coreo was down at this tick, and the schedule says to skip missed ones."
    values = {"following": due.following, "last": last, "problem": problem or missed}
    await connection.execute(statement, values | {"team": plan.team_id, "id": plan.id})
