"""The access record as the api passes it on, with a service token for the team."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from coreo_results.access.record import Wanted
from coreo_results.auth import ByActor, TeamToken
from coreo_results.bodies import json_answer
from coreo_results.services import Wired
from coreo_shared.contracts.terms import AccessAction
from coreo_shared.web import StrictRoute

router = APIRouter(prefix="/internal/v1/access", route_class=StrictRoute)
_LAST = 2**63 - 1


class RecordQuery(BaseModel):
    """Which entries, and which part of them: what is older than the number `before`."""

    model_config = ConfigDict(extra="forbid")

    action: AccessAction | None = None
    object_id: UUID | None = None
    actor_id: UUID | None = None
    before: int = Field(default=_LAST, ge=1, le=_LAST)
    limit: int = Field(default=100, ge=1, le=1_000)


@router.get("")
async def list_entries(
    team_id: TeamToken, actor: ByActor, services: Wired, query: Annotated[RecordQuery, Query()]
) -> Response:
    """A contracts.custody.AccessPage."""
    wanted = Wanted(query.action, query.object_id, query.actor_id)
    page = await services.access.page(team_id, actor, wanted, before=query.before, limit=query.limit)
    return json_answer(page)
