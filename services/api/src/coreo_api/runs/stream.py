"""A run's changes as server-sent events (WHATWG HTML, "Server-sent events").

Each event `run` is the run as it stands, so a client that missed some has lost nothing. Of a deploy, events `stack`
come before it: stack events, each once. An id is the run's version and, after a dot, how many stack events there were.
The stream ends after the run's final state, when the process is asked to stop, or when the token is no longer valid.
"""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Final, Self
from uuid import UUID

from sqlalchemy import Row

from coreo_api import signals
from coreo_api.context import Context
from coreo_api.results import ResultsRefusedError, ResultsUnavailableError
from coreo_api.runs import service
from coreo_api.teams.session import Caller
from coreo_shared.contracts.base import encode_json
from coreo_shared.contracts.terms import RunState
from coreo_shared.observability.logs import get_logger
from coreo_shared.web import Problem

KEEP_ALIVE_SECONDS = 15.0
KEEP_ALIVE = ": keep-alive\n\n"
_RETRY_SECONDS = 2.0  # the results service does not answer
_PAGE: Final = 200
POSITION: Final = r"^[0-9]{1,18}(\.[0-9]{1,9})?$"
_log = get_logger(__name__)


@dataclass(frozen=True)
class Position:
    """What a client has seen: the run's version, and how many stack events."""

    version: int
    stack: int = 0

    @classmethod
    def of(cls, event_id: str) -> Self:
        """Of a Last-Event-ID that fits POSITION."""
        version, _, stack = event_id.partition(".")
        return cls(int(version), int(stack or "0"))


async def events(
    context: Context,
    caller: Caller,
    run_id: UUID,
    *,
    after: Position | None,
    keep_alive_seconds: float = KEEP_ALIVE_SECONDS,
) -> AsyncGenerator[str, None]:
    """Events of the run that came later than `after`; all when that is None."""
    shown: tuple[int, bool] | None = None
    seen = after or Position(-1)
    with context.signals.bell(signals.RUNS, run_id) as bell:
        while not context.stopping.is_set():
            row = await _look(caller, run_id)
            if row is None:
                return
            async for text, position in _stack_events(context, caller, row, seen):
                yield text
                seen = position
            whole = seen.stack >= _stored(row)
            present = (row.version, row.cancel_requested)
            if whole and present != shown and (shown is not None or after is None or row.version > after.version):
                yield _event(row, seen.stack)
            if whole:
                shown = present
                seen = Position(row.version, seen.stack)
                if RunState(row.state).is_final:
                    return
            if not await bell.wait(keep_alive_seconds if whole else _RETRY_SECONDS) and whole:
                yield KEEP_ALIVE


async def _look(caller: Caller, run_id: UUID) -> Row[Any] | None:
    """The run; None when the caller may no longer see it."""
    try:
        async with caller.session() as session:
            return await service.find(session, run_id)
    except Problem:
        return None


def _stored(row: Row[Any]) -> int:
    """How many stack events there are of the run."""
    return int(((row.deploy or {}).get("documents") or {}).get("events", 0))


async def _stack_events(
    context: Context, caller: Caller, row: Row[Any], seen: Position
) -> AsyncGenerator[tuple[str, Position], None]:
    """Events of the stack that the client has not seen, each with what it has seen then.

    None, or not all, when the results service does not answer: then it is asked again. Those that were destroyed
    meanwhile count as seen.
    """
    stored = _stored(row)
    while seen.stack < stored:
        try:
            page = await context.results.stack_events(caller.asker, row.id, after=seen.stack, limit=_PAGE)
        except ResultsUnavailableError as error:
            _log.warning("results_unavailable", error=str(error))
            return
        except ResultsRefusedError as error:
            _log.warning("stack_events_gone", run_id=str(row.id), code=error.code)
            yield "", Position(seen.version, stored)
            return
        if not page.events:
            return
        for event in page.events:
            seen = Position(seen.version, seen.stack + 1)
            data = encode_json(event).decode()
            yield f"id: {max(seen.version, 0)}.{seen.stack}\nevent: stack\ndata: {data}\n\n", seen


def _event(row: Row[Any], stack: int) -> str:
    event_id = f"{row.version}.{stack}" if row.deploy else str(row.version)
    return f"id: {event_id}\nevent: run\ndata: {service.view(row).model_dump_json()}\n\n"
