"""What can be done with deploy runs: what people decide, which the results service keeps, and what they read."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import Row

from coreo_api.accounts import history
from coreo_api.accounts.states import AccountState
from coreo_api.context import Context
from coreo_api.deploys import outcome
from coreo_api.deploys.outcome import Unknown
from coreo_api.deploys.schemas import OutcomeView
from coreo_api.findings.passing import plain_words
from coreo_api.plans.kinds import DEPLOY
from coreo_api.results import ResultsRefusedError
from coreo_api.runs import repository as runs_repository
from coreo_api.runs import service as runs
from coreo_api.teams.session import Caller
from coreo_shared.contracts.deploys import ApproveRun, Checkpoint, DeployAction, DeployStatus, Failure
from coreo_shared.contracts.results import RunAnswer
from coreo_shared.contracts.terms import RunState
from coreo_shared.web import Problem

T = TypeVar("T")
_DECIDED = frozenset({403, 404, 409, 412})


@dataclass(frozen=True)
class Asked:
    """A deploy run that somebody asks about."""

    run: Row[Any]
    account: Row[Any]
    author: str  # the name of the token that asks


async def asked(caller: Caller, run_id: UUID) -> Asked:
    """The team's deploy run, and who asks. Raises Problem."""
    async with caller.session() as session:
        run = await runs.find(session, run_id)
        if run.pool != DEPLOY:
            raise Problem(409, "not_a_deploy", "This is about runs of deploy plans; this run is an audit.")
        account = await runs_repository.account_of(session.connection, session.team_id, run.cloud_account_id)
        by = await history.by_token(session.connection, session.team_id, caller.token_id)
    return Asked(run, account, by.name)


async def read(context: Context, caller: Caller, run_id: UUID, name: str, kind: type[T]) -> T:
    """A document of the run. Raises Problem."""
    with _no_document(name), plain_words():
        return await context.results.ask(caller.asker, "GET", f"/internal/v1/runs/{run_id}/documents/{name}", kind)


async def tell(context: Context, caller: Caller, run_id: UUID, word: str, body: object) -> RunAnswer:
    """The run after something was decided about it. Raises Problem."""
    with _refused(), plain_words():
        return await context.results.ask(
            caller.asker, "POST", f"/internal/v1/runs/{run_id}/{word}", RunAnswer, body=body
        )


async def approve(context: Context, caller: Caller, found: Asked, preview_hash: str) -> RunAnswer:
    """The run, approved by the caller. Raises Problem; 412 when the preview is another one."""
    if found.account.state != AccountState.CONNECTED:
        detail = (
            f"The run's cloud account is {found.account.state}, and nothing is changed through a role that is not "
            "proven. POST /v1/cloud-accounts/{id}/verify tries it again; then approve."
        )
        raise Problem(409, "account_not_connected", detail)
    word = ApproveRun(hash=preview_hash, approver_id=caller.token_id, author=found.author)
    return await tell(context, caller, found.run.id, "approve", word)


async def show_outcome(context: Context, caller: Caller, run_id: UUID) -> OutcomeView:
    """What to check of a run whose outcome is unknown. Raises Problem."""
    found = await asked(caller, run_id)
    run = found.run
    if run.state != RunState.OUTCOME_UNKNOWN:
        detail = f"The outcome of this run is not unknown: it is {run.state}. GET /v1/runs/{{id}} says the rest."
        raise Problem(409, "not_unknown", detail)
    with plain_words():
        status = await context.results.ask(caller.asker, "GET", f"/internal/v1/runs/{run_id}/deploy", DeployStatus)
    failure = await _failure(context, caller, run_id)
    checkpoint = status.checkpoint
    unknown = Unknown(
        run_id=run_id,
        action=DeployAction(run.action),
        partition=context.settings.partition,
        region=run.region,
        stack_name=run.stack_name,
        stack_arn=_told("stack_arn", failure, checkpoint),
        change_set_arn=_told("change_set_arn", failure, checkpoint),
        applied_at=None if checkpoint is None else checkpoint.applied_at,
        protects_alone=checkpoint is not None and checkpoint.protects_alone,
    )
    return OutcomeView(
        run_id=run_id,
        state=run.state,
        reason=run.reason,
        action=unknown.action,
        account_id=found.account.account_id,
        region=unknown.region,
        stack_name=unknown.stack_name,
        stack_arn=unknown.stack_arn,
        change_set_arn=unknown.change_set_arn,
        token=str(run_id),
        applied_at=unknown.applied_at,
        console_url=outcome.console_url(unknown),
        advice=[] if failure is None else failure.advice,
        checks=outcome.checks(unknown),
        verdicts=outcome.verdicts(unknown),
    )


async def _failure(context: Context, caller: Caller, run_id: UUID) -> Failure | None:
    """None where no worker could write one."""
    try:
        return await read(context, caller, run_id, "failure", Failure)
    except Problem as problem:
        if problem.code == "no_document":
            return None
        raise


def _told(name: str, failure: Failure | None, checkpoint: Checkpoint | None) -> str | None:
    """An ARN that the last worker told, or left for the next."""
    found: str | None = getattr(failure, name, None) or getattr(checkpoint, name, None)
    return found


@contextmanager
def _no_document(name: str) -> Iterator[None]:
    try:
        yield
    except ResultsRefusedError as error:
        if error.status == 404:
            detail = (
                f"This run has no {name} (yet): `deploy.documents` of GET /v1/runs/{{id}} says what there is to read."
            )
            raise Problem(404, "no_document", detail) from None
        raise


@contextmanager
def _refused() -> Iterator[None]:
    """What the ledger says against a decision is said to who decided; a run it never heard of waits for nobody."""
    try:
        yield
    except ResultsRefusedError as error:
        if error.status not in _DECIDED:
            raise
        if error.status == 404:
            raise Problem(409, "not_started", "No worker has taken this run yet: there is nothing to decide.") from None
        raise Problem(error.status, error.code, error.detail) from None
