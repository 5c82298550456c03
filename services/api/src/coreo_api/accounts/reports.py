"""What the end of a task makes of its cloud account: by what the worker reported, or by its silence.

Locks are taken in one order, as requests do: the cloud account, then its task.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_api.accounts import drafts, history, tasks
from coreo_api.accounts.changes import Changes
from coreo_api.accounts.history import By
from coreo_api.accounts.states import Change
from coreo_api.settings import ApiSettings
from coreo_shared.contracts.onboarding import BootstrapProblem, BootstrapReport, DiscoverReport, Report, VerifyReport
from coreo_shared.contracts.results import RunEvent
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)
_POST_AGAIN = "No worker made the role within five minutes, and AWS takes nothing older. Post the keys again."
_UNREADABLE = "What the worker reported could not be taken in; it has been logged."
_WRONG_DATA = "22"  # the class of SQLSTATEs of values that no try makes better

_APPLY = """
UPDATE account_history
SET state = :state, reason = :reason, version = :version, report = CAST(:report AS jsonb),
    ended_at = CASE WHEN CAST(:final AS boolean) THEN CAST(:now AS timestamptz) END
WHERE team_id = :team AND id = :run AND version < :version AND ended_at IS NULL
RETURNING team_id, id, cloud_account_id, kind, spec, token_id, by_name, reason, ended_at
"""


class Reports:
    """Takes in the ends of tasks, as the system role."""

    def __init__(self, connection: AsyncConnection, settings: ApiSettings) -> None:
        self._connection = connection
        self._own_account_id = settings.aws_account_id
        self._changes = Changes(connection, interval_seconds=settings.verify_interval_seconds)

    async def apply(self, events: Sequence[RunEvent], now: datetime) -> None:
        """Takes in events of the feed; those of other runs are passed over. One that breaks holds up no other."""
        tasks_by_id = await self._tasks_of(events)
        for event in events:
            account_id = tasks_by_id.get((event.team_id, event.run_id))
            if account_id is None:
                continue
            try:
                async with self._connection.begin_nested():
                    await self._apply(event, account_id, now)
            except Exception as error:
                if not _is_ours(error):
                    raise  # the whole page is tried again
                _log.error("report_failed", run_id=str(event.run_id), exc_info=error)
                await self._give_up(event, account_id, now)

    async def late(self, task: Row[Any], now: datetime) -> None:
        """A task that nobody finished in time, ended as EXPIRED just now."""
        await self._conclude(task, None, now)

    async def _tasks_of(self, events: Sequence[RunEvent]) -> dict[tuple[UUID, UUID], UUID]:
        """(team, run) -> cloud account, of runs that are tasks under way."""
        statement = text(
            "SELECT h.team_id, h.id, h.cloud_account_id FROM account_history h"
            " JOIN unnest(CAST(:teams AS uuid[]), CAST(:runs AS uuid[])) AS e (team_id, id) USING (team_id, id)"
            " WHERE h.ended_at IS NULL AND h.state IS NOT NULL AND h.kind <> 'purge'"
        )
        values = {"teams": [event.team_id for event in events], "runs": [event.run_id for event in events]}
        rows = (await self._connection.execute(statement, values)).all() if events else ()
        return {(row.team_id, row.id): row.cloud_account_id for row in rows}

    async def _apply(self, event: RunEvent, account_id: UUID, now: datetime) -> None:
        await self._changes.lock(event.team_id, account_id)
        values: dict[str, Any] = {"state": event.state, "reason": event.reason, "version": event.version}
        values |= {"report": None if event.report is None else msgspec.json.encode(event.report).decode()}
        values |= {"final": event.state.is_final, "now": now, "team": event.team_id, "run": event.run_id}
        task = (await self._connection.execute(text(_APPLY), values)).first()
        if task is not None and task.ended_at is not None:
            await self._conclude(task, event.report, now)

    async def _give_up(self, event: RunEvent, account_id: UUID, now: datetime) -> None:
        await self._changes.lock(event.team_id, account_id)
        task = await history.end(
            self._connection, event.team_id, event.run_id, state="FAILED", reason=_UNREADABLE, now=now
        )
        if task is not None:
            await self._conclude(task, None, now)

    async def _conclude(self, task: Row[Any], report: Report | None, now: datetime) -> None:
        """The account after the task; without a report nobody finished it."""
        account = await self._changes.lock(task.team_id, task.cloud_account_id)
        if account is None or account.role_arn != task.spec.get("role_arn"):
            return  # removed, or another role meanwhile: what was found is of the past
        match task.kind, report:
            case tasks.VERIFY, VerifyReport():
                await self._changes.judge(account, task.id, report, now)
            case tasks.VERIFY, _:
                await self._changes.not_tried(account, task.reason, now)
            case tasks.CONFIRM, VerifyReport(verdict="CONNECTED"):
                await self._changes.take_next_external_id(account)
                await self._changes.judge(account, task.id, report, now)
            case tasks.CONFIRM, VerifyReport(verdict="INSECURE"):  # whichever external id is the right one
                await self._changes.judge(account, task.id, report, now)
            case tasks.BOOTSTRAP, _:
                await self._bootstrapped(account, task, report, now)
            case tasks.DISCOVER, DiscoverReport(problem=None):
                await self._discovered(account, task, report, now)

    async def _bootstrapped(self, account: Row[Any], task: Row[Any], report: Report | None, now: datetime) -> None:
        match report:
            case BootstrapReport(problem=None):
                await self._changes.set_role(account, task.spec["made_role_arn"])
                await self._try_role(account, Change.BOOTSTRAPPED, task, now)
            case _ if account.role_arn is not None:  # keys that made nothing take nothing away: the history has why
                await self._try_role(account, Change.BACK_TO_ROLE, task, now)
            case BootstrapReport(problem=problem) if problem is not BootstrapProblem.EXPIRED:
                await self._changes.set(account, Change.BOOTSTRAP_REFUSED, now, reason=report.detail)
            case _:
                await self._changes.set(account, Change.BOOTSTRAP_EXPIRED, now, reason=_POST_AGAIN)

    async def _try_role(self, account: Row[Any], change: Change, task: Row[Any], now: datetime) -> None:
        """The account's role has to prove itself, like any other."""
        await self._changes.set(account, change, now)
        changed = await self._changes.lock(account.team_id, account.id)
        if changed is not None:
            by = By(task.token_id, task.by_name)
            await tasks.start(self._connection, account.team_id, changed, tasks.VERIFY, by, now)

    async def _discovered(self, account: Row[Any], task: Row[Any], report: DiscoverReport, now: datetime) -> None:
        await drafts.note_moved_away(self._connection, task, report)
        if task.spec.get("drafts"):
            by = By(task.token_id, task.by_name)
            await drafts.make(self._connection, account.team_id, report, by, now, leave_out=self._own_account_id)


def _is_ours(error: Exception) -> bool:
    """Whether it would come again with each try; an outage or a deadlock passes."""
    if isinstance(error, DBAPIError):
        return str(getattr(error.orig, "sqlstate", None)).startswith(_WRONG_DATA)
    return not isinstance(error, OSError | TimeoutError)
