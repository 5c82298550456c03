"""PUT of a chunk, with the run's capability."""

from fastapi import APIRouter, Request, Response

from coreo_results.auth import RunToken
from coreo_results.services import Wired
from coreo_shared.web import StrictRoute

router = APIRouter(prefix="/internal/v1/runs/{run_id}", route_class=StrictRoute)


@router.put("/chunks")
async def put_chunk(capability: RunToken, services: Wired, request: Request) -> Response:
    """MessagePack of contracts.results.PutChunk; said again, it is stored once."""
    await services.chunks.put(capability.team_id, capability.run_id, await request.body())
    return Response(status_code=204)
