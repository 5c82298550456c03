"""Getting into a customer's account, and proof of it: what the api asks of the onboard pool, and what it reports.

A verification tries the customer's role as others might. A bootstrap replays requests to IAM that the api has signed
with the customer's keys; the keys themselves travel nowhere. A discovery lists an organization's accounts.
"""

from enum import StrEnum
from typing import Any, Literal
from uuid import UUID

from coreo_shared.contracts.base import Message
from coreo_shared.contracts.terms import Pool

SEALING_KEY_TYPE = "coreo-sealing-key+jwt"
SEALING_KEY_AUDIENCE = "coreo-api"
MAX_SEALING_KEY_SECONDS = 600
BOOTSTRAP_SECONDS = 300  # AWS takes a signed request for five minutes (IAM user guide, "Signature Version 4")


class VerifySpec(Message, frozen=True, kw_only=True, tag_field="kind", tag="verify"):
    """Prove that the target's role lets Coreo in, and only with the external id."""

    actions: list[str]  # IAM actions that the account's plans need; those that the role lacks are reported


class BootstrapSpec(Message, frozen=True, kw_only=True, tag_field="kind", tag="bootstrap"):
    """Make the target's role with requests that are signed already."""

    sealed: dict[str, str]  # id of a worker's sealing key -> `BootstrapRequests`, sealed for it (crypto.sealing)


class DiscoverSpec(Message, frozen=True, kw_only=True, tag_field="kind", tag="discover"):
    """List the accounts of the organization that the target manages, through the target's role."""


class SignedRequest(Message, frozen=True, kw_only=True):
    """An HTTP request to AWS with its signature (SigV4) in its headers, good for five minutes."""

    method: Literal["POST"]
    url: str
    headers: dict[str, str]
    body: str


class BootstrapRequests(Message, frozen=True, kw_only=True):
    """What a bootstrap sends and expects, as MessagePack inside the seal. `create_policy` and the two reads of the
    policy are None where an AWS managed policy is attached."""

    account_id: str
    role_arn: str
    policy_arn: str
    trust_policy: dict[str, Any]  # an existing role is adopted if it has exactly this one
    policy: dict[str, Any] | None  # an existing policy is adopted if its default version is exactly this one
    get_user: SignedRequest
    get_caller_identity: SignedRequest | None = None  # of temporary keys: of a role's, GetUser tells nothing
    get_policy: SignedRequest | None
    get_policy_version: SignedRequest | None  # of v1: what IAM calls the first version of a policy
    create_policy: SignedRequest | None
    get_role: SignedRequest
    create_role: SignedRequest
    attach_role_policy: SignedRequest
    expires_at: int  # Unix seconds


class SealingKey(Message, frozen=True, kw_only=True):
    """An onboard worker's word, signed with its fleet key: what is sealed for this key it can open until `exp`."""

    iss: str  # "coreo-worker"
    aud: str  # SEALING_KEY_AUDIENCE
    jti: str  # the key's id
    iat: int
    exp: int  # MAX_SEALING_KEY_SECONDS after `iat` at most; the private key is gone soon after
    pool: Pool
    worker_id: str
    public_key: str  # X25519, 32 bytes in base64url without padding


class SealContext(Message, frozen=True, kw_only=True):
    """What a seal is bound to: opened with any other word of this, it does not open."""

    team_id: UUID
    run_id: UUID
    cloud_account_id: UUID
    account_id: str
    expires_at: int


class CheckName(StrEnum):
    """The parts of a verification, in their order."""

    WITH_EXTERNAL_ID = "with_external_id"  # the role lets Coreo in
    ACCOUNT = "account"  # into the account that it says
    WITHOUT_EXTERNAL_ID = "without_external_id"  # and refuses who brings no external id
    WRONG_EXTERNAL_ID = "wrong_external_id"  # or a wrong one
    PERMISSIONS = "permissions"  # and allows what the plans need


class CheckOutcome(StrEnum):
    """UNKNOWN is never as good as PASSED: a time-out or throttling proves nothing."""

    PASSED = "passed"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Check(Message, frozen=True, kw_only=True):
    """One part of a verification. `detail` is a sentence that a person can act on, and holds no external id."""

    name: CheckName
    outcome: CheckOutcome
    detail: str


class VerifyReport(Message, frozen=True, kw_only=True, tag_field="kind", tag="verify"):
    """What a verification found. `verdict` follows from the checks:

    INSECURE: a negative test got in. UNREACHABLE: the positive test was refused, or led elsewhere. CONNECTED: all
    passed but perhaps PERMISSIONS. UNVERIFIED: anything else.
    """

    verdict: Literal["CONNECTED", "INSECURE", "UNREACHABLE", "UNVERIFIED"]
    reason: str | None  # None when CONNECTED
    checks: list[Check]
    missing_actions: list[str] = []


class BootstrapProblem(StrEnum):
    """Why a bootstrap made no role."""

    WRONG_KEY = "wrong_key"  # AWS knows no such key, or the secret is not its own
    KEY_INACTIVE = "key_inactive"
    SESSION_EXPIRED = "session_expired"  # a temporary key whose session has ended
    OTHER_ACCOUNT = "other_account"
    MISSING_PERMISSION = "missing_permission"
    ROLE_DIFFERS = "role_differs"
    POLICY_DIFFERS = "policy_differs"
    LIMIT_EXCEEDED = "limit_exceeded"
    EXPIRED = "expired"
    UNEXPECTED = "unexpected"


class BootstrapReport(Message, frozen=True, kw_only=True, tag_field="kind", tag="bootstrap"):
    """How a bootstrap ended. `problem` is None when the role is there with its policy."""

    role: Literal["created", "adopted"] | None = None
    policy: Literal["created", "adopted", "managed"] | None = None
    attached: bool = False
    problem: BootstrapProblem | None = None
    detail: str | None = None  # a sentence that a person can act on; names no key
    missing_action: str | None = None


class DiscoveredAccount(Message, frozen=True, kw_only=True):
    """An account of the organization."""

    account_id: str
    name: str
    status: str  # ACTIVE, SUSPENDED, PENDING_CLOSURE (Organizations API reference, Account)
    joined_at: str | None = None  # RFC 3339


class DiscoverReport(Message, frozen=True, kw_only=True, tag_field="kind", tag="discover"):
    """The organization's accounts, the managing one included. `problem` says why there is no list."""

    organization_id: str | None = None
    management_account_id: str | None = None
    accounts: list[DiscoveredAccount] = []
    problem: str | None = None


Report = VerifyReport | BootstrapReport | DiscoverReport
