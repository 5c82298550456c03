"""Follows the results service's event feed and keeps the runs that customers see up to date.

Whoever has the lock is who follows; the others look again every now and then, so another replica takes over when one
dies. Events may come twice: a run only ever takes on a higher version.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_api import signals
from coreo_api.accounts.reports import Reports
from coreo_api.context import Context
from coreo_shared.contracts.base import encode_json
from coreo_shared.contracts.results import RunEvent
from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)
_LOCK = 0x4371
_PAGE = 200
_POLL_SECONDS = 20.0
_TAKE_OVER_SECONDS = 2.0
_PAUSE_SECONDS = 0.05  # should the feed answer an empty page at once

_APPLY = """
UPDATE runs r
SET state = e.state, reason = e.reason, attempt = e.attempt, units_done = e.units_done, units_total = e.units_total,
    counts = e.counts, version = e.version, updated_at = e.at, results_gone = e.results_gone,
    ended_at = CASE WHEN e.state NOT IN ('QUEUED', 'CLAIMED', 'RUNNING') THEN coalesce(r.ended_at, e.at) END
FROM jsonb_to_recordset(CAST(:events AS jsonb)) AS e (
    run_id uuid, team_id uuid, version bigint, at timestamptz, state text, reason text, attempt integer,
    units_done integer, units_total integer, counts jsonb, results_gone jsonb
)
WHERE (r.team_id, r.id) = (e.team_id, e.run_id) AND r.version < e.version
RETURNING r.id, r.ended_at
"""


class Projector:
    """Follows the feed."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def step(self) -> float:
        """Takes in a page, waiting for it; the seconds until another look. Raises ResultsUnavailableError."""
        async with self._context.system_database.transaction() as connection:
            # A host that vanished must not keep the lock: the server ends its idle transaction.
            await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '60s'"))
            # An advisory lock gives the transaction no id while it waits: the feed tells only what is older than the
            # oldest id at work on its server, which may be ours too.
            locked = await connection.execute(text("SELECT pg_try_advisory_xact_lock(:lock, 0)"), {"lock": _LOCK})
            if not locked.scalar_one():
                return _TAKE_OVER_SECONDS
            position = (await connection.execute(text("SELECT cursor FROM feed_position"))).scalar_one()
            page = await self._context.results.events(position, limit=_PAGE, wait_seconds=_POLL_SECONDS)
            await apply(connection, page.events)
            await Reports(connection, self._context.settings).apply(page.events, self._context.clock())
            if page.cursor != position:
                await connection.execute(text("UPDATE feed_position SET cursor = :cursor"), {"cursor": page.cursor})
        return 0.0 if page.events else _PAUSE_SECONDS


async def apply(connection: AsyncConnection, events: Sequence[RunEvent]) -> None:
    """Brings the runs of these events up to date, and tells who follows them when the transaction commits."""
    newest: dict[UUID, RunEvent] = {}
    for event in events:
        if event.run_id not in newest or newest[event.run_id].version < event.version:
            newest[event.run_id] = event
    if not newest:
        return
    changed = (await connection.execute(text(_APPLY), {"events": encode_json(list(newest.values())).decode()})).all()
    for row in changed:
        await signals.announce(connection, signals.RUNS, row.id)
    if any(row.ended_at is not None for row in changed):
        await signals.announce(connection, signals.OUTBOX)  # there is room for another of the team's jobs
    _log.debug("events_applied", events=len(events), runs=len(changed))
