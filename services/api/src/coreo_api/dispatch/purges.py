"""Has the results of disconnected cloud accounts destroyed by the results service, as their owners asked."""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_api import signals
from coreo_api.context import Context
from coreo_api.results import Asker, ResultsRefusedError
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)
_LOCK = 0x4373
_LOOK_SECONDS = 15.0
_RETRY = timedelta(seconds=15)
_NOTHING_THERE = 404

_DUE = """
SELECT team_id, id, cloud_account_id, token_id, by_name FROM account_history
WHERE kind = 'purge' AND state IS NOT NULL AND ended_at IS NULL AND due_at <= :now ORDER BY due_at LIMIT 1
"""


class Purges:
    """Delivers the purges: each is a row of account_history until it is done, however long that takes."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def step(self) -> float:
        """Delivers one; the seconds until another look. Raises ResultsUnavailableError."""
        now = self._context.clock()
        async with self._context.system_database.transaction() as connection:
            # As in outbox.py: nothing that waits for the network has a transaction id.
            locked = await connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock, 0)"), {"lock": _LOCK})
            row = (await connection.execute(text(_DUE), {"now": now})).first() if locked.scalar_one() else None
            if row is None:
                return _LOOK_SECONDS
            try:
                asker = Asker(row.team_id, row.token_id, row.by_name)
                await self._context.results.purge(asker, row.cloud_account_id)
            except ResultsRefusedError as error:
                if error.status != _NOTHING_THERE:
                    await _postpone(connection, row, error, now)
                    return 0.0
            await _note_done(connection, row, now)
        return 0.0


async def _postpone(connection: AsyncConnection, row: Row[Any], error: ResultsRefusedError, now: datetime) -> None:
    """Such as while a run has not ended."""
    _log.warning("purge_waits", cloud_account_id=str(row.cloud_account_id), code=error.code)
    statement = text(
        "UPDATE account_history SET due_at = :later, attempts = attempts + 1 WHERE team_id = :team AND id = :id"
    )
    await connection.execute(statement, {"later": now + _RETRY, "team": row.team_id, "id": row.id})


async def _note_done(connection: AsyncConnection, row: Row[Any], now: datetime) -> None:
    statement = text(
        "UPDATE account_history SET state = 'SUCCEEDED', ended_at = :now WHERE team_id = :team AND id = :id"
    )
    await connection.execute(statement, {"now": now, "team": row.team_id, "id": row.id})
    await signals.announce(connection, signals.TASKS)  # tasks of the account may go
    _log.info("results_purged", cloud_account_id=str(row.cloud_account_id))
