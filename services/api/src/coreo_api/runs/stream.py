"""A run's changes as server-sent events (WHATWG HTML, "Server-sent events").

Each event is the run as it stands, so a client that missed some has lost nothing. The stream ends after the run's
final state, when the process is asked to stop, or when the token is no longer valid.
"""

from collections.abc import AsyncGenerator
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from coreo_api import signals
from coreo_api.context import Context
from coreo_api.runs import service
from coreo_api.teams.session import Caller
from coreo_shared.contracts.terms import RunState
from coreo_shared.web import Problem

KEEP_ALIVE_SECONDS = 15.0
KEEP_ALIVE = ": keep-alive\n\n"


async def events(
    context: Context,
    caller: Caller,
    run_id: UUID,
    *,
    after: int | None,
    keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
) -> AsyncGenerator[str, None]:
    """Events of the run with versions above `after`; all when that is None."""
    shown: tuple[int, bool] | None = None
    with context.signals.bell(signals.RUNS, run_id) as bell:
        while not context.stopping.is_set():
            row = await _look(caller, run_id)
            if row is None:
                return
            present = (row.version, row.cancel_requested)
            if present != shown and (shown is not None or after is None or row.version > after):
                yield _event(row)
            shown = present
            if RunState(row.state).is_final:
                return
            if not await bell.wait(keep_alive_seconds):
                yield KEEP_ALIVE


async def _look(caller: Caller, run_id: UUID) -> Row[Any] | None:
    """The run; None when the caller may no longer see it."""
    try:
        async with caller.session() as session:
            return await service.find(session, run_id)
    except Problem:
        return None


def _event(row: Row[Any]) -> str:
    return f"id: {row.version}\nevent: run\ndata: {service.view(row).model_dump_json()}\n\n"
