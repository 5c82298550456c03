"""Trying a pack on one cloud account: a plan for a single run, deleted in the transaction that makes it.

The run is as any other, and its findings are seen as those of any run; no later run is compared with it.
"""

from uuid import UUID

from coreo_api.context import Context
from coreo_api.packs import service
from coreo_api.packs.schemas import DryRun
from coreo_api.plans import repository as plan_repository
from coreo_api.plans import service as plans
from coreo_api.plans.schemas import AuditSpec, CreateAuditPlan
from coreo_api.runs import requests
from coreo_api.runs import service as runs
from coreo_api.runs.schemas import RunView, StartRun
from coreo_api.teams.session import Session
from coreo_shared.web import FieldError, Problem

_FIELDS = {"body.cloud_account_ids.0": "body.cloud_account_id"}


async def start(session: Session, context: Context, name: str, wish: DryRun) -> RunView:
    """The run. Raises Problem."""
    pack = await service.find(session, name, wish.version)
    spec = AuditSpec(rule_packs=(f"{pack.name}@{pack.version}",), regions=wish.regions)
    title = f"dry run of {pack.name}@{pack.version}"
    try:
        made = CreateAuditPlan(name=title, spec=spec, cloud_account_ids=(wish.cloud_account_id,))
        plan_id: UUID = (await plans.create(session, context, made)).id
    except Problem as problem:
        raise _renamed(problem) from None
    group_id = await requests.request_runs(session, context, plan_id, StartRun(), None)
    await plan_repository.delete(session.connection, session.team_id, plan_id, session.now)
    return (await runs.show_group(session, group_id)).runs[0]


def _renamed(problem: Problem) -> Problem:
    """With the names that the fields have in this request."""
    if not problem.errors:
        return problem
    errors = tuple(
        FieldError(_FIELDS.get(error.field, error.field.replace("body.spec.", "body.")), error.message)
        for error in problem.errors
    )
    named = ", ".join(error.field for error in errors)
    return Problem(problem.status, problem.code, f"Not valid: {named}.", errors=errors)
