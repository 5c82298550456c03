"""Settings about the custody of results as the api passes them on, with a service token for the team."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Response

from coreo_results.auth import ByActor, TeamToken
from coreo_results.bodies import json_answer, json_body
from coreo_results.services import Wired
from coreo_shared.contracts.custody import CustodyPatch, PlanCustodyPatch
from coreo_shared.web import StrictRoute

router = APIRouter(prefix="/internal/v1", route_class=StrictRoute)


@router.get("/custody/settings")
async def show_settings(team_id: TeamToken, services: Wired) -> Response:
    """A contracts.custody.CustodySettings."""
    return json_answer(await services.custody.team(team_id))


@router.patch("/custody/settings")
async def change_settings(
    team_id: TeamToken,
    actor: ByActor,
    patch: Annotated[CustodyPatch, Depends(json_body(CustodyPatch))],
    services: Wired,
) -> Response:
    """A contracts.custody.CustodySettings."""
    return json_answer(await services.custody.set_team(team_id, patch, actor))


@router.get("/plans/{plan_id}/custody")
async def show_plan(plan_id: UUID, team_id: TeamToken, services: Wired) -> Response:
    """A contracts.custody.PlanCustody."""
    return json_answer(await services.custody.plan(team_id, plan_id))


@router.patch("/plans/{plan_id}/custody")
async def change_plan(
    plan_id: UUID,
    team_id: TeamToken,
    actor: ByActor,
    patch: Annotated[PlanCustodyPatch, Depends(json_body(PlanCustodyPatch))],
    services: Wired,
) -> Response:
    """A contracts.custody.PlanCustody."""
    return json_answer(await services.custody.set_plan(team_id, plan_id, patch, actor))
