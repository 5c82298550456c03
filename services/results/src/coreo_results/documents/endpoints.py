"""Documents and stack events of deploys: put with the run's capability, read with a service token for the team."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from coreo_results.auth import RunToken, TeamToken
from coreo_results.bodies import json_answer, json_body
from coreo_results.ledger.deploy_endpoints import check_checkpoint
from coreo_results.services import Wired
from coreo_shared.contracts.deploys import (
    MAX_DOCUMENT_BYTES,
    MAX_EVENTS_OF_PART,
    MAX_PARTS,
    DocumentName,
    Preview,
    PutDocument,
    PutEvents,
)
from coreo_shared.templates import preview_hash
from coreo_shared.web import StrictRoute
from coreo_shared.web.problems import invalid

router = APIRouter(prefix="/internal/v1/runs/{run_id}", route_class=StrictRoute)
_MAX_RESOURCES = 1_000_000


class EventQuery(BaseModel):
    """Which stack events: those behind the first `after`."""

    model_config = ConfigDict(extra="forbid")

    after: int = Field(default=0, ge=0, le=MAX_PARTS * MAX_EVENTS_OF_PART)
    limit: int = Field(default=100, ge=1, le=1_000)


@router.put("/documents", status_code=204)
async def put_document(
    capability: RunToken,
    word: Annotated[PutDocument, Depends(json_body(PutDocument, max_bytes=MAX_DOCUMENT_BYTES))],
    services: Wired,
) -> None:
    """Said again, it replaces what was said; 409 stale_fence, run_over or not_possible."""
    document = word.document
    if isinstance(document, Preview) and document.hash != preview_hash(document):
        raise invalid("body.document.hash", "not the hash of this preview")
    if word.checkpoint is not None:
        check_checkpoint(word.checkpoint)
    await services.documents.put(capability.team_id, capability.run_id, word)


@router.put("/stack-events", status_code=204)
async def put_events(
    capability: RunToken,
    word: Annotated[PutEvents, Depends(json_body(PutEvents, max_bytes=MAX_DOCUMENT_BYTES))],
    services: Wired,
) -> None:
    """A part said again is stored once; 409 stale_fence, run_over or not_possible."""
    if not 1 <= len(word.events) <= MAX_EVENTS_OF_PART:
        raise invalid("body.events", f"a part has 1 to {MAX_EVENTS_OF_PART} events")
    if not 0 <= word.part < MAX_PARTS:
        raise invalid("body.part", f"expected 0 to {MAX_PARTS - 1}")
    for field, number in (("done", word.done), ("total", word.total)):
        if number is not None and not 0 <= number <= _MAX_RESOURCES:
            raise invalid(f"body.{field}", f"expected 0 to {_MAX_RESOURCES}")
    check_checkpoint(word.checkpoint)
    await services.documents.put_events(capability.team_id, capability.run_id, word)


@router.get("/documents/{name}")
async def show_document(run_id: UUID, name: DocumentName, team_id: TeamToken, services: Wired) -> Response:
    """A contracts.deploys.Document; 404 no_document."""
    return Response(await services.documents.document(team_id, run_id, name), media_type="application/json")


@router.get("/stack-events")
async def list_events(
    run_id: UUID, team_id: TeamToken, services: Wired, query: Annotated[EventQuery, Query()]
) -> Response:
    """A contracts.deploys.StackEventPage."""
    return json_answer(await services.documents.events(team_id, run_id, after=query.after, limit=query.limit))
