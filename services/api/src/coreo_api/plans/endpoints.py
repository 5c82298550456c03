"""Routes on plans."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from coreo_api.context import InContext
from coreo_api.pages import Page, PageQuery, page_of
from coreo_api.plans import kinds, repository, service
from coreo_api.plans.deploy_schemas import CheckedTemplate, CheckTemplate
from coreo_api.plans.linter import Wish
from coreo_api.plans.schemas import (
    ChangePlan,
    CheckedPlan,
    CreatePlan,
    PlanView,
    RequiredPolicy,
    RevisionView,
    TemplateQuery,
    TemplateText,
)
from coreo_api.teams.session import TeamCaller, TeamSession
from coreo_shared.web import StrictRoute

router = APIRouter(prefix="/v1/plans", tags=["plans"], route_class=StrictRoute)
templates = APIRouter(prefix="/v1/templates", tags=["plans"], route_class=StrictRoute)
_LAST_REVISION = 2**31 - 1


@router.post("", status_code=201)
async def create_plan(caller: TeamCaller, context: InContext, body: CreatePlan) -> PlanView:
    """Make a plan: which rules (or which stack), in which regions of which cloud accounts, and when.

    A deploy plan's template is looked at first; what is wrong with it is named by its line.
    """
    lint = await kinds.looked_at(context, caller.team_id, body.spec)
    async with caller.session() as session:
        return service.view(await service.create(session, context, body, lint))


@router.post("/check")
async def check_plan(caller: TeamCaller, context: InContext, body: CreatePlan) -> CheckedPlan:
    """Look at a plan and, of a deploy plan, its template, and store nothing. What is wrong with the rest is refused."""
    async with caller.session() as session:
        await service.check(session, context, body)
    lint = await kinds.lint(context, caller.team_id, body.spec)
    return CheckedPlan(template=None if lint is None else CheckedTemplate.model_validate(lint))


@router.get("")
async def list_plans(session: TeamSession, query: Annotated[PageQuery, Query()]) -> Page[PlanView]:
    """The team's plans, newest first."""
    rows = await repository.list_page(session.connection, session.team_id, query.before, query.limit + 1)
    return page_of(rows, query.limit, service.view)


@router.get("/{plan_id}")
async def show_plan(session: TeamSession, plan_id: UUID) -> PlanView:
    """One plan."""
    return service.view(await service.find(session, plan_id))


@router.patch("/{plan_id}")
async def change_plan(caller: TeamCaller, context: InContext, plan_id: UUID, body: ChangePlan) -> PlanView:
    """Change a plan. What is left out stays; a new spec becomes a new revision, and runs at work keep theirs."""
    async with caller.session() as session:
        present = await service.find(session, plan_id)
    lint = None
    if body.spec is not None:
        kinds.check_kind(present.kind, body.spec)
        if body.spec != kinds.stored(present.kind, present.spec):
            lint = await kinds.looked_at(context, caller.team_id, body.spec)
    async with caller.session() as session:
        return service.view(await service.change(session, context, plan_id, body, lint))


@router.delete("/{plan_id}", status_code=204)
async def delete_plan(session: TeamSession, plan_id: UUID) -> None:
    """Delete a plan none of whose runs is at work. Its past runs stay."""
    await service.delete(session, plan_id)


@router.get("/{plan_id}/revisions")
async def list_revisions(
    session: TeamSession, plan_id: UUID, query: Annotated[PageQuery, Query()]
) -> Page[RevisionView]:
    """All specs the plan has had, newest first."""
    await service.find(session, plan_id)
    below = min(query.before.int, _LAST_REVISION)
    rows = await repository.list_revisions(session.connection, session.team_id, plan_id, below, query.limit + 1)
    return page_of(rows, query.limit, service.revision_view, lambda row: UUID(int=row.revision))


@router.get("/{plan_id}/template")
async def show_template(session: TeamSession, plan_id: UUID, query: Annotated[TemplateQuery, Query()]) -> TemplateText:
    """A deploy plan's template, as it was sent."""
    return await service.template(session, plan_id, query.revision)


@router.get("/{plan_id}/required-policy")
async def show_required_policy(session: TeamSession, context: InContext, plan_id: UUID) -> RequiredPolicy:
    """The least IAM policy with which a role can run this plan, and the session policies of its runs.

    Those of a deploy plan are of preview, apply, drift and destroy, in this order, in account 000000000000.
    """
    return await service.required(session, context, plan_id)


@templates.post("/check")
async def check_template(caller: TeamCaller, context: InContext, body: CheckTemplate) -> CheckedTemplate:
    """Look at a CloudFormation template and what a plan would say beside it, and store nothing."""
    wish = Wish(body.template, body.regions, body.parameters, body.capabilities)
    checked = await context.linter.check(wish, team_id=caller.team_id, field="body.template")
    return CheckedTemplate.model_validate(checked)
