"""Severity overrides as the api passes them on, with a service token for the team."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from coreo_results.auth import TeamToken
from coreo_results.bodies import json_answer, json_body
from coreo_results.decisions.queries import AuthorQuery, PageQuery
from coreo_results.services import Wired
from coreo_shared.contracts.decisions import SetSeverity
from coreo_shared.web import StrictRoute

router = APIRouter(prefix="/internal/v1/severity-overrides", route_class=StrictRoute)


@router.put("")
async def set_severity(
    team_id: TeamToken, wish: Annotated[SetSeverity, Depends(json_body(SetSeverity))], services: Wired
) -> Response:
    """A contracts.decisions.SeverityOverride."""
    return json_answer(await services.overrides.set(team_id, wish))


@router.get("")
async def list_all(team_id: TeamToken, services: Wired, query: Annotated[PageQuery, Query()]) -> Response:
    """A contracts.decisions.OverridePage."""
    return json_answer(await services.overrides.page(team_id, query.before, query.limit))


@router.get("/{override_id}")
async def show(override_id: UUID, team_id: TeamToken, services: Wired) -> Response:
    """A contracts.decisions.SeverityOverride."""
    return json_answer(await services.overrides.find(team_id, override_id))


@router.delete("/{override_id}", status_code=204)
async def remove(override_id: UUID, team_id: TeamToken, services: Wired, by: Annotated[AuthorQuery, Query()]) -> None:
    """The rule has its own severity again."""
    await services.overrides.remove(team_id, override_id, by.author)
