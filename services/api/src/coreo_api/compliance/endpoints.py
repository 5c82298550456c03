"""Routes on frameworks, on how runs stand against them, and on people's answers."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query

from coreo_api.accounts import service as accounts
from coreo_api.compliance import repository, service
from coreo_api.compliance.schemas import (
    AnswerControl,
    AnswerQuery,
    AnswerView,
    ComplianceQuery,
    ComplianceView,
    ControlName,
    FrameworkName,
    FrameworkView,
)
from coreo_api.context import InContext
from coreo_api.findings.passing import unless_untaken
from coreo_api.pages import Page, page_of
from coreo_api.results import RuleCountsAnswer
from coreo_api.teams.session import TeamCaller, TeamSession, identify
from coreo_shared.web import StrictRoute

router = APIRouter(prefix="/v1", tags=["compliance"], route_class=StrictRoute)
_CONTROLS = "/cloud-accounts/{account_id}/controls"


@router.get("/frameworks", dependencies=[Depends(identify)])
async def list_frameworks(context: InContext) -> Page[FrameworkView]:
    """All frameworks that runs can be held against."""
    return Page(items=service.frameworks(context.catalogue))


@router.get("/runs/{run_id}/compliance")
async def show_compliance(
    caller: TeamCaller, context: InContext, run_id: UUID, query: Annotated[ComplianceQuery, Query()]
) -> ComplianceView:
    """How a run stands against a framework, control by control. What is not known counts neither way."""
    async with caller.session() as session:
        asked = await service.ask(session, run_id, query.framework)
    counted = RuleCountsAnswer(rules=[])
    with unless_untaken():
        counted = await context.results.rules(caller.asker, run_id)
    return service.stand(asked, query.framework, counted)


@router.get(_CONTROLS)
async def list_answers(
    session: TeamSession, account_id: UUID, query: Annotated[AnswerQuery, Query()]
) -> Page[AnswerView]:
    """What people answered for a cloud account, newest first."""
    await accounts.find(session, account_id)
    rows = await repository.list_page(
        session.connection,
        session.team_id,
        account_id,
        framework=query.framework,
        replaced=query.replaced,
        before=query.before,
        limit=query.limit + 1,
    )
    return page_of(rows, query.limit, AnswerView.model_validate)


@router.put(_CONTROLS + "/{framework}/{control}")
async def answer_control(
    session: TeamSession,
    context: InContext,
    account_id: UUID,
    framework: FrameworkName,
    control: ControlName,
    body: AnswerControl,
) -> AnswerView:
    """Answer a control that no rule can judge, in the place of the answer before."""
    row = await service.answer(session, context.catalogue, account_id, (framework, control), body)
    return AnswerView.model_validate(row)


@router.delete(_CONTROLS + "/{framework}/{control}", status_code=204)
async def withdraw_answer(
    session: TeamSession, account_id: UUID, framework: FrameworkName, control: ControlName
) -> None:
    """Take an answer back. It stays in the list of those replaced."""
    await service.withdraw(session, account_id, framework, control)
