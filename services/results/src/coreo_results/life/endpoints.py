"""What the api asks about a run beside the one before, with a service token for the team."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from coreo_results.auth import ByActor, TeamToken
from coreo_results.bodies import json_answer
from coreo_results.services import Wired
from coreo_shared.contracts.terms import AccessAction
from coreo_shared.web import StrictRoute

router = APIRouter(prefix="/internal/v1/runs/{run_id}", route_class=StrictRoute)


class PageQuery(BaseModel):
    """Which page of a list."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = Field(default=None, max_length=1024)
    limit: int = Field(default=100, ge=1, le=1_000)
    export: bool = False  # the reader will take them away: for the access record


@router.get("/changes")
async def show_changes(run_id: UUID, team_id: TeamToken, actor: ByActor, services: Wired) -> Response:
    """A contracts.life.RunChanges."""
    changes = await services.life.changes(team_id, run_id)
    await services.access.read(team_id, actor, AccessAction.READ_SUMMARY, run_id)
    return json_answer(changes)


@router.get("/resolved")
async def list_resolved(
    run_id: UUID, team_id: TeamToken, actor: ByActor, services: Wired, query: Annotated[PageQuery, Query()]
) -> Response:
    """A contracts.life.ResolvedPage."""
    page = await services.life.resolved(team_id, run_id, query.cursor, query.limit)
    await services.access.read_findings(team_id, actor, run_id, export=query.export)
    return json_answer(page)
