"""Tells the results service which runs shall end: those that somebody cancels, and those that no worker took in time.

The ledger there is who ends a run; what came of it returns by the event feed.
"""

import random
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_api.context import Context
from coreo_api.dispatch import outbox
from coreo_api.dispatch.retries import retry_delay
from coreo_api.results import ResultsRefusedError
from coreo_shared.contracts.results import CancelRun
from coreo_shared.contracts.terms import Pool
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)
_LOOK_SECONDS = 15.0
_BATCH = 20
# A worker took the run at the last moment. Should it give the run back, nobody can take it again: so ask again.
_ASK_AGAIN = timedelta(minutes=5)


class Wishes:
    """Delivers the outbox's rows of kind cancel and expire."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def step(self) -> float:
        """Delivers what is due; the seconds until another look. Raises ResultsUnavailableError."""
        now = self._context.clock()
        async with self._context.system_database.transaction() as connection:
            await outbox.add_expiries(connection, *self._reasons(), now)
            rows = await outbox.take_wishes(connection, now, _BATCH)
            for row in rows:
                await self._deliver(connection, row)
        return 0.0 if len(rows) == _BATCH else _LOOK_SECONDS

    async def _deliver(self, connection: AsyncConnection, row: Row[Any]) -> None:
        if row.ended_at is not None or await self._is_done(connection, row):
            await outbox.remove(connection, row.team_id, row.id)

    async def _is_done(self, connection: AsyncConnection, row: Row[Any]) -> bool:
        state: Literal["CANCELED", "EXPIRED"] = "CANCELED" if row.kind == "cancel" else "EXPIRED"
        wish = CancelRun(
            plan_id=row.plan_id,
            plan_revision=row.plan_revision,
            cloud_account_id=row.cloud_account_id,
            account_id=row.account_id,
            pool=Pool.AUDIT,
            state=state,
            reason=row.reason,
        )
        now = self._context.clock()
        try:
            answer = await self._context.results.cancel(row.team_id, row.run_id, wish)
        except ResultsRefusedError as error:
            _log.error("wish_refused_by_results", run_id=str(row.run_id), kind=row.kind, code=error.code)
            delay = timedelta(seconds=retry_delay(row.attempts + 1, random.random()))  # noqa: S311  no secret
            await outbox.postpone(connection, row.team_id, row.id, error.code, now + delay)
            return False
        if row.kind == "expire" and not answer.state.is_final:
            await outbox.postpone(connection, row.team_id, row.id, "a worker has it", now + _ASK_AGAIN)
            return False
        return True

    def _reasons(self) -> tuple[str, str]:
        """Why a run expired: after it was put on the queue, and before."""
        settings = self._context.settings
        waited = _words(settings.job_ttl_seconds)
        sent = (
            f"No audit worker took this run within {waited}. Check that audit workers are running and reach the queue "
            "and the results service, then start the plan again."
        )
        unsent = (
            f"This run could not be handed to the workers within {waited}: the queue did not answer, or your team had "
            f"{settings.team_max_active_runs} runs at work all the time. Start the plan again, or less at once."
        )
        return sent, unsent


def _words(seconds: int) -> str:
    for size, name in ((3600, "hour"), (60, "minute")):
        if seconds % size == 0:
            count = seconds // size
            return f"{count} {name}{'s' * (count != 1)}"
    return f"{seconds} seconds"
