"""The feed, with a service token for it."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from coreo_results.auth import FeedToken
from coreo_results.bodies import json_answer
from coreo_results.services import Wired
from coreo_shared.web import StrictRoute

router = APIRouter(prefix="/internal/v1/events", route_class=StrictRoute)


class FeedQuery(BaseModel):
    """Query parameters of the feed."""

    model_config = ConfigDict(extra="forbid")

    after: str = Field(default="", max_length=64)
    limit: int = Field(default=500, ge=1, le=1000)
    wait_seconds: float = Field(default=0, ge=0, le=25)


@router.get("")
async def read_events(_feed: FeedToken, services: Wired, query: Annotated[FeedQuery, Query()]) -> Response:
    """A contracts.results.EventPage; empty after `wait_seconds` without news."""
    page = await services.events.page(query.after, limit=query.limit, wait_seconds=query.wait_seconds)
    return json_answer(page)
