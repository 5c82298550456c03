"""Exclusions from backups as the api passes them on, with a service token for the team."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from coreo_results.auth import ByActor, TeamToken
from coreo_results.bodies import json_answer, json_body
from coreo_results.services import Wired
from coreo_shared.contracts.exclusions import NewExclusion
from coreo_shared.web import StrictRoute

router = APIRouter(prefix="/internal/v1", route_class=StrictRoute)
_NEWEST = UUID(int=2**128 - 1)


class PageQuery(BaseModel):
    """Those older than `before`."""

    model_config = ConfigDict(extra="forbid")

    before: UUID = _NEWEST
    limit: int = Field(default=100, ge=1, le=1_000)


@router.post("/exclusions", status_code=202)
async def exclude(
    team_id: TeamToken,
    actor: ByActor,
    wish: Annotated[NewExclusion, Depends(json_body(NewExclusion))],
    services: Wired,
) -> Response:
    """A contracts.exclusions.Exclusion; said again while it is pending: the same."""
    exclusion = await services.exclusions.request(team_id, wish, actor)
    if services.exclusion_keeper is not None:
        services.exclusion_keeper.wake()
    return json_answer(exclusion, status=202)


@router.get("/exclusions")
async def list_exclusions(team_id: TeamToken, services: Wired, query: Annotated[PageQuery, Query()]) -> Response:
    """A contracts.exclusions.ExclusionPage."""
    return json_answer(await services.exclusions.page(team_id, query.before, query.limit))


@router.get("/exclusions/{exclusion_id}")
async def show_exclusion(exclusion_id: UUID, team_id: TeamToken, services: Wired) -> Response:
    """A contracts.exclusions.Exclusion."""
    return json_answer(await services.exclusions.find(team_id, exclusion_id))


@router.get("/exclusions/{exclusion_id}/receipt")
async def show_receipt(exclusion_id: UUID, team_id: TeamToken, services: Wired) -> Response:
    """A contracts.exclusions.SignedReceipt; 409 exclusion_pending."""
    return json_answer(await services.exclusions.receipt(team_id, exclusion_id))


@router.get("/custody/keys")
async def list_keys(_: TeamToken, services: Wired) -> Response:
    """A contracts.exclusions.CustodyKeys: with what logs and receipts are checked."""
    return json_answer({"keys": services.custody_keys})
