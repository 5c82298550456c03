"""Suppressions as the api passes them on, with a service token for the team."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from coreo_results.auth import TeamToken
from coreo_results.bodies import json_answer, json_body
from coreo_results.decisions.queries import AuthorQuery, PageQuery
from coreo_results.services import Wired
from coreo_shared.contracts.decisions import NewSuppression, SuppressionPatch
from coreo_shared.web import StrictRoute

router = APIRouter(prefix="/internal/v1/suppressions", route_class=StrictRoute)


@router.post("")
async def add(
    team_id: TeamToken, new: Annotated[NewSuppression, Depends(json_body(NewSuppression))], services: Wired
) -> Response:
    """A contracts.decisions.Suppression."""
    return json_answer(await services.suppressions.add(team_id, new))


@router.get("")
async def list_all(team_id: TeamToken, services: Wired, query: Annotated[PageQuery, Query()]) -> Response:
    """A contracts.decisions.SuppressionPage."""
    return json_answer(await services.suppressions.page(team_id, query.before, query.limit))


@router.get("/{suppression_id}")
async def show(suppression_id: UUID, team_id: TeamToken, services: Wired) -> Response:
    """A contracts.decisions.Suppression."""
    return json_answer(await services.suppressions.find(team_id, suppression_id))


@router.patch("/{suppression_id}")
async def change(
    suppression_id: UUID,
    team_id: TeamToken,
    patch: Annotated[SuppressionPatch, Depends(json_body(SuppressionPatch))],
    services: Wired,
) -> Response:
    """A contracts.decisions.Suppression."""
    return json_answer(await services.suppressions.change(team_id, suppression_id, patch))


@router.delete("/{suppression_id}", status_code=204)
async def remove(
    suppression_id: UUID, team_id: TeamToken, services: Wired, by: Annotated[AuthorQuery, Query()]
) -> None:
    """Nothing is left of it but its entry in the log."""
    await services.suppressions.remove(team_id, suppression_id, by.author)
