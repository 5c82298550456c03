"""Liveness and readiness, for whoever runs the process. They tell nothing but yes or no."""

import asyncio

from fastapi import APIRouter, Response

from coreo_results.services import Wired

router = APIRouter(prefix="/health")


@router.get("/live")
async def live() -> Response:
    """The process answers."""
    return Response(b'{"status":"live"}', media_type="application/json")


@router.get("/ready")
async def ready(services: Wired) -> Response:
    """The database answers too, as both roles; 503 otherwise."""
    await asyncio.gather(services.database.ping(), services.system_database.ping())
    return Response(b'{"status":"ready"}', media_type="application/json")
