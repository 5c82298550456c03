"""Claims of the tokens that services show each other, all Ed25519 JWS; times are Unix seconds.

`RunCapability` (api to results, carried by the job): claim, feed and finish this one run.
`ServiceToken` (api to results): read results of one team, or the event feed.
`FleetToken` (worker to results, signed with the pool's fleet key): register and heartbeat.
"""

from uuid import UUID

from coreo_shared.contracts.base import Message
from coreo_shared.contracts.deploys import DeployTerms
from coreo_shared.contracts.terms import Pool

RUN_CAPABILITY_TYPE = "coreo-run+jwt"
SERVICE_TOKEN_TYPE = "coreo-service+jwt"
FLEET_TOKEN_TYPE = "coreo-fleet+jwt"
RESULTS_AUDIENCE = "coreo-results"


class RunCapability(Message, frozen=True, kw_only=True):
    """Lets its holder claim, feed and finish one run; tells the ledger what the run is at its first claim.

    `deploy` of a run of the deploy pool, and of no other. `ticket`: 0 in the run's first job, then what the feed said
    (contracts.deploys.Resume): a job with a lower one than the run has is out of date.
    """

    iss: str
    aud: str
    jti: str
    iat: int
    exp: int
    team_id: UUID
    run_id: UUID
    plan_id: UUID | None
    plan_revision: int | None
    cloud_account_id: UUID
    account_id: str
    pool: Pool
    deploy: DeployTerms | None = None
    ticket: int = 0


class ServiceToken(Message, frozen=True, kw_only=True):
    """The api's word to the results service, good for a minute. `scope`: "team" (needs team_id) or "feed"."""

    iss: str
    aud: str
    jti: str
    iat: int
    exp: int
    scope: str
    team_id: UUID | None = None


class FleetToken(Message, frozen=True, kw_only=True):
    """A worker's word that it belongs to a pool. The verifying key decides the pool; `pool` must agree."""

    iss: str
    aud: str
    jti: str
    iat: int
    exp: int
    pool: Pool
    worker_id: str
