"""What the api asks of one run's findings, with a service token for the team."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from coreo_results.auth import ByActor, TeamToken
from coreo_results.bodies import json_answer
from coreo_results.findings.filters import Filters
from coreo_results.findings.service import Paging
from coreo_results.services import Wired
from coreo_shared.contracts.life import Change
from coreo_shared.contracts.terms import AccessAction, FindingStatus, Severity
from coreo_shared.web import StrictRoute

MAX_LIMIT = 1_000
_Name = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[!-~]+$")]

router = APIRouter(prefix="/internal/v1/runs/{run_id}", route_class=StrictRoute)


class FindingQuery(BaseModel):
    """Query parameters; an unknown one is refused, as a misspelt filter must not show everything."""

    model_config = ConfigDict(extra="forbid")

    status: list[FindingStatus] = []
    severity: list[Severity] = []
    rule_id: list[_Name] = []
    region: list[_Name] = []
    change: list[Change] = []
    resource: str | None = Field(default=None, min_length=1, max_length=2048)
    cursor: str | None = Field(default=None, max_length=1024)
    limit: int = Field(default=100, ge=1, le=MAX_LIMIT)
    export: bool = False  # the reader will take them away: for the access record
    full: bool = False  # with what stands in contracts.life.ListedFinding alone, which an older api would refuse


@router.get("/findings")
async def list_findings(
    run_id: UUID, team_id: TeamToken, actor: ByActor, services: Wired, query: Annotated[FindingQuery, Query()]
) -> Response:
    """A contracts.results.FindingPage."""
    filters = Filters(
        statuses=frozenset(query.status),
        severities=frozenset(query.severity),
        rule_ids=frozenset(query.rule_id),
        regions=frozenset(query.region),
        changes=frozenset(query.change),
        resource=query.resource,
    )
    paging = Paging(query.cursor, query.limit, full=query.full)
    page = await services.findings.page(team_id, run_id, filters, paging)
    await services.access.read_findings(team_id, actor, run_id, export=query.export)
    return json_answer(page)


@router.get("/counts")
async def show_counts(run_id: UUID, team_id: TeamToken, actor: ByActor, services: Wired) -> Response:
    """A contracts.results.Counts, with the team's suppressions and severities as they are now."""
    counts = await services.findings.counts(team_id, run_id)
    await services.access.read(team_id, actor, AccessAction.READ_SUMMARY, run_id)
    return json_answer(counts)


@router.get("/rules")
async def list_rules(run_id: UUID, team_id: TeamToken, actor: ByActor, services: Wired) -> Response:
    """{"rules": [{"rule_id", "severity", "by_status"}]}, the most severe first."""
    rules = await services.findings.rules(team_id, run_id)
    await services.access.read(team_id, actor, AccessAction.READ_SUMMARY, run_id)
    return json_answer({"rules": rules})
