"""Tasks in cloud accounts: how they start, and the signed job that an onboard worker gets."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_api import signals
from coreo_api.accounts import history
from coreo_api.accounts.history import By
from coreo_api.plans import kinds
from coreo_api.results import ISSUER
from coreo_shared.catalogue import Catalogue
from coreo_shared.contracts.jobs import JOB_TYPE, Job, TargetAccount, Work, job_audience
from coreo_shared.contracts.onboarding import BOOTSTRAP_SECONDS
from coreo_shared.contracts.terms import Pool
from coreo_shared.contracts.tokens import RESULTS_AUDIENCE, RUN_CAPABILITY_TYPE, RunCapability
from coreo_shared.crypto.jose import Signer
from coreo_shared.ids import new_id
from coreo_shared.rules.errors import UnknownNameError
from coreo_shared.web import Problem

VERIFY, CONFIRM, DISCOVER, BOOTSTRAP, PURGE = "verify", "confirm", "discover", "bootstrap", "purge"
TASK_SECONDS = BOOTSTRAP_SECONDS  # the onboard queue keeps nothing longer
_CAPABILITY_SECONDS = 600  # beyond the job's: a worker must be able to say how it ended
_PURGE_DAYS = 30


async def start(
    connection: AsyncConnection,
    team_id: UUID,
    account: Row[Any],
    kind: str,
    by: By,
    now: datetime,
    *,
    spec: Mapping[str, Any] | None = None,
    sent: bool = False,
) -> UUID:
    """Notes a task in the (locked) account, for the dispatcher to send unless it was sent already; the entry's id.

    Raises a 409 Problem when one is under way.
    """
    if kind != PURGE and (under_way := await history.open_task(connection, team_id, account.id)):
        detail = f"A task ({under_way.kind}) is under way in this cloud account. Wait for its end, then try again."
        raise Problem(409, "task_under_way", detail, headers={"Retry-After": "5"})
    life = timedelta(days=_PURGE_DAYS) if kind == PURGE else timedelta(seconds=TASK_SECONDS)
    entry_id = await history.add(
        connection,
        team_id,
        account.id,
        kind,
        by,
        now,
        spec={"role_arn": account.role_arn, **(spec or {})},
        expires_at=now + life,
        sent=sent,
    )
    await signals.announce(connection, signals.TASKS)
    return entry_id


def signed_task_job(
    signer: Signer,
    *,
    team_id: UUID,
    run_id: UUID,
    target: TargetAccount,
    work: Work,
    now: datetime,
    expires_at: datetime,
) -> str:
    """The job of a task, for the onboard pool, with the run's capability inside."""
    issued_at, until = int(now.timestamp()), int(expires_at.timestamp())
    capability = RunCapability(
        iss=ISSUER,
        aud=RESULTS_AUDIENCE,
        jti=str(new_id()),
        iat=issued_at,
        exp=until + _CAPABILITY_SECONDS,
        team_id=team_id,
        run_id=run_id,
        plan_id=None,
        plan_revision=None,
        cloud_account_id=target.cloud_account_id,
        account_id=target.account_id,
        pool=Pool.ONBOARD,
    )
    job = Job(
        iss=ISSUER,
        aud=job_audience(Pool.ONBOARD),
        jti=str(new_id()),
        iat=issued_at,
        exp=until,
        team_id=team_id,
        run_id=run_id,
        plan_id=None,
        plan_revision=None,
        target=target,
        work=work,
        run_token=signer.sign(capability, typ=RUN_CAPABILITY_TYPE),
    )
    return signer.sign(job, typ=JOB_TYPE)


async def needed_actions(
    connection: AsyncConnection, catalogue: Catalogue, partition: str, team_id: UUID, account_id: UUID
) -> list[str]:
    """The IAM actions that the account's plans need. A plan whose rules are gone says so when it runs.

    Those that deploy plans state with a wildcard are left out: AWS can try single actions only.
    """
    statement = text(
        "SELECT p.kind, r.spec FROM plans p JOIN plan_accounts a ON (a.team_id, a.plan_id) = (p.team_id, p.id) "
        "JOIN plan_revisions r ON (r.team_id, r.plan_id, r.revision) = (p.team_id, p.id, p.revision) "
        "WHERE p.team_id = :team AND a.cloud_account_id = :account AND p.deleted_at IS NULL"
    )
    rows = await connection.execute(statement, {"team": team_id, "account": account_id})
    needed: set[str] = set()
    for row in rows:
        try:
            needed |= await kinds.actions_of(connection, catalogue, partition, team_id, row)
        except UnknownNameError:
            continue
    return sorted(action for action in needed if not {"*", "?"} & set(action))
