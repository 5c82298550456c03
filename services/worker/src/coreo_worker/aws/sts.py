"""Into the customer's account: AssumeRole, always with a session policy; with the external id, or to try the role.

Session name, lifetimes and limits as in the STS API reference, AssumeRole; with a role of its own a worker chains
roles, and a chained session ends after an hour.
"""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol, Unpack
from uuid import UUID

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession

from coreo_shared.contracts.jobs import TargetAccount
from coreo_shared.rules.policy import SessionPolicy
from coreo_worker.aws.clients import SessionCredentials
from coreo_worker.aws.errors import SDK_ERRORS, PermanentError, TemporaryError, code_of

if TYPE_CHECKING:
    from types_aiobotocore_sts import STSClient
    from types_aiobotocore_sts.type_defs import AssumeRoleRequestTypeDef

SESSION_SECONDS = 3600
TRIAL_SECONDS = 900  # the shortest there is
_RETRY_SECONDS = 15.0
_CONFIG = AioConfig(connect_timeout=5, read_timeout=15, retries={"mode": "standard", "total_max_attempts": 3})

# What the customer, or we, must change before another try can work. The external id is in none of these.
_PERMANENT: Final = {
    "AccessDenied": "AWS did not let Coreo assume {role}. Check that the role exists, that its trust policy names "
    "Coreo's AWS account, and that it asks for the external id shown with this cloud account. Then start the run "
    "again.",
    "RegionDisabledException": "STS is not activated in the region Coreo works from. Activate it in the account's "
    "settings (IAM, Account settings, STS), then start the run again.",
    "ValidationError": "AWS does not take {role} for a role. Give this cloud account the ARN of its role again.",
    "ParamValidationError": "AWS does not take {role} for a role. Give this cloud account the ARN of its role again.",
    "MalformedPolicyDocument": "AWS did not take the session policy of the plan's rules. This is a fault in Coreo: "
    "report it with the run's id.",
    "PackedPolicyTooLarge": "The plan's rules need more permissions than an AWS session can be limited to. Split the "
    "plan.",
}


@dataclass(frozen=True)
class Refusal:
    """AWS's code, or the SDK's, for what it did not do."""

    code: str

    @property
    def is_denial(self) -> bool:
        """Whether AWS said that the caller may not. Any other code proves nothing of a role."""
        return self.code == "AccessDenied"


class RoleGate(Protocol):
    """Opens sessions in customers' accounts."""

    async def assume(self, target: TargetAccount, run_id: UUID, policy: SessionPolicy) -> SessionCredentials:
        """Credentials of the target's role, limited to `policy`. Raises PermanentError or TemporaryError."""


class TrustGate(Protocol):
    """Tries a role as others might."""

    async def try_role(
        self, role_arn: str, run_id: UUID, *, external_id: str | None, policy: str
    ) -> SessionCredentials | Refusal:
        """A short session of the role, limited to the policy document, or why there is none. Never raises for AWS."""


@contextlib.asynccontextmanager
async def open_gate(session: AioSession, *, region: str | None) -> AsyncIterator["StsGate"]:
    """STS of this region, as the identity of `session`."""
    async with session.create_client("sts", region_name=region, config=_CONFIG) as client:
        yield StsGate(client)


class StsGate:
    """STS behind both ports."""

    def __init__(self, client: "STSClient") -> None:
        self._client = client

    async def assume(self, target: TargetAccount, run_id: UUID, policy: SessionPolicy) -> SessionCredentials:
        """As the port says."""
        answer = await self._ask(
            RoleArn=target.role_arn,
            RoleSessionName=session_name(run_id),
            ExternalId=target.external_id,
            Policy=policy.document,
            DurationSeconds=SESSION_SECONDS,
        )
        if isinstance(answer, Refusal):
            raise _reaction(answer.code, target.role_arn)
        return answer

    async def try_role(
        self, role_arn: str, run_id: UUID, *, external_id: str | None, policy: str
    ) -> SessionCredentials | Refusal:
        """As the port says."""
        named: AssumeRoleRequestTypeDef = {
            "RoleArn": role_arn,
            "RoleSessionName": session_name(run_id),
            "Policy": policy,
            "DurationSeconds": TRIAL_SECONDS,
        }
        if external_id is not None:
            named["ExternalId"] = external_id
        return await self._ask(**named)

    async def _ask(self, **request: "Unpack[AssumeRoleRequestTypeDef]") -> SessionCredentials | Refusal:
        try:
            answer = await self._client.assume_role(**request)
        except SDK_ERRORS as error:
            return Refusal(code_of(error))  # without AWS's text, which may hold what we sent
        keys = answer["Credentials"]
        return SessionCredentials(
            access_key_id=keys["AccessKeyId"],
            secret_access_key=keys["SecretAccessKey"],
            session_token=keys["SessionToken"],
            expires_at=keys["Expiration"].timestamp(),
        )


def session_name(run_id: UUID) -> str:
    """How the customer's CloudTrail names the run: `coreo-` and its id without dashes."""
    return f"coreo-{run_id.hex}"


def _reaction(code: str, role_arn: str) -> PermanentError | TemporaryError:
    """The customer's matters are permanent. Throttling, outages and our own credentials' trouble pass."""
    # The query protocol says AccessDenied; AccessDeniedException is how others, and proxies, spell it.
    known = _PERMANENT.get(code.removesuffix("Exception") if code == "AccessDeniedException" else code)
    if known is not None:
        return PermanentError(known.format(role=role_arn))
    return TemporaryError(f"AWS STS answered {code} when Coreo assumed the role.", delay=_RETRY_SECONDS)
