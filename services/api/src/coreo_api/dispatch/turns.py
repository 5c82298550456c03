"""Whose turn it is on a stack, and the deploy pool's dispatcher, which sends jobs of those alone.

A run takes its turn (`holds_target`) in a transaction of its own before its job is sent, so that no crash in between
lets another one in; the projector ends the turn in the statement that takes in the run's end, or that it waits for
people.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_api.accounts.states import AccountState
from coreo_api.dispatch import outbox
from coreo_api.dispatch.dispatcher import Dispatcher
from coreo_api.dispatch.queue import MAX_BATCH
from coreo_shared.contracts.terms import Pool

_LOOK_SECONDS = 15.0
_SOON_SECONDS = 0.05

# A run's turn comes when nobody has one on its target, and nobody is before it. Who was sent once is before who was
# not; else the position counts. Previews and drift checks change nothing: they pass by a change that waits for people,
# and those that wait behind that.
_TURNS = """
UPDATE runs SET holds_target = true, expires_at = :expires
WHERE team_id = :team AND id IN (
    SELECT r.id FROM runs r JOIN cloud_accounts c ON (c.team_id, c.id) = (r.team_id, r.cloud_account_id)
    WHERE r.team_id = :team AND r.pool = 'deploy' AND r.ended_at IS NULL AND NOT r.holds_target
        AND r.state = 'QUEUED' AND NOT r.cancel_requested AND r.expires_at > :now
        AND c.state = :connected AND c.deleted_at IS NULL
        AND EXISTS (SELECT FROM outbox o WHERE (o.team_id, o.run_id) = (r.team_id, r.id)
            AND o.kind IN ('job', 'resume') AND o.due_at <= :now)
        AND NOT EXISTS (SELECT FROM runs h WHERE (h.team_id, h.target_id) = (r.team_id, r.target_id) AND h.holds_target)
        AND NOT EXISTS (
            SELECT FROM runs b WHERE (b.team_id, b.target_id) = (r.team_id, r.target_id) AND b.ended_at IS NULL
                AND (b.dispatched_at IS NULL, b.position) < (r.dispatched_at IS NULL, r.position)
                AND NOT (r.action IN ('preview', 'drift') AND b.action IN ('apply', 'destroy') AND EXISTS (
                    SELECT FROM runs w WHERE (w.team_id, w.target_id) = (b.team_id, b.target_id)
                        AND w.state = 'AWAITING_APPROVAL' AND (w.id = b.id OR b.dispatched_at IS NULL))))
    ORDER BY r.created_at, r.id LIMIT :room FOR NO KEY UPDATE OF r
)
"""
_COUNT = """
SELECT count(*) FROM runs WHERE team_id = :team AND pool = 'deploy' AND holds_target AND state <> 'OUTCOME_UNKNOWN'
"""
_NEXT = "SELECT min(due_at) FROM outbox WHERE kind = 'resume' AND due_at > :now"


class DeployDispatcher(Dispatcher):
    """Sends jobs of the deploy pool: the first of each run when its turn comes, then those that go on with it."""

    pool = Pool.DEPLOY

    async def prepare(self, team_id: UUID, now: datetime) -> None:
        """Gives turns to runs whose turn it is, as many as the team may have at work."""
        settings = self._context.settings
        async with self._context.system_database.transaction() as connection:
            if not await outbox.lock_team(connection, team_id, self.pool):
                return
            at_work = int((await connection.execute(text(_COUNT), {"team": team_id})).scalar_one())
            values = {
                "team": team_id,
                "now": now,
                "expires": now + timedelta(seconds=settings.job_ttl_seconds),
                "connected": AccountState.CONNECTED,
                "room": max(0, settings.team_max_active_runs - at_work),
            }
            await connection.execute(text(_TURNS), values)

    async def take(self, connection: AsyncConnection, team_id: UUID, now: datetime) -> Sequence[Row[Any]]:
        """Jobs of runs whose turn it is; what goes on with a run needs no room of its own."""
        return await outbox.take_deploys(connection, team_id, now, MAX_BATCH)

    async def pause(self) -> float:
        """Parked runs are due at times of their own."""
        now = self._context.clock()
        async with self._context.system_database.transaction() as connection:
            following = (await connection.execute(text(_NEXT), {"now": now})).scalar_one()
        if following is None:
            return _LOOK_SECONDS
        return float(min(_LOOK_SECONDS, max(_SOON_SECONDS, (following - now).total_seconds())))
