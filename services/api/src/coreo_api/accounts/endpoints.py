"""Routes on cloud accounts."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from coreo_api.accounts import repository, service
from coreo_api.accounts.schemas import AccountView, ChangeAccount, CreateAccount, SetRole
from coreo_api.context import InContext
from coreo_api.pages import Page, PageQuery, page_of
from coreo_api.teams.session import TeamSession
from coreo_shared.web import StrictRoute

router = APIRouter(prefix="/v1/cloud-accounts", tags=["cloud accounts"], route_class=StrictRoute)


@router.post("", status_code=201)
async def create_account(session: TeamSession, context: InContext, body: CreateAccount) -> AccountView:
    """Add an AWS account. The answer has the external id and the trust policy for the role to be made there."""
    return service.view(context.settings, await service.create(session, context.settings, body))


@router.get("")
async def list_accounts(
    session: TeamSession, context: InContext, query: Annotated[PageQuery, Query()]
) -> Page[AccountView]:
    """The team's cloud accounts, newest first."""
    rows = await repository.list_page(session.connection, session.team_id, query.before, query.limit + 1)
    return page_of(rows, query.limit, lambda row: service.view(context.settings, row))


@router.get("/{account_id}")
async def show_account(session: TeamSession, context: InContext, account_id: UUID) -> AccountView:
    """One cloud account."""
    return service.view(context.settings, await service.find(session, account_id))


@router.patch("/{account_id}")
async def change_account(
    session: TeamSession, context: InContext, account_id: UUID, body: ChangeAccount
) -> AccountView:
    """Rename a cloud account."""
    return service.view(context.settings, await service.change(session, account_id, body))


@router.put("/{account_id}/role")
async def set_role(session: TeamSession, context: InContext, account_id: UUID, body: SetRole) -> AccountView:
    """Say which role Coreo shall assume. It becomes UNVERIFIED: nobody has tried it yet."""
    return service.view(context.settings, await service.set_role(session, context.settings, account_id, body.role_arn))


@router.delete("/{account_id}", status_code=204)
async def delete_account(session: TeamSession, account_id: UUID) -> None:
    """Remove a cloud account that no plan targets and no run works in. Its past runs stay."""
    await service.delete(session, account_id)
