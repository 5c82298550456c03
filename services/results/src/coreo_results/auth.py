"""Who may do what. Three kinds of token, none of which opens what another does:

- a run's capability (signed by the api, carried by the job): claim, feed and finish that run;
- a service token (signed by the api): one team's results, or the feed;
- a fleet token (signed by a worker with its pool's key): report that worker.

The team comes from the token alone. Every refusal is logged as a security event.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NoReturn
from uuid import UUID

import structlog
from fastapi import Depends, Request

from coreo_shared.contracts.terms import Pool
from coreo_shared.contracts.tokens import (
    FLEET_TOKEN_TYPE,
    RESULTS_AUDIENCE,
    RUN_CAPABILITY_TYPE,
    SERVICE_TOKEN_TYPE,
    FleetToken,
    RunCapability,
    ServiceToken,
)
from coreo_shared.crypto.jose import TokenError, Verifier
from coreo_shared.observability.logs import get_logger
from coreo_shared.web import Problem

API_ISSUER = "coreo-api"
WORKER_ISSUER = "coreo-worker"
_UNKNOWN = "unknown"  # of an api that does not say yet for whom it asks

_log = get_logger(__name__)


@dataclass(frozen=True)
class Actor:
    """For whom the api asks: the team's token by id and name, as the access record has it."""

    id: UUID | None
    name: str


class Authenticator:
    """Checks tokens against the api's keys and the pools' keys. Takes JWK sets; no `kid` may be in two pools."""

    def __init__(self, api_jwks: list[dict[str, Any]], fleet_jwks: Mapping[Pool, list[dict[str, Any]]]) -> None:
        self._api = Verifier(api_jwks, issuer=API_ISSUER)
        self._pools = {pool: Verifier(keys, issuer=WORKER_ISSUER) for pool, keys in fleet_jwks.items()}

    def run(self, token: str) -> RunCapability:
        """A run's capability. Raises TokenError."""
        return self._api.verify(token, RunCapability, typ=RUN_CAPABILITY_TYPE, audience=RESULTS_AUDIENCE)

    def service(self, token: str) -> ServiceToken:
        """The api's word. Raises TokenError."""
        return self._api.verify(token, ServiceToken, typ=SERVICE_TOKEN_TYPE, audience=RESULTS_AUDIENCE)

    def worker(self, token: str) -> FleetToken:
        """A worker's word, signed with a key of the pool it names. Raises TokenError."""
        for pool, verifier in self._pools.items():
            try:
                claims = verifier.verify(token, FleetToken, typ=FLEET_TOKEN_TYPE, audience=RESULTS_AUDIENCE)
            except TokenError as error:
                if error.code == "unknown_key":  # another pool's, perhaps
                    continue
                raise
            if claims.pool != pool:
                raise TokenError("wrong_pool")
            return claims
        raise TokenError("unknown_key")


async def _run_token(request: Request, run_id: UUID) -> RunCapability:
    token = _bearer(request)
    try:
        claims = _authenticator(request).run(token)
    except TokenError as error:
        _refuse(request, error.code)
    if claims.run_id != run_id:
        _forbid(request, "wrong_run", "This token is for another run.")
    structlog.contextvars.bind_contextvars(team_id=str(claims.team_id), run_id=str(run_id))
    return claims


async def _team_claims(request: Request) -> ServiceToken:
    claims = _service_token(request)
    if claims.scope != "team" or claims.team_id is None:
        _forbid(request, "wrong_scope", "This needs a token for a team.")
    structlog.contextvars.bind_contextvars(team_id=str(claims.team_id))
    return claims


_TeamClaims = Annotated[ServiceToken, Depends(_team_claims)]  # verified once for a request, however many depend on it


async def _team_token(claims: _TeamClaims) -> UUID:
    assert claims.team_id is not None  # noqa: S101  _team_claims has seen to it
    return claims.team_id


async def _actor(claims: _TeamClaims) -> Actor:
    return Actor(claims.actor_id, claims.actor or _UNKNOWN)


async def _feed_token(request: Request) -> ServiceToken:
    claims = _service_token(request)
    if claims.scope != "feed":
        _forbid(request, "wrong_scope", "This needs a token for the feed.")
    return claims


async def _worker_token(request: Request) -> FleetToken:
    token = _bearer(request)
    try:
        return _authenticator(request).worker(token)
    except TokenError as error:
        _refuse(request, error.code)


RunToken = Annotated[RunCapability, Depends(_run_token)]
TeamToken = Annotated[UUID, Depends(_team_token)]
ByActor = Annotated[Actor, Depends(_actor)]  # beside a TeamToken
FeedToken = Annotated[ServiceToken, Depends(_feed_token)]
WorkerToken = Annotated[FleetToken, Depends(_worker_token)]


def _service_token(request: Request) -> ServiceToken:
    token = _bearer(request)
    try:
        return _authenticator(request).service(token)
    except TokenError as error:
        _refuse(request, error.code)


def _authenticator(request: Request) -> Authenticator:
    authenticator: Authenticator = request.app.state.authenticator
    return authenticator


def _bearer(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        _refuse(request, "missing")
    return token.strip()


def _refuse(request: Request, code: str) -> NoReturn:
    _log_refusal(request, f"token_{code}")
    raise Problem(
        401,
        f"token_{code}",
        f"The bearer token is refused: {code.replace('_', ' ')}.",
        title="A valid token is needed",
        headers={"WWW-Authenticate": "Bearer"},
    )


def _forbid(request: Request, code: str, detail: str) -> NoReturn:
    _log_refusal(request, code)
    raise Problem(403, code, detail)


def _log_refusal(request: Request, code: str) -> None:
    route = request.scope.get("route")
    _log.warning(
        "access_refused",
        security_event=code,
        method=request.method,
        route=getattr(route, "path", None),
        client=request.client.host if request.client else None,
    )
