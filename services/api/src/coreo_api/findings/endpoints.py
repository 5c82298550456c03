"""Routes on a run's findings. They are kept, encrypted, by the results service; here they only pass through."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from coreo_api.context import InContext
from coreo_api.findings.passing import check_run, unless_untaken
from coreo_api.findings.schemas import FindingPageView, FindingQuery, RuleCountsPage
from coreo_api.results import RuleCountsAnswer
from coreo_api.teams.session import TeamCaller
from coreo_shared.contracts.base import encode_json
from coreo_shared.contracts.results import FindingPage
from coreo_shared.web import StrictRoute

router = APIRouter(prefix="/v1/runs/{run_id}", tags=["findings"], route_class=StrictRoute)


@router.get("/findings", response_model=FindingPageView)
async def list_findings(
    caller: TeamCaller, context: InContext, run_id: UUID, query: Annotated[FindingQuery, Query()]
) -> Response:
    """The findings of a run, most severe first; those of a run at work are what is stored so far."""
    await check_run(caller, run_id)
    page = FindingPage(findings=[], total=0, next_cursor=None)
    with unless_untaken():
        page = await context.results.findings(caller.team_id, run_id, query.parameters())
    body = {"items": page.findings, "total": page.total, "next_cursor": page.next_cursor}
    return Response(encode_json(body), media_type="application/json")


@router.get("/rules", response_model=RuleCountsPage)
async def list_rules(caller: TeamCaller, context: InContext, run_id: UUID) -> Response:
    """How each rule of a run came out: how many resources passed, failed or could not be judged."""
    await check_run(caller, run_id)
    answer = RuleCountsAnswer(rules=[])
    with unless_untaken():
        answer = await context.results.rules(caller.team_id, run_id)
    return Response(encode_json({"items": answer.rules, "next_cursor": None}), media_type="application/json")
