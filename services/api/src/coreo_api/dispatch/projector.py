"""Follows the results service's event feed and keeps the runs that customers see up to date.

Whoever has the lock is who follows; the others look again every now and then, so another replica takes over when one
dies. Events may come twice: a run only ever takes on a higher version.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_api import signals
from coreo_api.accounts.reports import Reports
from coreo_api.context import Context
from coreo_shared.contracts.base import encode_json
from coreo_shared.contracts.results import RunEvent
from coreo_shared.contracts.terms import Pool, RunState
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
    ended_at = CASE WHEN e.state = ANY(:final) THEN coalesce(r.ended_at, e.at) END,
    deploy = coalesce(e.deploy, r.deploy),
    -- Its turn ends with it, or while it waits for people.
    holds_target = r.holds_target AND NOT e.state = ANY(:final) AND e.state <> 'AWAITING_APPROVAL',
    expires_at = greatest(r.expires_at, CAST(e.deploy #>> '{resume,at}' AS timestamptz) + :ttl),
    cancel_requested = r.cancel_requested AND NOT (
        e.deploy->>'cancel_refused' IS NOT NULL
        AND e.deploy->>'cancel_refused' IS DISTINCT FROM r.deploy->>'cancel_refused'
    )
FROM jsonb_to_recordset(CAST(:events AS jsonb)) AS e (
    run_id uuid, team_id uuid, version bigint, at timestamptz, state text, reason text, attempt integer,
    units_done integer, units_total integer, counts jsonb, results_gone jsonb, deploy jsonb
)
WHERE (r.team_id, r.id) = (e.team_id, e.run_id) AND r.version < e.version
RETURNING r.team_id, r.id, r.ended_at, r.pool, r.state,
    CAST(r.deploy #>> '{resume,ticket}' AS bigint) AS ticket,
    CAST(r.deploy #>> '{resume,at}' AS timestamptz) AS resume_at
"""
# A job goes on with a parked run. One for each: a later ticket takes the place of what was not sent yet.
_RESUME = """
INSERT INTO outbox (team_id, id, kind, run_id, ticket, created_at, due_at)
SELECT e.team_id, gen_random_uuid(), 'resume', e.run_id, e.ticket, :now, e.due_at
FROM unnest(CAST(:teams AS uuid[]), CAST(:runs AS uuid[]), CAST(:tickets AS bigint[]), CAST(:dues AS timestamptz[]))
    AS e (team_id, run_id, ticket, due_at)
ON CONFLICT (team_id, run_id, kind) DO UPDATE
SET ticket = excluded.ticket, due_at = excluded.due_at, attempts = 0, problem = NULL
WHERE outbox.ticket < excluded.ticket
"""
_NO_RESUME = """
DELETE FROM outbox o USING unnest(CAST(:teams AS uuid[]), CAST(:runs AS uuid[])) AS e (team_id, run_id)
WHERE (o.team_id, o.run_id) = (e.team_id, e.run_id) AND o.kind = 'resume'
"""
_FINAL = [state.value for state in RunState if state.is_final]


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
            ttl = timedelta(seconds=self._context.settings.job_ttl_seconds)
            await apply(connection, page.events, ttl, self._context.clock())
            await Reports(connection, self._context.settings).apply(page.events, self._context.clock())
            if page.cursor != position:
                await connection.execute(text("UPDATE feed_position SET cursor = :cursor"), {"cursor": page.cursor})
        return 0.0 if page.events else _PAUSE_SECONDS


async def apply(connection: AsyncConnection, events: Sequence[RunEvent], ttl: timedelta, now: datetime) -> None:
    """Brings the runs of these events up to date, and tells who follows them when the transaction commits.

    `ttl`: how long a job may wait for a worker.
    """
    newest: dict[UUID, RunEvent] = {}
    for event in events:
        if event.run_id not in newest or newest[event.run_id].version < event.version:
            newest[event.run_id] = event
    if not newest:
        return
    values = {"events": encode_json(list(newest.values())).decode(), "final": _FINAL, "ttl": ttl}
    changed = (await connection.execute(text(_APPLY), values)).all()
    deploys = [row for row in changed if row.pool == Pool.DEPLOY]
    if deploys:
        await _arrange_resumes(connection, deploys, now)
    for row in changed:
        await signals.announce(connection, signals.RUNS, row.id)
    if deploys or any(row.ended_at is not None for row in changed):
        await signals.announce(connection, signals.OUTBOX)  # there may be room for another job, or it is its turn
    _log.debug("events_applied", events=len(events), runs=len(changed))


async def _arrange_resumes(connection: AsyncConnection, changed: Sequence[Row[Any]], now: datetime) -> None:
    waiting = [row for row in changed if row.ticket is not None and row.ended_at is None]
    others = [row for row in changed if row.ticket is None or row.ended_at is not None]
    if others:
        values = {"teams": [row.team_id for row in others], "runs": [row.id for row in others]}
        await connection.execute(text(_NO_RESUME), values)
    if waiting:
        values = {"teams": [row.team_id for row in waiting], "runs": [row.id for row in waiting]}
        values |= {"tickets": [row.ticket for row in waiting], "dues": [row.resume_at for row in waiting]}
        await connection.execute(text(_RESUME), values | {"now": now})
