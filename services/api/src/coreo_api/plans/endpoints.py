"""Routes on plans."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query

from coreo_api.context import InContext
from coreo_api.pages import Page, PageQuery, page_of
from coreo_api.plans import repository, service
from coreo_api.plans.schemas import ChangePlan, CreatePlan, PlanView, RequiredPolicy, RevisionView
from coreo_api.teams.session import TeamSession
from coreo_shared.web import StrictRoute

router = APIRouter(prefix="/v1/plans", tags=["plans"], route_class=StrictRoute)
_LAST_REVISION = 2**31 - 1


@router.post("", status_code=201)
async def create_plan(session: TeamSession, context: InContext, body: CreatePlan) -> PlanView:
    """Make a plan: which rules, in which regions of which cloud accounts, and when."""
    return service.view(await service.create(session, context, body))


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
async def change_plan(session: TeamSession, context: InContext, plan_id: UUID, body: ChangePlan) -> PlanView:
    """Change a plan. What is left out stays; a new spec becomes a new revision, and runs at work keep theirs."""
    return service.view(await service.change(session, context, plan_id, body))


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


@router.get("/{plan_id}/required-policy")
async def show_required_policy(session: TeamSession, context: InContext, plan_id: UUID) -> RequiredPolicy:
    """The least IAM policy with which a role can run this plan, and the session policy of its runs."""
    return await service.required(session, context, plan_id)
