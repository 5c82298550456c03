"""What the end of a task makes of its cloud account: by what the worker reported, or by its silence."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_api.accounts import drafts, tasks
from coreo_api.accounts.history import By
from coreo_api.accounts.states import OF_VERDICT, AccountState, Change, next_state
from coreo_shared.contracts.onboarding import BootstrapProblem, BootstrapReport, DiscoverReport, VerifyReport
from coreo_shared.contracts.results import RunEvent
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)
# How long until an account that could not be judged is tried again, by how often it could not.
_RETRY_SECONDS = (60, 300, 900, 3600)
_TAKEN = "This role cannot be used. If it is yours, ask Coreo's support."
_POST_AGAIN = "No worker made the role within five minutes, and AWS takes nothing older. Post the keys again."
_NO_WORKER = "No onboard worker did this in time. Coreo tries again by itself."


class Reports:
    """Applies the ends of tasks, as the system role. `interval_seconds`: between two verifications."""

    def __init__(self, connection: AsyncConnection, *, interval_seconds: int) -> None:
        self._connection = connection
        self._interval = interval_seconds

    async def apply(self, events: Sequence[RunEvent], now: datetime) -> None:
        """Takes in events of the feed; those of other runs are passed over."""
        for event in events:
            statement = text(
                "UPDATE account_history SET state = :state, reason = :reason, version = :version,"
                " report = CAST(:report AS jsonb),"
                " ended_at = CASE WHEN CAST(:final AS boolean) THEN CAST(:now AS timestamptz) END"
                " WHERE team_id = :team AND id = :run AND version < :version AND ended_at IS NULL AND kind <> 'purge'"
                " RETURNING team_id, id, cloud_account_id, kind, spec, token_id, by_name, ended_at"
            )
            report = None if event.report is None else msgspec.json.encode(event.report).decode()
            values: dict[str, Any] = {"state": event.state, "reason": event.reason, "version": event.version}
            values |= {"report": report}
            values |= {"final": event.state.is_final, "now": now, "team": event.team_id, "run": event.run_id}
            task = (await self._connection.execute(statement, values)).first()
            if task is not None and task.ended_at is not None:
                await self.conclude(task, event.report, now)

    async def conclude(
        self, task: Row[Any], report: VerifyReport | BootstrapReport | DiscoverReport | None, now: datetime
    ) -> None:
        """The account after the task, which has just ended; without a report nobody finished it."""
        account = await self._lock(task.team_id, task.cloud_account_id)
        if account is None or account.role_arn != task.spec.get("role_arn"):
            return  # removed, or another role meanwhile: what was found is of the past
        match task.kind, report:
            case tasks.VERIFY, VerifyReport():
                await self._judge(account, report, now)
            case tasks.VERIFY, _:
                await self._judge(account, VerifyReport(verdict="UNVERIFIED", reason=_NO_WORKER, checks=[]), now)
            case tasks.CONFIRM, VerifyReport(verdict="CONNECTED"):
                await self._rotate(account, now)
            case tasks.BOOTSTRAP, BootstrapReport(problem=None):
                await self._bootstrapped(account, task, now)
            case tasks.BOOTSTRAP, BootstrapReport():
                expired = report.problem is BootstrapProblem.EXPIRED
                change = Change.BOOTSTRAP_EXPIRED if expired else Change.BOOTSTRAP_REFUSED
                await self._set(account, change, now, reason=_POST_AGAIN if expired else report.detail)
            case tasks.BOOTSTRAP, _:
                await self._set(account, Change.BOOTSTRAP_EXPIRED, now, reason=_POST_AGAIN)
            case tasks.DISCOVER, DiscoverReport() if task.spec.get("drafts"):
                await drafts.make(self._connection, account, report, By(task.token_id, task.by_name), now)

    async def _lock(self, team_id: UUID, account_id: UUID) -> Row[Any] | None:
        statement = text(
            "SELECT team_id, id, account_id, state, role_arn, external_id, next_external_id, failures"
            " FROM cloud_accounts WHERE team_id = :team AND id = :id AND deleted_at IS NULL FOR UPDATE"
        )
        return (await self._connection.execute(statement, {"team": team_id, "id": account_id})).first()

    async def _judge(self, account: Row[Any], report: VerifyReport, now: datetime) -> None:
        change = OF_VERDICT[report.verdict]
        failures = account.failures + 1 if change is Change.NOT_PROVEN else 0
        try:
            async with self._connection.begin_nested():
                await self._set(
                    account, change, now, reason=report.reason, missing=report.missing_actions, failures=failures
                )
        except IntegrityError:  # somebody else has proven this role; it is not for this team to know
            await self._set(account, Change.NOT_PROVEN, now, reason=_TAKEN, failures=len(_RETRY_SECONDS))

    async def _set(
        self,
        account: Row[Any],
        change: Change,
        now: datetime,
        *,
        reason: str | None = None,
        missing: Sequence[str] = (),
        failures: int = 0,
    ) -> None:
        state = next_state(AccountState(account.state), change)
        if state is None:
            return
        statement = text(
            "UPDATE cloud_accounts SET state = :state, reason = :reason, missing_actions = CAST(:missing AS jsonb),"
            " failures = :failures, next_verification_at = :next, updated_at = :now WHERE team_id = :team AND id = :id"
        )
        values: dict[str, Any] = {"state": state, "reason": reason}
        values |= {"missing": msgspec.json.encode(list(missing)).decode()}
        values |= {"failures": failures, "next": self._next(state, failures, now), "now": now}
        await self._connection.execute(statement, values | {"team": account.team_id, "id": account.id})
        _log.info("account_changed", cloud_account_id=str(account.id), was=account.state, state=state)

    def _next(self, state: AccountState, failures: int, now: datetime) -> datetime | None:
        if state is AccountState.UNVERIFIED:
            return now + timedelta(seconds=_RETRY_SECONDS[min(max(failures, 1), len(_RETRY_SECONDS)) - 1])
        if state in {AccountState.CONNECTED, AccountState.INSECURE, AccountState.UNREACHABLE}:
            spread = random.uniform(0.9, 1.0)  # noqa: S311  so that accounts added together are not tried together
            return now + timedelta(seconds=self._interval * spread)
        return None

    async def _rotate(self, account: Row[Any], now: datetime) -> None:
        """The next external id is proven: from here on it is the one, and the old one is never used again."""
        statement = text(
            "UPDATE cloud_accounts SET external_id = next_external_id, next_external_id = NULL, updated_at = :now"
            " WHERE team_id = :team AND id = :id AND next_external_id IS NOT NULL"
        )
        await self._connection.execute(statement, {"now": now, "team": account.team_id, "id": account.id})
        await self._set(account, Change.PROVEN, now)

    async def _bootstrapped(self, account: Row[Any], task: Row[Any], now: datetime) -> None:
        """The role is there: it has to prove itself like any other."""
        statement = text("UPDATE cloud_accounts SET role_arn = :arn WHERE team_id = :team AND id = :id")
        values = {"arn": task.spec["made_role_arn"], "team": account.team_id, "id": account.id}
        await self._connection.execute(statement, values)
        await self._set(account, Change.BOOTSTRAPPED, now)
        made = await self._lock(account.team_id, account.id)
        if made is not None:
            by = By(task.token_id, task.by_name)
            await tasks.start(self._connection, account.team_id, made, tasks.VERIFY, by, now)
