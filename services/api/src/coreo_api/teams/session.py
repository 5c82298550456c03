"""Who is asking. Every route takes one of these; there is no other way to a team's rows.

`TeamSession` is the request's one transaction, already limited to the team; it commits before the answer leaves.
`TeamCaller` is for answers that outlast a transaction or wait for another service: it holds no connection.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_api.context import Context, InContext
from coreo_api.results import Asker
from coreo_api.teams import repository
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
    now: datetime


@dataclass(frozen=True)
class Caller:
    """Somebody with a valid token. `asker`: as the results service is told who asks."""

    asker: Asker
    _context: Context = field(repr=False)
    _token_hash: bytes = field(repr=False)

    @property
    def team_id(self) -> UUID:
        """The caller's team."""
        return self.asker.team_id

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Session]:
        """A transaction limited to the caller's team. Raises Problem when the token is no longer valid."""
        async with _session(self._context, self._token_hash) as session:
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
async def _session(context: Context, token_hash: bytes) -> AsyncIterator[Session]:
    async with context.database.transaction() as connection:
        now = context.clock()
        token = await repository.identify(connection, token_hash, now)
        if token is None:
            raise _refused("token_not_valid")
        yield Session(connection, token.team_id, token.id, token.name, now)


def _hash(credentials: HTTPAuthorizationCredentials | None) -> bytes:
    if credentials is None:
        raise _refused("token_missing")
    token_hash = hash_of(credentials.credentials)
    if token_hash is None:
        raise _refused("token_malformed")
    return token_hash


async def _open_session(context: InContext, credentials: Credentials) -> AsyncIterator[Session]:
    async with _session(context, _hash(credentials)) as session:
        yield session


async def identify(context: InContext, credentials: Credentials) -> Caller:
    """A dependency: whoever shows a valid token. Raises Problem."""
    token_hash = _hash(credentials)
    async with _session(context, token_hash) as session:
        return Caller(Asker(session.team_id, session.token_id, session.token_name), context, token_hash)


# "function": the transaction ends, and its commit succeeds, before the answer is sent.
TeamSession = Annotated[Session, Depends(_open_session, scope="function")]
TeamCaller = Annotated[Caller, Depends(identify)]
