"""Queries on the event feed.

Events are ordered by (transaction id, sequence number) and shown only below the oldest transaction still at work
(`pg_snapshot_xmin`): a transaction that commits late can then never put an event before a cursor already given out.
"""

from dataclasses import dataclass
from datetime import UTC
from typing import Any

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.ledger.views import view_of
from coreo_shared.contracts.onboarding import Report
from coreo_shared.contracts.results import Counts, RunEvent
from coreo_shared.contracts.terms import RunState


@dataclass(frozen=True)
class FeedPosition:
    """A place in the feed, before the first event by default."""

    xid: int = 0
    seq: int = 0


@dataclass(frozen=True)
class FeedSlice:
    """Events after a position. `held_back`: there are more, committed, that a transaction at work still hides."""

    events: list[RunEvent]
    held_back: bool


# No output column is called `xid`: ORDER BY would take that one, and text puts 10 before 9.
_AFTER = text("""
    SELECT xid::text AS xid_text, seq, run_id, team_id, version, at, state, reason, attempt, units_done, units_total,
        counts::text AS counts, report::text AS report,
        terms::text AS terms, deploy::text AS deploy, resume_at, approval_until
    FROM run_events
    WHERE (xid, seq) > (CAST(CAST(:xid AS text) AS xid8), CAST(:seq AS bigint))
        AND xid < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY xid, seq LIMIT :limit
""")
_HELD_BACK = text("""
    SELECT EXISTS (
        SELECT FROM run_events
        WHERE (xid, seq) > (CAST(CAST(:xid AS text) AS xid8), CAST(:seq AS bigint))
    )
""")
# The newest event of a run stays for ever: a reader that starts anew learns every run's state from it.
_FORGET = text("""
    DELETE FROM run_events e WHERE e.at < now() - interval '7 days' AND EXISTS
        (SELECT FROM run_events n WHERE n.team_id = e.team_id AND n.run_id = e.run_id AND n.version > e.version)
""")


class EventRepository:
    """Events of all teams: for the system role."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def after(self, position: FeedPosition, limit: int) -> FeedSlice:
        """Up to `limit` events behind the position."""
        place = {"xid": str(position.xid), "seq": position.seq}
        rows = (await self._connection.execute(_AFTER, {**place, "limit": limit})).all()
        if rows:
            return FeedSlice([_event(row) for row in rows], held_back=False)
        held_back = (await self._connection.execute(_HELD_BACK, place)).scalar_one()
        return FeedSlice([], held_back=bool(held_back))

    async def forget_superseded(self) -> None:
        """Deletes events older than a week that a later one of the same run has overtaken."""
        await self._connection.execute(_FORGET)


def _event(row: Row[Any]) -> RunEvent:
    return RunEvent(
        cursor=f"{row.xid_text}-{row.seq}",
        run_id=row.run_id,
        team_id=row.team_id,
        version=row.version,
        at=row.at.astimezone(UTC).isoformat(),
        state=RunState(row.state),
        reason=row.reason,
        attempt=row.attempt,
        units_done=row.units_done,
        units_total=row.units_total,
        counts=msgspec.json.decode(row.counts, type=Counts),
        report=None if row.report is None else msgspec.json.decode(row.report, type=Report),
        deploy=view_of(row),
    )
