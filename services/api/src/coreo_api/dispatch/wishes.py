"""Tells the results service which runs shall end: those that somebody cancels, and those that no worker took in time.

The ledger there is who ends a run; what came of it returns by the event feed.
"""

import asyncio
import random
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import Row

from coreo_api.context import Context
from coreo_api.dispatch import outbox
from coreo_api.dispatch.retries import retry_delay
from coreo_api.results import Asker, ResultsRefusedError
from coreo_shared.contracts.results import CancelRun
from coreo_shared.contracts.terms import Pool
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)
_LOOK_SECONDS = 15.0
_BATCH = 20
# A worker took the run at the last moment. Should it give the run back, nobody can take it again: so ask again.
_ASK_AGAIN = timedelta(minutes=5)


@dataclass(frozen=True)
class _Delay:
    """The wish must be told again after this time."""

    why: str
    time: timedelta


class Wishes:
    """Delivers the outbox's rows of kind cancel and expire."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def step(self) -> float:
        """Delivers what is due; the seconds until another look. Raises ResultsUnavailableError."""
        now = self._context.clock()
        async with self._context.system_database.transaction() as connection:
            await outbox.add_expiries(connection, *self._reasons(), now)
        async with self._context.system_database.transaction() as connection:
            if not await outbox.lock_wishes(connection):
                return _LOOK_SECONDS  # whoever has the lock was woken by the same signal
            rows = await outbox.take_wishes(connection, now, _BATCH)
            delays = await asyncio.gather(*(self._deliver(row) for row in rows))
            for row, delay in zip(rows, delays, strict=True):
                if delay is None:
                    await outbox.remove(connection, row.team_id, row.id)
                else:
                    await outbox.postpone(connection, row.team_id, row.id, delay.why, now + delay.time)
        return 0.0 if len(rows) == _BATCH else _LOOK_SECONDS

    async def _deliver(self, row: Row[Any]) -> _Delay | None:
        """None when it is done."""
        if row.ended_at is not None:
            return None
        state: Literal["CANCELED", "EXPIRED"] = "CANCELED" if row.kind == "cancel" else "EXPIRED"
        wish = CancelRun(
            plan_id=row.plan_id,
            plan_revision=row.plan_revision,
            cloud_account_id=row.cloud_account_id,
            account_id=row.account_id,
            pool=Pool(row.pool),
            state=state,
            reason=row.reason,
        )
        try:
            answer = await self._context.results.cancel(Asker(row.team_id), row.run_id, wish)
        except ResultsRefusedError as error:
            _log.error("wish_refused_by_results", run_id=str(row.run_id), kind=row.kind, code=error.code)
            seconds = retry_delay(row.attempts + 1, random.random())  # noqa: S311  no secret
            return _Delay(error.code, timedelta(seconds=seconds))
        if row.kind == "expire" and not answer.state.is_final:
            return _Delay("a worker has it", _ASK_AGAIN)
        return None

    def _reasons(self) -> tuple[str, str]:
        """Why a run expired: after it was put on the queue, and before. `{pool}` stands for its pool."""
        settings = self._context.settings
        waited = _words(settings.job_ttl_seconds)
        sent = (
            f"No {{pool}} worker took this run within {waited}. Check that {{pool}} workers are running and reach the "
            "queue and the results service, then start the plan again."
        )
        unsent = (
            f"This run could not be handed to the workers within {waited} (a deploy: in a week): its cloud account was "
            f"not CONNECTED, the queue did not answer, your team had {settings.team_max_active_runs} runs at work all "
            "the time, or (a deploy) it was never its turn. Start the plan again, or less at once."
        )
        return sent, unsent


def _words(seconds: int) -> str:
    for size, name in ((3600, "hour"), (60, "minute")):
        if seconds % size == 0:
            count = seconds // size
            return f"{count} {name}{'s' * (count != 1)}"
    return f"{seconds} seconds"
