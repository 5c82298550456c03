"""What can be done with cloud accounts."""

import secrets
from typing import Any
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.exc import IntegrityError

from coreo_api.accounts import repository
from coreo_api.accounts.arns import RoleArnError, parse_role_arn
from coreo_api.accounts.schemas import AccountState, AccountView, ChangeAccount, CreateAccount
from coreo_api.accounts.trust import trust_policy
from coreo_api.runs import repository as runs
from coreo_api.runs.problems import runs_at_work
from coreo_api.settings import ApiSettings
from coreo_api.teams.session import Session
from coreo_shared.web import Problem
from coreo_shared.web.problems import invalid, not_found

_EXTERNAL_ID_BYTES = 16


def view(settings: ApiSettings, row: Row[Any]) -> AccountView:
    """The cloud account as it is answered."""
    return AccountView(
        **row._asdict(),
        coreo_account_id=settings.aws_account_id,
        trust_policy=trust_policy(settings, row.external_id),
    )


async def create(session: Session, settings: ApiSettings, wish: CreateAccount) -> Row[Any]:
    """A cloud account with an external id of its own, and no role yet. Raises Problem."""
    if wish.account_id == settings.aws_account_id:
        raise invalid("body.account_id", "This is Coreo's own AWS account; it cannot be a target.")
    return await repository.insert(
        session.connection,
        session.team_id,
        name=wish.name,
        account_id=wish.account_id,
        external_id=secrets.token_hex(_EXTERNAL_ID_BYTES),
        state=AccountState.PENDING,
        now=session.now,
    )


async def find(session: Session, account_id: UUID, *, lock: bool = False) -> Row[Any]:
    """The team's cloud account. Raises Problem."""
    row = await repository.find(session.connection, session.team_id, account_id, lock=lock)
    if row is None:
        raise not_found("cloud account")
    return row


async def change(session: Session, account_id: UUID, wish: ChangeAccount) -> Row[Any]:
    """The cloud account after the change. Raises Problem."""
    row = await find(session, account_id, lock=True)
    if wish.name is None:
        return row
    return await repository.rename(session.connection, session.team_id, account_id, wish.name, session.now)


async def set_role(session: Session, settings: ApiSettings, account_id: UUID, role_arn: str) -> Row[Any]:
    """The cloud account with its role, which nobody has tried yet. Raises Problem."""
    row = await find(session, account_id, lock=True)
    _check_role(settings, row.account_id, role_arn)
    if row.role_arn == role_arn:
        return row
    if await repository.has_role(session.connection, session.team_id, account_id, role_arn):
        raise invalid("body.role_arn", "Another of your cloud accounts has this role; each needs a role of its own.")
    try:
        return await repository.set_role(
            session.connection,
            session.team_id,
            account_id,
            role_arn=role_arn,
            state=AccountState.UNVERIFIED,
            now=session.now,
        )
    except IntegrityError:
        # Another team has it. One sentence for all that may be behind it: it is not for this team to know.
        raise invalid("body.role_arn", "This role cannot be used. If it is yours, ask Coreo's support.") from None


def _check_role(settings: ApiSettings, account_id: str, role_arn: str) -> None:
    try:
        parsed = parse_role_arn(role_arn, partition=settings.partition)
    except RoleArnError as error:
        raise invalid("body.role_arn", str(error)) from None
    if parsed.account_id == settings.aws_account_id:
        raise invalid("body.role_arn", "This role is in Coreo's own AWS account; send one in your account.")
    if parsed.account_id != account_id:
        raise invalid("body.role_arn", "This role is not in the AWS account of this cloud account.")


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
    await repository.delete(session.connection, session.team_id, account_id, session.now)
