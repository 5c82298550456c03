"""Makes the signed job of a run. It is made when it is sent: what waits in the database forges nothing."""

from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import Row

from coreo_api.plans.deploy_specs import Terms, for_target
from coreo_api.results import ISSUER
from coreo_shared.contracts.deploys import DeploySpec, DeployTerms
from coreo_shared.contracts.jobs import JOB_TYPE, AuditSpec, Job, TargetAccount, Work, job_audience
from coreo_shared.contracts.terms import Pool
from coreo_shared.contracts.tokens import RESULTS_AUDIENCE, RUN_CAPABILITY_TYPE, RunCapability
from coreo_shared.crypto.jose import Signer
from coreo_shared.ids import new_id

_CAPABILITY_SECONDS = (
    24 * 3600
)  # longer than any audit, or part of a deploy: a worker must be able to finish what it began in time


def signed_job(signer: Signer, row: Row[Any], *, partition: str, now: datetime) -> str:
    """The job of a row of outbox.take_jobs, for the run's pool, with the run's capability inside."""
    pool = Pool(row.pool)
    work, terms = _audit(row) if pool is Pool.AUDIT else _deploy(row, partition)
    issued_at = int(now.timestamp())
    expires_at = int(row.expires_at.timestamp())
    capability = RunCapability(
        iss=ISSUER,
        aud=RESULTS_AUDIENCE,
        jti=str(new_id()),
        iat=issued_at,
        exp=expires_at + _CAPABILITY_SECONDS,
        team_id=row.team_id,
        run_id=row.run_id,
        plan_id=row.plan_id,
        plan_revision=row.plan_revision,
        cloud_account_id=row.cloud_account_id,
        account_id=row.account_id,
        pool=pool,
        backup=row.backup,
        deploy=terms,
        ticket=row.ticket or 0,
    )
    job = Job(
        iss=ISSUER,
        aud=job_audience(pool),
        jti=str(new_id()),
        iat=issued_at,
        exp=expires_at,
        team_id=row.team_id,
        run_id=row.run_id,
        plan_id=row.plan_id,
        plan_revision=row.plan_revision,
        target=TargetAccount(
            cloud_account_id=row.cloud_account_id,
            account_id=row.account_id,
            partition=partition,
            role_arn=row.role_arn,
            external_id=row.external_id,
        ),
        work=work,
        run_token=signer.sign(capability, typ=RUN_CAPABILITY_TYPE),
    )
    return signer.sign(job, typ=JOB_TYPE)


def _audit(row: Row[Any]) -> tuple[Work, None]:
    return msgspec.convert(row.spec, AuditSpec), None


def _deploy(row: Row[Any], partition: str) -> tuple[Work, DeployTerms]:
    """What the run does to its target, and what the ledger must know of it: both as they were when it was asked for."""
    kept = msgspec.convert(row.terms, Terms)
    spec = msgspec.convert(row.spec, DeploySpec)
    work = for_target(spec, kept, region=row.region, partition=partition, account_id=row.account_id)
    terms = DeployTerms(
        action=spec.action,
        target_id=row.target_id,
        approvals=kept.approvals,
        approval_seconds=kept.approval_seconds,
        requested_by=row.token_id,
        requester_may_approve=kept.requester_may_approve,
    )
    return work, terms
