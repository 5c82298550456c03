"""The job: what the api puts on a pool's queue, as an Ed25519 JWS whose payload is a `Job`."""

from typing import Any
from uuid import UUID

from coreo_shared.contracts.base import Message
from coreo_shared.contracts.deploys import DeploySpec
from coreo_shared.contracts.onboarding import BootstrapSpec, DiscoverSpec, VerifySpec
from coreo_shared.contracts.rulepacks import RulePack
from coreo_shared.contracts.terms import Pool

JOB_TYPE = "coreo-job+jwt"


class TargetAccount(Message, frozen=True, kw_only=True):
    """The AWS account a run works in, and how to get into it."""

    cloud_account_id: UUID
    account_id: str  # twelve digits
    partition: str  # aws, aws-us-gov, aws-cn
    role_arn: str
    external_id: str  # names us to the customer's role; not a secret (AWS IAM user guide), yet never logged


class AuditSpec(Message, frozen=True, kw_only=True, tag_field="kind", tag="audit"):
    """What an audit reads and judges."""

    rules: list[str]  # rule ids, resolved from rule sets and packs when the run was requested
    regions: list[str]  # region names, or ["all"] for every region enabled in the account
    parameters: dict[str, Any] = {}  # rule variables
    packs: list[RulePack] = []


Work = AuditSpec | DeploySpec | VerifySpec | BootstrapSpec | DiscoverSpec


class Job(Message, frozen=True, kw_only=True):
    """One run to do. Field names iss to exp as in RFC 7519; times are Unix seconds.

    The audit pool takes audits, the deploy pool deploys; the onboard pool takes the rest, which belong to no plan.
    """

    iss: str
    aud: str  # `job_audience(pool)`
    jti: str
    iat: int
    exp: int  # after this no worker starts it
    version: int = 1
    team_id: UUID
    run_id: UUID
    plan_id: UUID | None
    plan_revision: int | None
    target: TargetAccount
    work: Work
    run_token: str  # the run's capability at the results service (contracts.tokens.RunCapability)


def pool_of(work: Work) -> Pool:
    """Whose work it is."""
    if isinstance(work, AuditSpec):
        return Pool.AUDIT
    return Pool.DEPLOY if isinstance(work, DeploySpec) else Pool.ONBOARD


def job_audience(pool: Pool) -> str:
    """The audience of a pool's jobs: a job for one pool means nothing to another."""
    return f"coreo-pool-{pool}"
