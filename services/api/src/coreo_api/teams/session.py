"""Who is asking. Every route takes one of these; there is no other way to a team's rows.

`TeamSession` is the request's one transaction, already limited to the team; it commits before the answer leaves.
`TeamCaller` is for answers that outlast a transaction or wait for another service: it holds no connection.
Both take the scope `read` or `plan`, by the method; `Owner…` takes all scopes, `ApproverCaller` the scope `approve`.
"""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_api.context import Context, InContext
from coreo_api.results import Asker
from coreo_api.teams import repository, scopes
from coreo_api.teams.scopes import Scope
from coreo_api.teams.tokens import hash_of
from coreo_shared.observability.logs import get_logger
from coreo_shared.web import Problem

_log = get_logger(__name__)
_bearer = HTTPBearer(auto_error=False, description="A team token, `coreo_…`.", bearerFormat="coreo_…")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]


@dataclass(frozen=True)
class Session:
    """A transaction limited to the caller's team. `now` is the request's time."""

    connection: AsyncConnection
    team_id: UUID
    token_id: UUID
    token_name: str
    scopes: frozenset[str]
    now: datetime


@dataclass(frozen=True)
class Caller:
    """Somebody with a valid token. `asker`: as the results service is told who asks."""

    asker: Asker
    token_id: UUID
    _context: Context = field(repr=False)
    _token_hash: bytes = field(repr=False)
    _needed: frozenset[Scope]

    @property
    def team_id(self) -> UUID:
        """The caller's team."""
        return self.asker.team_id

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """A transaction limited to the caller's team. Raises Problem when the token is no longer valid."""
        async with _session(self._context, self._token_hash, self._needed) as session:
            yield session


def _refused(why: str) -> Problem:
    _log.warning("login_refused", security_event=why)
    return Problem(
        401,
        "unauthenticated",
        "Send a valid team token as `Authorization: Bearer coreo_…`. This one is missing, unknown, revoked or expired.",
        headers={"WWW-Authenticate": "Bearer"},
    )


@asynccontextmanager
async def _session(context: Context, token_hash: bytes, needed: Collection[Scope]) -> AsyncIterator[Session]:
    async with context.database.transaction() as connection:
        now = context.clock()
        token = await repository.identify(connection, token_hash, now)
        if token is None:
            raise _refused("token_not_valid")
        scopes.check(token.scopes, needed)
        yield Session(connection, token.team_id, token.id, token.name, frozenset(token.scopes), now)


def _hash(credentials: HTTPAuthorizationCredentials | None) -> bytes:
    if credentials is None:
        raise _refused("token_missing")
    token_hash = hash_of(credentials.credentials)
    if token_hash is None:
        raise _refused("token_malformed")
    return token_hash


async def _open_session(request: Request, context: InContext, credentials: Credentials) -> AsyncIterator[Session]:
    async with _session(context, _hash(credentials), scopes.needed_for(request.method)) as session:
        yield session


async def _open_owner_session(context: InContext, credentials: Credentials) -> AsyncIterator[Session]:
    async with _session(context, _hash(credentials), scopes.ALL) as session:
        yield session


async def identify(request: Request, context: InContext, credentials: Credentials) -> Caller:
    """A dependency: whoever shows a valid token. Raises Problem."""
    return await _identify(context, credentials, scopes.needed_for(request.method))


async def _identify_approver(context: InContext, credentials: Credentials) -> Caller:
    return await _identify(context, credentials, frozenset({Scope.APPROVE}))


async def _identify(context: Context, credentials: Credentials, needed: frozenset[Scope]) -> Caller:
    token_hash = _hash(credentials)
    async with _session(context, token_hash, needed) as session:
        asker = Asker(session.team_id, session.token_id, session.token_name)
        return Caller(asker, session.token_id, context, token_hash, needed)


# "function": the transaction ends, and its commit succeeds, before the answer is sent.
TeamSession = Annotated[Session, Depends(_open_session, scope="function")]
OwnerSession = Annotated[Session, Depends(_open_owner_session, scope="function")]
TeamCaller = Annotated[Caller, Depends(identify)]
ApproverCaller = Annotated[Caller, Depends(_identify_approver)]
