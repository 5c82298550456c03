"""Deletion of results and exclusion from backups: what the results service does not know of a run, the api does."""

from uuid import UUID

from coreo_api.context import Context
from coreo_api.custody.exclusion_schemas import Exclude
from coreo_api.findings.passing import plain_words
from coreo_api.plans import repository as plans
from coreo_api.results import ResultsRefusedError
from coreo_api.runs import service as runs
from coreo_api.teams.session import Caller
from coreo_shared.contracts.custody import Deleted
from coreo_shared.contracts.exclusions import Exclusion
from coreo_shared.contracts.terms import RunState
from coreo_shared.web import Problem
from coreo_shared.web.problems import not_found


async def check_plan(caller: Caller, plan_id: UUID) -> None:
    """Raises Problem for a plan that the team never had. One that was deleted has past runs."""
    async with caller.session() as session:
        if not await plans.was_there(session.connection, session.team_id, plan_id):
            raise not_found("plan")


async def delete_run(caller: Caller, context: Context, run_id: UUID) -> Deleted:
    """Has a run's results deleted. Raises Problem."""
    async with caller.session() as session:
        run = await runs.find(session, run_id)
    try:
        return await _delete(caller, context, f"runs/{run_id}")
    except ResultsRefusedError as error:
        if error.status != 404:
            raise
    if not RunState(run.state).is_final:  # no worker has taken it yet
        detail = "This run has not ended. Cancel it, or wait, then delete its results."
        raise Problem(409, "run_at_work", detail, headers={"Retry-After": "5"})
    return Deleted(runs=0)


async def delete_plan(caller: Caller, context: Context, plan_id: UUID) -> Deleted:
    """Has the results of all the plan's runs deleted. Raises Problem."""
    await check_plan(caller, plan_id)
    return await _delete(caller, context, f"plans/{plan_id}")


async def exclude(caller: Caller, context: Context, wish: Exclude) -> Exclusion:
    """Has runs taken out of all backups. Raises Problem."""
    if wish.scope == "plan":
        await check_plan(caller, wish.scope_id)
    elif wish.scope == "run":
        async with caller.session() as session:
            await runs.find(session, wish.scope_id)
    try:
        with plain_words():
            body = wish.model_dump(mode="json")
            return await context.results.ask(caller.asker, "POST", "/internal/v1/exclusions", Exclusion, body=body)
    except ResultsRefusedError as error:
        if error.status == 404:  # no worker has taken it yet
            detail = "No worker has taken this run yet, so there is nothing of it to exclude. Cancel it, or wait."
            raise Problem(409, "run_not_begun", detail, headers={"Retry-After": "5"}) from None
        if error.status == 409:
            raise Problem(409, error.code, error.detail) from None
        raise


async def _delete(caller: Caller, context: Context, what: str) -> Deleted:
    try:
        with plain_words():
            return await context.results.delete_results(caller.asker, what)
    except ResultsRefusedError as error:
        if error.status == 409:
            raise Problem(409, error.code, error.detail, headers={"Retry-After": "5"}) from None
        raise
