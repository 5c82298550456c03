"""Writes what becomes of cloud accounts by what was found out about their roles, as the system role."""

import random
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_api import signals
from coreo_api.accounts.states import OF_VERDICT, AccountState, Change, next_state
from coreo_api.runs import repository as runs
from coreo_shared.contracts.onboarding import VerifyReport
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)
# How long until an account that could not be judged is tried again, by how often in a row it could not.
_RETRY_SECONDS = (60, 300, 900, 3600)
_PROVEN_AGAIN = (AccountState.CONNECTED, AccountState.INSECURE, AccountState.UNREACHABLE)
_TAKEN = "This role cannot be used. If it is yours, ask Coreo's support."


class Changes:
    """Changes cloud accounts. `interval_seconds`: between two verifications."""

    def __init__(self, connection: AsyncConnection, *, interval_seconds: int) -> None:
        self._connection = connection
        self._interval = interval_seconds

    async def lock(self, team_id: UUID, account_id: UUID) -> Row[Any] | None:
        """The cloud account, nobody else's to change until the transaction ends; its tasks are locked after it."""
        statement = text(
            "SELECT team_id, id, account_id, state, role_arn, external_id, next_external_id, failures"
            " FROM cloud_accounts WHERE team_id = :team AND id = :id AND deleted_at IS NULL FOR NO KEY UPDATE"
        )
        return (await self._connection.execute(statement, {"team": team_id, "id": account_id})).first()

    async def judge(self, account: Row[Any], task_id: UUID, report: VerifyReport, now: datetime) -> None:
        """Takes in a verdict. A role that another cloud account has proven to be its own is nobody else's."""
        change = OF_VERDICT[report.verdict]
        failures = account.failures + 1 if change is Change.NOT_PROVEN else 0
        try:
            async with self._connection.begin_nested():
                await self.set(
                    account, change, now, reason=report.reason, missing=report.missing_actions, failures=failures
                )
        except IntegrityError:  # by the index on proven roles; whose it is, is not for this team to know
            await self._correct(account, task_id)
            await self.set(account, Change.NOT_PROVEN, now, reason=_TAKEN, failures=len(_RETRY_SECONDS))
        if change is Change.FOUND_INSECURE:
            await self._cancel_runs(account, now)

    async def not_tried(self, account: Row[Any], why: str | None, now: datetime) -> None:
        """Nobody tried the role, which says nothing of it: a proof is good for some more tries, but not for ever."""
        failures = account.failures + 1
        is_old = account.state == AccountState.CONNECTED and failures > len(_RETRY_SECONDS)
        if account.state not in _PROVEN_AGAIN or is_old:
            reason = f"The role could not be tried. {why or ''}".strip() + " Coreo tries again by itself."
            await self.set(account, Change.NOT_PROVEN, now, reason=reason, failures=failures)
            return
        statement = text(
            "UPDATE cloud_accounts SET failures = :failures, next_verification_at = :next"
            " WHERE team_id = :team AND id = :id"
        )
        values = {"failures": failures, "next": now + _retry_after(failures)}
        await self._connection.execute(statement, values | {"team": account.team_id, "id": account.id})

    async def set(
        self,
        account: Row[Any],
        change: Change,
        now: datetime,
        *,
        reason: str | None = None,
        missing: Sequence[str] = (),
        failures: int = 0,
    ) -> None:
        """The (locked) account after the change, if it has a place."""
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
        if state is AccountState.CONNECTED:
            await signals.announce(self._connection, signals.OUTBOX)  # runs that waited for it may go
        _log.info("account_changed", cloud_account_id=str(account.id), was=account.state, state=state)

    async def set_role(self, account: Row[Any], role_arn: str) -> None:
        """The account has this role now."""
        statement = text("UPDATE cloud_accounts SET role_arn = :arn WHERE team_id = :team AND id = :id")
        await self._connection.execute(statement, {"arn": role_arn, "team": account.team_id, "id": account.id})

    async def take_next_external_id(self, account: Row[Any]) -> None:
        """From here on it is the one, and the old one is never used again."""
        statement = text(
            "UPDATE cloud_accounts SET external_id = next_external_id, next_external_id = NULL"
            " WHERE team_id = :team AND id = :id AND next_external_id IS NOT NULL"
        )
        await self._connection.execute(statement, {"team": account.team_id, "id": account.id})

    def _next(self, state: AccountState, failures: int, now: datetime) -> datetime | None:
        if state is AccountState.UNVERIFIED:
            return now + _retry_after(failures)
        if state in _PROVEN_AGAIN:
            spread = random.uniform(0.9, 1.0)  # noqa: S311  so that accounts added together are not tried together
            return now + timedelta(seconds=self._interval * spread)
        return None

    async def _correct(self, account: Row[Any], task_id: UUID) -> None:
        """The history must not say CONNECTED of an account that is not."""
        statement = text(
            "UPDATE account_history SET report = report || CAST(:verdict AS jsonb) WHERE team_id = :team AND id = :id"
        )
        verdict = msgspec.json.encode({"verdict": "UNVERIFIED", "reason": _TAKEN}).decode()
        await self._connection.execute(statement, {"verdict": verdict, "team": account.team_id, "id": task_id})

    async def _cancel_runs(self, account: Row[Any], now: datetime) -> None:
        """Ends what is under way by a role that lets in others."""
        reason = "Canceled: the cloud account's role was found INSECURE, and nothing runs by such a role."
        for run_id in await runs.active_in(self._connection, account.team_id, account.id):
            await runs.request_cancel(self._connection, account.team_id, run_id, reason, now)
            await signals.announce(self._connection, signals.RUNS, run_id)
        await signals.announce(self._connection, signals.OUTBOX)


def _retry_after(failures: int) -> timedelta:
    return timedelta(seconds=_RETRY_SECONDS[min(max(failures, 1), len(_RETRY_SECONDS)) - 1])
