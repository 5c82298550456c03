"""Routes on a run's findings. They are kept, encrypted, by the results service; here they only pass through."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from coreo_api.context import InContext
from coreo_api.findings.passing import check_run, unless_untaken
from coreo_api.findings.schemas import (
    FindingPageView,
    FindingQuery,
    ResolvedPageView,
    ResolvedQuery,
    RuleCountsPage,
    RunChangesView,
)
from coreo_api.results import RuleCounts
from coreo_api.runs.schemas import CountsView
from coreo_api.teams.session import TeamCaller
from coreo_shared.contracts.base import encode_json
from coreo_shared.contracts.life import ListedPage, ResolvedPage, RunChanges
from coreo_shared.contracts.results import Counts
from coreo_shared.web import StrictRoute

router = APIRouter(prefix="/v1/runs/{run_id}", tags=["findings"], route_class=StrictRoute)


@router.get("/findings", response_model=FindingPageView)
async def list_findings(
    caller: TeamCaller, context: InContext, run_id: UUID, query: Annotated[FindingQuery, Query()]
) -> Response:
    """The findings of a run, most severe first; those of a run at work are what is stored so far."""
    await check_run(caller, run_id)
    page = ListedPage(findings=[], total=0, next_cursor=None)
    with unless_untaken():
        page = await context.results.findings(caller.asker, run_id, query.parameters())
    return _page(page)


@router.get("/rules", response_model=RuleCountsPage)
async def list_rules(caller: TeamCaller, context: InContext, run_id: UUID) -> Response:
    """How each rule of a run came out: how many resources passed, failed or could not be judged."""
    await check_run(caller, run_id)
    rules: list[RuleCounts] = []
    with unless_untaken():
        rules = (await context.results.rules(caller.asker, run_id)).rules
    return _json({"items": rules, "next_cursor": None})


@router.get("/counts", response_model=CountsView)
async def show_counts(caller: TeamCaller, context: InContext, run_id: UUID) -> Response:
    """How many findings of each status and severity, with the team's suppressions and severities as they are now.

    `counts` of the run itself is what it found, which never changes.
    """
    await check_run(caller, run_id)
    counts = Counts()
    with unless_untaken():
        counts = await context.results.counts(caller.asker, run_id)
    return _json(counts)


@router.get("/changes", response_model=RunChangesView)
async def show_changes(caller: TeamCaller, context: InContext, run_id: UUID) -> Response:
    """What is new, changed or resolved since the run before: the last one of the same plan in the same cloud account.

    A finding is held against what was last known of it, so a run that could not see a resource changes nothing.
    """
    await check_run(caller, run_id)
    changes = RunChanges(run_id=run_id, previous_run_id=None, counts=None)
    with unless_untaken():
        changes = await context.results.changes(caller.asker, run_id)
    return _json(changes)


@router.get("/resolved", response_model=ResolvedPageView)
async def list_resolved(
    caller: TeamCaller, context: InContext, run_id: UUID, query: Annotated[ResolvedQuery, Query()]
) -> Response:
    """What failed before this run and does not any more, each as it was when it failed last; most severe first."""
    await check_run(caller, run_id)
    page = ResolvedPage(findings=[], total=0, next_cursor=None)
    with unless_untaken():
        page = await context.results.resolved(caller.asker, run_id, query.parameters())
    return _page(page)


def _page(page: ListedPage | ResolvedPage) -> Response:
    return _json({"items": page.findings, "total": page.total, "next_cursor": page.next_cursor})


def _json(answer: object) -> Response:
    return Response(encode_json(answer), media_type="application/json")
