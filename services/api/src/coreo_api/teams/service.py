"""What can be done with teams and tokens."""

from datetime import datetime
from uuid import UUID

from coreo_api.teams import repository, scopes
from coreo_api.teams.schemas import CreateToken, NewTokenView, TokenView
from coreo_api.teams.session import Session
from coreo_api.teams.tokens import new_token
from coreo_shared.db import Database
from coreo_shared.ids import new_id
from coreo_shared.web import Problem
from coreo_shared.web.problems import invalid, not_found


async def create_team(database: Database, name: str, now: datetime) -> tuple[UUID, str]:
    """A new team's id and its first token."""
    team_id, token = new_id(), new_token()
    async with database.transaction(team_id) as connection:
        await repository.insert_team(connection, team_id, name, now)
        await repository.insert_token(
            connection, team_id, "first token", token.hash, now, expires_at=None, scopes=scopes.ALL
        )
    return team_id, token.text


async def create_token(session: Session, wish: CreateToken) -> NewTokenView:
    """A new token of the team. Raises Problem."""
    if wish.expires_at is not None and wish.expires_at <= session.now:
        raise invalid("body.expires_at", "must be in the future")
    if not wish.scopes:
        raise invalid("body.scopes", "a token without any scope is good for nothing: name one, or leave this out")
    token = new_token()
    row = await repository.insert_token(
        session.connection,
        session.team_id,
        wish.name,
        token.hash,
        session.now,
        expires_at=wish.expires_at,
        scopes=sorted(set(wish.scopes)),
    )
    return NewTokenView(**TokenView.model_validate(row).model_dump(), token=token.text)


async def revoke_token(session: Session, token_id: UUID) -> None:
    """Ends a token, but never the last one: nobody could make another. Raises Problem."""
    await repository.lock_tokens(session.connection, session.team_id)
    if not await repository.revoke_token(session.connection, session.team_id, token_id, session.now):
        raise not_found("token")
    others = await repository.has_other_token(session.connection, session.team_id, token_id, scopes.ALL, session.now)
    if not others:
        detail = "This is the team's only valid token with all scopes. Make another one first, then revoke this one."
        raise Problem(409, "last_token", detail)
