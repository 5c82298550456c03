"""Is the process there, and can it serve? For load balancers and container health checks."""

import asyncio

from fastapi import APIRouter
from sqlalchemy.exc import DBAPIError

from coreo_api.context import InContext
from coreo_shared.web import Problem

router = APIRouter(prefix="/health", tags=["health"])
_SECONDS = 3


@router.get("/live")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/ready")
async def ready(context: InContext) -> dict[str, str]:
    """The database answers both roles, and the process was not asked to stop.

    The queue and the results service do not count: without them runs are accepted, and delivered later.
    """
    if context.stopping.is_set():
        raise Problem(503, "stopping", "This process is about to end.", title="Not ready")
    try:
        async with asyncio.timeout(_SECONDS):
            await context.database.ping()
            await context.system_database.ping()
    except (DBAPIError, OSError, TimeoutError):
        raise Problem(503, "database_unavailable", "The database does not answer.", title="Not ready") from None
    return {"status": "ok"}
