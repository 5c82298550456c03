"""The log of decisions as the api passes it on, with a service token for the team."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from coreo_results.auth import TeamToken
from coreo_results.bodies import json_answer
from coreo_results.decisions.queries import PageQuery
from coreo_results.services import Wired
from coreo_shared.contracts.decisions import DecisionKind
from coreo_shared.web import StrictRoute

router = APIRouter(prefix="/internal/v1/decisions", route_class=StrictRoute)


class LogQuery(PageQuery):
    """Which entries."""

    kind: DecisionKind | None = None


@router.get("")
async def list_decisions(team_id: TeamToken, services: Wired, query: Annotated[LogQuery, Query()]) -> Response:
    """A contracts.decisions.DecisionPage."""
    return json_answer(await services.log.page(team_id, query.kind, query.before, query.limit))
