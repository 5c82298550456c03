"""What can be done with cloud accounts."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from coreo_api import signals
from coreo_api.accounts import history, repository, tasks
from coreo_api.accounts.arns import RoleArnError, parse_role_arn
from coreo_api.accounts.external_ids import new_external_id
from coreo_api.accounts.schemas import ChangeAccount, CreateAccount
from coreo_api.accounts.states import VERIFIABLE, AccountState, Change, next_state
from coreo_api.runs import repository as runs
from coreo_api.runs.problems import runs_at_work
from coreo_api.settings import ApiSettings
from coreo_api.teams.session import Session
from coreo_shared.web import Problem
from coreo_shared.web.problems import invalid, not_found


async def create(session: Session, settings: ApiSettings, wish: CreateAccount) -> Row[Any]:
    """A cloud account with an external id of its own, and no role yet. Raises Problem."""
    if wish.account_id == settings.aws_account_id:
        raise invalid("body.account_id", "This is Coreo's own AWS account; it cannot be a target.")
    made = await repository.insert(
        session.connection,
        session.team_id,
        name=wish.name,
        account_id=wish.account_id,
        external_id=new_external_id(),
        state=AccountState.PENDING,
        now=session.now,
    )
    await _note(session, made.id, "created")
    return await find(session, made.id)


async def find(session: Session, account_id: UUID, *, lock: bool = False) -> Row[Any]:
    """The team's cloud account. Raises Problem."""
    row = await repository.find(session.connection, session.team_id, account_id, lock=lock)
    if row is None:
        raise not_found("cloud account")
    return row


async def change(session: Session, account_id: UUID, wish: ChangeAccount) -> Row[Any]:
    """The cloud account after the change. Raises Problem."""
    row = await find(session, account_id, lock=True)
    if wish.name is None or wish.name == row.name:
        return row
    await repository.rename(session.connection, session.team_id, account_id, wish.name, session.now)
    await _note(session, account_id, "renamed", {"from": row.name, "to": wish.name})
    return await find(session, account_id)


async def set_role(session: Session, settings: ApiSettings, account_id: UUID, role_arn: str) -> Row[Any]:
    """The cloud account with its role, whose verification has begun. Raises Problem."""
    row = await find(session, account_id, lock=True)
    _check_role(settings, row.account_id, role_arn)
    if row.role_arn == role_arn and row.state in VERIFIABLE:
        await verify(session, account_id)
        return await find(session, account_id)
    if await repository.has_role(session.connection, session.team_id, account_id, role_arn):
        raise invalid("body.role_arn", "Another of your cloud accounts has this role; each needs a role of its own.")
    state = next_state(AccountState(row.state), Change.SET_ROLE)
    if state is None:
        raise _busy(row)
    await _end_open_task(session, account_id)
    await repository.set_state(
        session.connection, session.team_id, account_id, role_arn=role_arn, state=state, now=session.now
    )
    await _note(session, account_id, "role_set", {"role_arn": role_arn})
    await _start(session, await find(session, account_id), tasks.VERIFY)
    return await find(session, account_id)


async def verify(session: Session, account_id: UUID) -> Row[Any]:
    """The verification that has begun, or that is under way already. Raises Problem."""
    row = await find(session, account_id, lock=True)
    if row.state not in VERIFIABLE:
        raise _without_role(row)
    under_way = await history.open_task(session.connection, session.team_id, account_id)
    if under_way is not None and under_way.kind == tasks.VERIFY:
        return under_way
    return await _start(session, row, tasks.VERIFY)


async def rotate(session: Session, account_id: UUID) -> Row[Any]:
    """The cloud account with the external id that shall follow. Raises Problem."""
    row = await find(session, account_id, lock=True)
    if row.next_external_id is not None:
        detail = "The external id is being replaced already. Confirm the next one, or cancel with DELETE."
        raise Problem(409, "rotation_under_way", detail)
    await repository.set_next_external_id(
        session.connection, session.team_id, account_id, new_external_id(), session.now
    )
    await _note(session, account_id, "rotate")
    return await find(session, account_id)


async def confirm_rotation(session: Session, account_id: UUID) -> Row[Any]:
    """The verification with the next external id, which has begun. Raises Problem."""
    row = await find(session, account_id, lock=True)
    if row.next_external_id is None:
        raise _no_rotation()
    if row.state not in VERIFIABLE:
        raise _without_role(row)
    return await _start(session, row, tasks.CONFIRM, {"next": True})


async def cancel_rotation(session: Session, account_id: UUID) -> None:
    """The external id stays. Raises Problem."""
    row = await find(session, account_id, lock=True)
    if row.next_external_id is None:
        raise _no_rotation()
    under_way = await history.open_task(session.connection, session.team_id, account_id)
    if under_way is not None and under_way.kind == tasks.CONFIRM:
        raise _busy(row)
    await repository.set_next_external_id(session.connection, session.team_id, account_id, None, session.now)
    await _note(session, account_id, "rotate_canceled")


async def disconnect(session: Session, account_id: UUID, *, purge: bool) -> Row[Any]:
    """The cloud account left alone: no run, no verification. Raises Problem."""
    row = await find(session, account_id, lock=True)
    reason = "Canceled: its cloud account was disconnected before anything was changed."
    ended = await runs.cancel_unstarted(session.connection, session.team_id, account_id, reason, session.now)
    if await runs.count_active(session.connection, session.team_id, cloud_account_id=account_id, beside=ended):
        raise runs_at_work("cloud account")
    await signals.announce(session.connection, signals.OUTBOX)
    await _end_open_task(session, account_id)
    await repository.set_state(
        session.connection,
        session.team_id,
        account_id,
        role_arn=None,
        state=AccountState.DISCONNECTED,
        now=session.now,
    )
    await _note(session, account_id, "disconnect", {"role_arn": row.role_arn, "results": "purge" if purge else "keep"})
    if purge:
        await _start(session, row, tasks.PURGE)
    return await find(session, account_id)


async def discover(session: Session, account_id: UUID, *, drafts: bool) -> Row[Any]:
    """The discovery that has begun. Raises Problem."""
    row = await find(session, account_id, lock=True)
    if row.state != AccountState.CONNECTED:
        detail = f"This cloud account is {row.state}. Connect it first: its role is what lists the organization."
        raise Problem(409, "account_not_connected", detail)
    return await _start(session, row, tasks.DISCOVER, {"drafts": drafts})


async def delete(session: Session, account_id: UUID) -> None:
    """Takes the cloud account away, unless something still works with it. Raises Problem."""
    await find(session, account_id, lock=True)
    plans = await repository.count_plans(session.connection, session.team_id, account_id)
    if plans:
        raise Problem(
            409,
            "in_use",
            f"{plans} of your plans target this cloud account. Take it out of their `cloud_account_ids`, or "
            "delete them, then try again.",
        )
    if await runs.count_active(session.connection, session.team_id, cloud_account_id=account_id):
        raise runs_at_work("cloud account")
    await _end_open_task(session, account_id)
    await _note(session, account_id, "deleted")
    await repository.delete(session.connection, session.team_id, account_id, session.now)


async def find_entry(session: Session, account_id: UUID, entry_id: UUID) -> Row[Any]:
    """An entry of the account's history. Raises Problem."""
    await find(session, account_id)
    entry = await history.find(session.connection, session.team_id, account_id, entry_id)
    if entry is None:
        raise not_found("history entry")
    return entry


def _check_role(settings: ApiSettings, account_id: str, role_arn: str) -> None:
    try:
        parsed = parse_role_arn(role_arn, partition=settings.partition)
    except RoleArnError as error:
        raise invalid("body.role_arn", str(error)) from None
    if parsed.account_id == settings.aws_account_id:
        raise invalid("body.role_arn", "This role is in Coreo's own AWS account; send one in your account.")
    if parsed.account_id != account_id:
        raise invalid("body.role_arn", "This role is not in the AWS account of this cloud account.")


async def _note(session: Session, account_id: UUID, kind: str, spec: Mapping[str, Any] | None = None) -> None:
    by = await history.by_token(session.connection, session.team_id, session.token_id)
    await history.add(session.connection, session.team_id, account_id, kind, by, session.now, spec=spec)


async def _start(session: Session, row: Row[Any], kind: str, spec: Mapping[str, Any] | None = None) -> Row[Any]:
    by = await history.by_token(session.connection, session.team_id, session.token_id)
    entry_id = await tasks.start(session.connection, session.team_id, row, kind, by, session.now, spec=spec)
    return await find_entry(session, row.id, entry_id)


async def _end_open_task(session: Session, account_id: UUID) -> None:
    """What is under way is of no use any more; word that comes of it is passed over."""
    under_way = await history.open_task(session.connection, session.team_id, account_id)
    if under_way is not None:
        reason = "The cloud account was changed meanwhile."
        await history.end(
            session.connection, session.team_id, under_way.id, state="CANCELED", reason=reason, now=session.now
        )


def _busy(row: Row[Any]) -> Problem:
    detail = f"This cloud account is {row.state}, and a task is under way in it. Wait for its end, then try again."
    return Problem(409, "task_under_way", detail, headers={"Retry-After": "5"})


def _without_role(row: Row[Any]) -> Problem:
    detail = (
        f"This cloud account is {row.state}: there is no role to try. Set one with PUT /v1/cloud-accounts/{{id}}/role."
    )
    return Problem(409, "account_without_role", detail)


def _no_rotation() -> Problem:
    return Problem(409, "no_rotation", "The external id is not being replaced. Begin with POST …/external-id/rotate.")
