"""What the api asks about a run beside the one before, with a service token for the team."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from coreo_results.auth import TeamToken
from coreo_results.bodies import json_answer
from coreo_results.services import Wired
from coreo_shared.web import StrictRoute

router = APIRouter(prefix="/internal/v1/runs/{run_id}", route_class=StrictRoute)


class PageQuery(BaseModel):
    """Which page of a list."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = Field(default=None, max_length=1024)
    limit: int = Field(default=100, ge=1, le=1_000)


@router.get("/changes")
async def show_changes(run_id: UUID, team_id: TeamToken, services: Wired) -> Response:
    """A contracts.life.RunChanges."""
    return json_answer(await services.life.changes(team_id, run_id))


@router.get("/resolved")
async def list_resolved(
    run_id: UUID, team_id: TeamToken, services: Wired, query: Annotated[PageQuery, Query()]
) -> Response:
    """A contracts.life.ResolvedPage."""
    return json_answer(await services.life.resolved(team_id, run_id, query.cursor, query.limit))
