"""Sends the tasks of cloud accounts to the onboard workers, ends those that nobody did, and starts what is due.

Any number of replicas may do this: rows are locked while they are looked at, and a task is one row.
"""

from datetime import timedelta
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_api.accounts import tasks
from coreo_api.accounts.history import By
from coreo_api.accounts.reports import Reports
from coreo_api.accounts.states import VERIFIABLE
from coreo_api.context import Context
from coreo_api.dispatch.queue import MAX_BATCH, JobQueue, QueueMessage
from coreo_api.results import ResultsRefusedError
from coreo_shared.contracts.jobs import TargetAccount, Work
from coreo_shared.contracts.onboarding import DiscoverSpec, VerifySpec
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)
_LOOK_SECONDS = 5.0
_BATCH = 50
_GRACE = timedelta(seconds=30)  # for word of a task that ended in time
_RETRY = timedelta(seconds=15)
_TASK = "h.team_id, h.id, h.cloud_account_id, h.kind, h.spec, h.token_id, h.by_name, h.expires_at, h.attempts"


class Onboarding:
    """The onboard pool's part of the background tasks."""

    def __init__(self, context: Context, queue: JobQueue) -> None:
        self._context = context
        self._queue = queue
        self._signer = context.settings.signer()

    async def step(self) -> float:
        """Does what is due; the seconds until another look. Raises QueueUnavailableError, ResultsUnavailableError."""
        await self._start_due()
        await self._end_late()
        await self._purge()
        return 0.0 if await self._send() == MAX_BATCH else _LOOK_SECONDS

    async def _send(self) -> int:
        """How many tasks were sent."""
        now = self._context.clock()
        async with self._context.system_database.transaction() as connection:
            statement = text(
                f"SELECT {_TASK}, c.account_id, c.role_arn, c.external_id, c.next_external_id FROM account_history h "  # noqa: S608
                "JOIN cloud_accounts c ON (c.team_id, c.id) = (h.team_id, h.cloud_account_id) "
                "WHERE h.state = 'QUEUED' AND h.sent_at IS NULL AND h.kind = ANY(:kinds) AND h.due_at <= :now "
                "AND h.expires_at > :now ORDER BY h.due_at LIMIT :limit FOR UPDATE OF h SKIP LOCKED"
            )
            kinds = [tasks.VERIFY, tasks.CONFIRM, tasks.DISCOVER]
            rows = (await connection.execute(statement, {"kinds": kinds, "now": now, "limit": MAX_BATCH})).all()
            if not rows:
                return 0
            messages = [await self._message(connection, row) for row in rows]
            refused = await self._queue.send(messages)
            mark = text(
                "UPDATE account_history SET attempts = attempts + 1,"
                " sent_at = CASE WHEN id = ANY(:refused) THEN NULL ELSE CAST(:now AS timestamptz) END,"
                " due_at = CASE WHEN id = ANY(:refused) THEN CAST(:later AS timestamptz) ELSE due_at END"
                " WHERE id = ANY(:ids)"
            )
            values = {"refused": [row.id for row in rows if str(row.id) in refused], "ids": [row.id for row in rows]}
            await connection.execute(mark, values | {"now": now, "later": now + _RETRY})
        for run_id, code in refused.items():
            _log.error("job_refused_by_queue", run_id=run_id, code=code)
        return len(rows)

    async def _message(self, connection: AsyncConnection, row: Row[Any]) -> QueueMessage:
        external_id = row.next_external_id if row.kind == tasks.CONFIRM else row.external_id
        work: Work = DiscoverSpec()
        if row.kind != tasks.DISCOVER:
            catalogue = self._context.catalogue
            actions = await tasks.needed_actions(connection, catalogue, row.team_id, row.cloud_account_id)
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
                external_id=external_id,
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
            statement = text(
                "UPDATE account_history SET state = 'EXPIRED', ended_at = :now, reason = 'No worker did this in time.'"
                " WHERE (team_id, id) IN (SELECT team_id, id FROM account_history WHERE state IS NOT NULL"
                " AND ended_at IS NULL AND expires_at < :late AND kind <> 'purge' LIMIT :limit FOR UPDATE SKIP LOCKED)"
                " RETURNING team_id, id, cloud_account_id, kind, spec, token_id, by_name"
            )
            rows = (await connection.execute(statement, {"now": now, "late": now - _GRACE, "limit": _BATCH})).all()
            reports = Reports(connection, interval_seconds=self._context.settings.verify_interval_seconds)
            for row in rows:
                _log.warning("task_expired", run_id=str(row.id), kind=row.kind)
                await reports.conclude(row, None, now)

    async def _start_due(self) -> None:
        """Starts the verifications that are due."""
        now = self._context.clock()
        async with self._context.system_database.transaction() as connection:
            statement = text(
                "SELECT c.team_id, c.id, c.role_arn FROM cloud_accounts c WHERE c.deleted_at IS NULL "
                "AND c.next_verification_at <= :now AND c.state = ANY(:states) AND NOT EXISTS (SELECT FROM "
                "account_history h WHERE (h.team_id, h.cloud_account_id) = (c.team_id, c.id) AND h.state IS NOT NULL "
                "AND h.ended_at IS NULL AND h.kind <> 'purge') "
                "ORDER BY c.next_verification_at LIMIT :limit FOR UPDATE OF c SKIP LOCKED"
            )
            values = {"now": now, "states": list(VERIFIABLE), "limit": _BATCH}
            for account in (await connection.execute(statement, values)).all():
                await tasks.start(connection, account.team_id, account, tasks.VERIFY, By(), now)
                clear = text("UPDATE cloud_accounts SET next_verification_at = NULL WHERE team_id = :team AND id = :id")
                await connection.execute(clear, {"team": account.team_id, "id": account.id})

    async def _purge(self) -> None:
        """Has the results of accounts destroyed whose owners asked for it. Raises ResultsUnavailableError."""
        now = self._context.clock()
        async with self._context.system_database.transaction() as connection:
            statement = text(
                f"SELECT {_TASK} FROM account_history h WHERE h.kind = 'purge' AND h.ended_at IS NULL "  # noqa: S608
                "AND h.due_at <= :now ORDER BY h.due_at LIMIT 1 FOR UPDATE SKIP LOCKED"
            )
            row = (await connection.execute(statement, {"now": now})).first()
            if row is None:
                return
            done = text("UPDATE account_history SET state = 'SUCCEEDED', ended_at = :now WHERE id = :id")
            try:
                await self._context.results.purge(row.team_id, row.cloud_account_id)
            except ResultsRefusedError as error:  # a run has not ended yet
                _log.info("purge_waits", cloud_account_id=str(row.cloud_account_id), code=error.code)
                done = text("UPDATE account_history SET due_at = :later, attempts = attempts + 1 WHERE id = :id")
                await connection.execute(done, {"later": now + _RETRY, "id": row.id})
                return
            await connection.execute(done, {"now": now, "id": row.id})
