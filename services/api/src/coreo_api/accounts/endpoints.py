"""Routes on cloud accounts."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from coreo_api.accounts import history, repository, service
from coreo_api.accounts.schemas import (
    AccountView,
    ChangeAccount,
    CreateAccount,
    Disconnect,
    DisconnectView,
    Discover,
    HistoryView,
    SetRole,
)
from coreo_api.accounts.views import account_view, disconnect_view, history_view
from coreo_api.context import InContext
from coreo_api.pages import Page, PageQuery, page_of
from coreo_api.teams.session import TeamSession
from coreo_shared.web import StrictRoute

router = APIRouter(prefix="/v1/cloud-accounts", tags=["cloud accounts"], route_class=StrictRoute)


@router.post("", status_code=201)
async def create_account(session: TeamSession, context: InContext, body: CreateAccount) -> AccountView:
    """Add an AWS account. The answer has the external id and the trust policy for the role to be made there."""
    return account_view(context.settings, await service.create(session, context.settings, body))


@router.get("")
async def list_accounts(
    session: TeamSession, context: InContext, query: Annotated[PageQuery, Query()]
) -> Page[AccountView]:
    """The team's cloud accounts, newest first."""
    rows = await repository.list_page(session.connection, session.team_id, query.before, query.limit + 1)
    return page_of(rows, query.limit, lambda row: account_view(context.settings, row))


@router.get("/{account_id}")
async def show_account(session: TeamSession, context: InContext, account_id: UUID) -> AccountView:
    """One cloud account."""
    return account_view(context.settings, await service.find(session, account_id))


@router.patch("/{account_id}")
async def change_account(
    session: TeamSession, context: InContext, account_id: UUID, body: ChangeAccount
) -> AccountView:
    """Rename a cloud account."""
    return account_view(context.settings, await service.change(session, account_id, body))


@router.put("/{account_id}/role")
async def set_role(session: TeamSession, context: InContext, account_id: UUID, body: SetRole) -> AccountView:
    """Say which role Coreo shall assume. Its verification begins; plans run once the account is CONNECTED."""
    row = await service.set_role(session, context.settings, account_id, body.role_arn)
    return account_view(context.settings, row)


@router.post("/{account_id}/verify", status_code=202)
async def verify_account(session: TeamSession, account_id: UUID) -> HistoryView:
    """Prove again that the role works, and that it refuses whoever does not bring the external id."""
    return history_view(await service.verify(session, account_id))


@router.get("/{account_id}/history")
async def list_history(
    session: TeamSession, account_id: UUID, query: Annotated[PageQuery, Query()]
) -> Page[HistoryView]:
    """What was done to the cloud account, when, and by whom; newest first."""
    await service.find(session, account_id)
    rows = await history.list_page(session.connection, session.team_id, account_id, query.before, query.limit + 1)
    return page_of(rows, query.limit, history_view)


@router.get("/{account_id}/history/{entry_id}")
async def show_history(session: TeamSession, account_id: UUID, entry_id: UUID) -> HistoryView:
    """One entry of the history, such as a verification under way."""
    return history_view(await service.find_entry(session, account_id, entry_id))


@router.post("/{account_id}/external-id/rotate")
async def rotate_external_id(session: TeamSession, context: InContext, account_id: UUID) -> AccountView:
    """Begin to replace the external id. Until it is confirmed, the old one is used and the trust policy takes both."""
    return account_view(context.settings, await service.rotate(session, account_id))


@router.post("/{account_id}/external-id/confirm", status_code=202)
async def confirm_external_id(session: TeamSession, account_id: UUID) -> HistoryView:
    """The role takes the next external id: prove it, and retire the old one for good."""
    return history_view(await service.confirm_rotation(session, account_id))


@router.delete("/{account_id}/external-id/next", status_code=204)
async def cancel_rotation(session: TeamSession, account_id: UUID) -> None:
    """Keep the external id after all."""
    await service.cancel_rotation(session, account_id)


@router.post("/{account_id}/disconnect")
async def disconnect_account(
    session: TeamSession, context: InContext, account_id: UUID, body: Disconnect
) -> DisconnectView:
    """Leave the account alone: nothing runs in it any more. Results are kept or destroyed, as you choose."""
    before = await service.find(session, account_id)
    row = await service.disconnect(session, account_id, purge=body.results == "purge")
    return disconnect_view(context.settings, row, before.role_arn)


@router.post("/{account_id}/discover", status_code=202)
async def discover_organization(session: TeamSession, account_id: UUID, body: Discover) -> HistoryView:
    """List the accounts of the organization that this account manages; the entry's report has them."""
    return history_view(await service.discover(session, account_id, drafts=body.drafts))


@router.delete("/{account_id}", status_code=204)
async def delete_account(session: TeamSession, account_id: UUID) -> None:
    """Remove a cloud account that no plan targets and no run works in. Its past runs stay."""
    await service.delete(session, account_id)
