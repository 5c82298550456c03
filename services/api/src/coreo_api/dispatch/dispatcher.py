"""Sends the outbox's jobs to the queue, at least once.

A team's rows are one replica's while they are on their way, and go when the queue has them: so any number of replicas
may do this and any may die anywhere. Teams take turns, batch by batch, and none has more than its share at work.
"""

import asyncio
import random
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_api.context import Context
from coreo_api.dispatch import outbox
from coreo_api.dispatch.jobs import signed_job
from coreo_api.dispatch.queue import MAX_BATCH, JobQueue, QueueMessage
from coreo_api.dispatch.retries import retry_delay
from coreo_shared.contracts.terms import Pool
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)
_LOOK_SECONDS = 15.0  # without a signal: for one that was lost, and for rows that wait for another try
_TEAMS_AT_ONCE = 4


class Dispatcher:
    """Sends jobs of the audit pool; `dispatch.turns.DeployDispatcher` those of the deploy pool."""

    pool = Pool.AUDIT

    def __init__(self, context: Context, queue: JobQueue) -> None:
        self._context = context
        self._queue = queue
        self._signer = context.settings.signer()

    async def step(self) -> float:
        """Sends up to a batch for each team; the seconds until another look. Raises QueueUnavailableError."""
        async with self._context.system_database.transaction() as connection:
            await outbox.drop_needless_jobs(connection)
            teams = await outbox.teams_with_jobs(connection, self.pool, self._context.clock())
        turns = asyncio.Semaphore(_TEAMS_AT_ONCE)

        async def turn(team_id: UUID) -> int:
            async with turns:
                return await self._send_batch(team_id)

        outcomes = await asyncio.gather(*(turn(team_id) for team_id in teams), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome
        return 0.0 if MAX_BATCH in outcomes else await self.pause()

    async def pause(self) -> float:
        """The seconds until another look, should no signal come."""
        return _LOOK_SECONDS

    async def prepare(self, team_id: UUID, now: datetime) -> None:
        """What is to be on disk before anything is sent."""

    async def take(self, connection: AsyncConnection, team_id: UUID, now: datetime) -> Sequence[Row[Any]]:
        """The team's jobs to be sent now, a batch at most."""
        room = self._context.settings.team_max_active_runs - await outbox.count_at_work(connection, team_id)
        return await outbox.take_jobs(connection, team_id, now, max(0, min(room, MAX_BATCH)))

    async def _send_batch(self, team_id: UUID) -> int:
        """How many of the team's jobs are on the queue now."""
        now = self._context.clock()
        await self.prepare(team_id, now)
        async with self._context.system_database.transaction() as connection:
            if not await outbox.lock_team(connection, team_id, self.pool):
                return 0
            rows = await self.take(connection, team_id, now)
            if not rows:
                return 0
            refused = await self._queue.send([self._message(row) for row in rows])
            sent = [row for row in rows if str(row.run_id) not in refused]
            await outbox.mark_sent(connection, team_id, sent, now)
            await self._postpone(connection, rows, refused)
        _log.info("jobs_sent", team_id=str(team_id), count=len(sent))
        return len(sent)

    def _message(self, row: Row[Any]) -> QueueMessage:
        partition = self._context.settings.partition
        body = signed_job(self._signer, row, partition=partition, now=self._context.clock())
        return QueueMessage(str(row.run_id), body, str(row.team_id))

    async def _postpone(
        self, connection: AsyncConnection, rows: Sequence[Row[Any]], refused: Mapping[str, str]
    ) -> None:
        for row in rows:
            problem = refused.get(str(row.run_id))
            if problem is not None:
                delay = retry_delay(row.attempts + 1, random.random())  # noqa: S311  no secret
                _log.error("job_refused_by_queue", run_id=str(row.run_id), code=problem, retry_seconds=round(delay, 1))
                due_at = self._context.clock() + timedelta(seconds=delay)
                await outbox.postpone(connection, row.team_id, row.id, problem, due_at)
