"""Sends the tasks of cloud accounts to the onboard workers, ends those that nobody did, and starts what is due.

Any number of replicas may do this. Who sends holds an advisory lock, not the rows (see outbox.py); everything else
takes rows that nobody else has at the moment.
"""

from datetime import timedelta
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_api.accounts import history, tasks
from coreo_api.accounts.history import By
from coreo_api.accounts.reports import Reports
from coreo_api.accounts.states import VERIFIABLE
from coreo_api.context import Context
from coreo_api.dispatch.queue import MAX_BATCH, JobQueue, QueueMessage
from coreo_shared.contracts.jobs import TargetAccount, Work
from coreo_shared.contracts.onboarding import DiscoverSpec, VerifySpec
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)
_LOCK = 0x4372
_LOOK_SECONDS = 5.0
_BATCH = 50
_GRACE = timedelta(seconds=30)  # for word of a task that ended in time
_RETRY = timedelta(seconds=15)
_NO_WORKER = "No onboard worker did this in time."

# A task waits while results of the account's earlier life are still to be destroyed: they must not meet new ones.
_DUE = """
SELECT h.team_id, h.id, h.cloud_account_id, h.kind, h.expires_at,
    c.account_id, c.role_arn, c.external_id, c.next_external_id
FROM account_history h JOIN cloud_accounts c ON (c.team_id, c.id) = (h.team_id, h.cloud_account_id)
WHERE h.state = 'QUEUED' AND h.ended_at IS NULL AND h.sent_at IS NULL AND h.kind = ANY(:kinds)
    AND h.due_at <= :now AND h.expires_at > :now
    AND NOT EXISTS (SELECT FROM account_history p WHERE (p.team_id, p.cloud_account_id) = (c.team_id, c.id)
        AND p.kind = 'purge' AND p.ended_at IS NULL)
ORDER BY h.due_at LIMIT :limit
"""
_MARK = """
UPDATE account_history h
SET attempts = attempts + 1,
    sent_at = CASE WHEN h.id = ANY(CAST(:refused AS uuid[])) THEN NULL ELSE CAST(:now AS timestamptz) END,
    due_at = CASE WHEN h.id = ANY(CAST(:refused AS uuid[])) THEN CAST(:later AS timestamptz) ELSE due_at END
FROM unnest(CAST(:teams AS uuid[]), CAST(:ids AS uuid[])) AS e (team_id, id)
WHERE (h.team_id, h.id) = (e.team_id, e.id)
"""
_LATE = """
SELECT h.team_id, h.id FROM account_history h
JOIN cloud_accounts c ON (c.team_id, c.id) = (h.team_id, h.cloud_account_id)
WHERE h.state IS NOT NULL AND h.ended_at IS NULL AND h.kind <> 'purge' AND h.expires_at < :late
ORDER BY h.expires_at LIMIT :limit FOR NO KEY UPDATE OF c SKIP LOCKED
"""
_UNPROVEN = """
SELECT c.team_id, c.id, c.role_arn FROM cloud_accounts c
WHERE c.deleted_at IS NULL AND c.next_verification_at <= :now AND c.state = ANY(:states)
    AND NOT EXISTS (SELECT FROM account_history h WHERE (h.team_id, h.cloud_account_id) = (c.team_id, c.id)
        AND h.state IS NOT NULL AND h.ended_at IS NULL AND h.kind <> 'purge')
ORDER BY c.next_verification_at LIMIT :limit FOR NO KEY UPDATE OF c SKIP LOCKED
"""


class Onboarding:
    """The onboard pool's part of the background tasks."""

    def __init__(self, context: Context, queue: JobQueue) -> None:
        self._context = context
        self._queue = queue
        self._signer = context.settings.signer()

    async def step(self) -> float:
        """Does what is due; the seconds until another look. Raises QueueUnavailableError."""
        await self._start_due()
        await self._end_late()
        return 0.0 if await self._send() == MAX_BATCH else _LOOK_SECONDS

    async def _send(self) -> int:
        """How many tasks went to the queue."""
        now = self._context.clock()
        async with self._context.system_database.transaction() as connection:
            locked = await connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock, 0)"), {"lock": _LOCK})
            if not locked.scalar_one():
                return 0  # whoever has the lock was woken by the same signal
            kinds = [tasks.VERIFY, tasks.CONFIRM, tasks.DISCOVER]
            rows = (await connection.execute(text(_DUE), {"kinds": kinds, "now": now, "limit": MAX_BATCH})).all()
            if not rows:
                return 0
            refused = await self._queue.send([await self._message(connection, row) for row in rows])
            values: dict[str, Any] = {"refused": [row.id for row in rows if str(row.id) in refused]}
            values |= {"teams": [row.team_id for row in rows], "ids": [row.id for row in rows]}
            await connection.execute(text(_MARK), values | {"now": now, "later": now + _RETRY})
        for run_id, code in refused.items():
            _log.error("job_refused_by_queue", run_id=run_id, code=code)
        return len(rows)

    async def _message(self, connection: AsyncConnection, row: Row[Any]) -> QueueMessage:
        work: Work = DiscoverSpec()
        if row.kind != tasks.DISCOVER:
            catalogue, partition = self._context.catalogue, self._context.settings.partition
            actions = await tasks.needed_actions(connection, catalogue, partition, row.team_id, row.cloud_account_id)
            work = VerifySpec(actions=actions)
        body = tasks.signed_task_job(
            self._signer,
            team_id=row.team_id,
            run_id=row.id,
            target=TargetAccount(
                cloud_account_id=row.cloud_account_id,
                account_id=row.account_id,
                partition=self._context.settings.partition,
                role_arn=row.role_arn,
                external_id=row.next_external_id if row.kind == tasks.CONFIRM else row.external_id,
            ),
            work=work,
            now=self._context.clock(),
            expires_at=row.expires_at,
        )
        return QueueMessage(str(row.id), body, str(row.team_id))

    async def _end_late(self) -> None:
        """Ends tasks that nobody finished in time; word that still comes of them is too late."""
        now = self._context.clock()
        async with self._context.system_database.transaction() as connection:
            rows = (await connection.execute(text(_LATE), {"late": now - _GRACE, "limit": _BATCH})).all()
            reports = Reports(connection, self._context.settings)
            for row in rows:
                task = await history.end(connection, row.team_id, row.id, state="EXPIRED", reason=_NO_WORKER, now=now)
                if task is not None:
                    _log.warning("task_expired", run_id=str(task.id), kind=task.kind)
                    await reports.late(task, now)

    async def _start_due(self) -> None:
        """Starts the verifications that are due."""
        now = self._context.clock()
        async with self._context.system_database.transaction() as connection:
            values = {"now": now, "states": list(VERIFIABLE), "limit": _BATCH}
            for account in (await connection.execute(text(_UNPROVEN), values)).all():
                if await history.open_task(connection, account.team_id, account.id):
                    continue  # begun between the look and the lock
                await tasks.start(connection, account.team_id, account, tasks.VERIFY, By(), now)
