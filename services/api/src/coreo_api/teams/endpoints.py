"""Routes on the caller's team and its tokens."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from coreo_api.pages import Page, PageQuery, page_of
from coreo_api.teams import repository, service
from coreo_api.teams.schemas import CreateToken, NewTokenView, TeamView, TokenView
from coreo_api.teams.session import OwnerSession, TeamSession
from coreo_shared.web import StrictRoute

router = APIRouter(prefix="/v1", tags=["team"], route_class=StrictRoute)


@router.get("/team")
async def show_team(session: TeamSession) -> TeamView:
    """The team that the token belongs to."""
    return TeamView.model_validate(await repository.find_team(session.connection, session.team_id))


@router.get("/token")
async def show_token(session: TeamSession) -> TokenView:
    """The token that asks: its name, and what it may do."""
    return TokenView.model_validate(await repository.find_token(session.connection, session.team_id, session.token_id))


@router.post("/tokens", status_code=201)
async def create_token(session: OwnerSession, body: CreateToken) -> NewTokenView:
    """Make a token. The answer shows it, and nothing ever shows it again."""
    return await service.create_token(session, body)


@router.get("/tokens")
async def list_tokens(session: TeamSession, query: Annotated[PageQuery, Query()]) -> Page[TokenView]:
    """The team's tokens, newest first, without those revoked."""
    rows = await repository.list_tokens(session.connection, session.team_id, query.before, query.limit + 1)
    return page_of(rows, query.limit, TokenView.model_validate)


@router.delete("/tokens/{token_id}", status_code=204)
async def revoke_token(session: OwnerSession, token_id: UUID) -> None:
    """Revoke a token: from the answer on nobody gets in with it."""
    await service.revoke_token(session, token_id)
