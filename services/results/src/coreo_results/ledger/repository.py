"""Queries on runs. A stored change, its entry in the event feed and the feed's wake-up are one statement."""

from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.ledger.errors import ResultsGoneError
from coreo_results.ledger.run import Run, RunIdentity
from coreo_shared.contracts.results import Counts
from coreo_shared.contracts.terms import GoneWhy, Pool, RunState
from coreo_shared.web.problems import not_found

EVENTS_CHANNEL = "coreo_run_events"

_COLUMNS = """team_id, run_id, plan_id, plan_revision, cloud_account_id, account_id, pool, state, reason, version,
    fence,
    attempt, worker_id, cancel_reason, units_done, units_total, counts::text AS counts,
    extract(epoch FROM lease_until - now())::float8 AS lease_left"""
_READABLE = text("SELECT purged_at, purged_why, purged_by FROM runs WHERE team_id = :team AND run_id = :run")
_KEPT = text("SELECT 1 FROM runs WHERE team_id = :team AND run_id = :run AND purged_at IS NULL FOR SHARE")
_LOCK = text(f"SELECT {_COLUMNS} FROM runs WHERE team_id = :team AND run_id = :run FOR NO KEY UPDATE")  # noqa: S608  constants
# A run that begins while its plan or team wants no backups is never backed up, whatever they say later.
_CREATE = text("""
    INSERT INTO runs (team_id, run_id, plan_id, plan_revision, cloud_account_id, account_id, pool, state, backup)
    SELECT :team, :run, CAST(:plan AS uuid), :revision, :cloud_account, :account, :pool, :state,
        CAST(:backup AS boolean)
        AND NOT EXISTS (SELECT FROM custody_settings s WHERE s.team_id = :team AND NOT s.backups)
        AND NOT EXISTS (SELECT FROM plan_custody_settings p
            WHERE p.team_id = :team AND p.plan_id = CAST(:plan AS uuid) AND NOT p.backup)
    ON CONFLICT DO NOTHING
""")
_SAVE = text(f"""
    WITH changed AS (
        UPDATE runs SET
            state = :state, reason = :reason, version = :version, fence = :fence, attempt = :attempt,
            worker_id = :worker, lease_until = now() + make_interval(secs => CAST(:lease AS float8)),
            cancel_reason = :cancel_reason, units_done = :done, units_total = :total,
            counts = CAST(:counts AS jsonb), updated_at = now(),
            ended_at = CASE WHEN CAST(:final AS boolean) THEN now() END
        WHERE team_id = :team AND run_id = :run
    ), event AS (
        INSERT INTO run_events
            (team_id, run_id, version, state, reason, attempt, units_done, units_total, counts, report)
        VALUES (:team, :run, :version, :state, :reason, :attempt, :done, :total, CAST(:counts AS jsonb),
            CAST(:report AS jsonb))
    )
    SELECT pg_notify('{EVENTS_CHANNEL}', '')
""")  # noqa: S608  a constant
_RENEW = text(
    "UPDATE runs SET lease_until = now() + make_interval(secs => CAST(:lease AS float8))"
    " WHERE team_id = :team AND run_id = :run"
)
_LAPSED = text(f"""
    SELECT {_COLUMNS} FROM runs
    WHERE ended_at IS NULL AND lease_until < now()
        AND (cancel_reason IS NOT NULL OR lease_until < now() - make_interval(secs => CAST(:abandon AS float8)))
    ORDER BY lease_until LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
""")  # noqa: S608  constants


_SET_RULES = text("UPDATE runs SET rules = CAST(:rules AS text[]) WHERE team_id = :team AND run_id = :run")


class RunRepository:
    """Runs that the connection's role and team may see."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def check_readable(self, team_id: UUID, run_id: UUID) -> None:
        """Raises a 404 Problem for a run the ledger has never heard of, ResultsGoneError for one without results.

        Only in a snapshot does what is read after it belong to what it said.
        """
        found = (await self._connection.execute(_READABLE, {"team": team_id, "run": run_id})).first()
        if found is None:
            raise not_found("run")
        if found.purged_at is not None:
            raise ResultsGoneError(found.purged_at, GoneWhy(found.purged_why or GoneWhy.ACCOUNT), found.purged_by)

    async def is_readable(self, team_id: UUID, run_id: UUID) -> bool:
        """Whether the run's results are there; as for `check_readable`, in a snapshot."""
        found = (await self._connection.execute(_READABLE, {"team": team_id, "run": run_id})).first()
        return found is not None and found.purged_at is None

    async def keep(self, team_id: UUID, run_id: UUID) -> bool:
        """Whether the run's results are there; they stay until the transaction ends, for who adds to them."""
        return (await self._connection.execute(_KEPT, {"team": team_id, "run": run_id})).first() is not None

    async def lock(self, team_id: UUID, run_id: UUID) -> Run | None:
        """The run, nobody else's to change until the transaction ends."""
        row = (await self._connection.execute(_LOCK, {"team": team_id, "run": run_id})).one_or_none()
        return _run(row) if row else None

    async def lock_or_create(self, identity: RunIdentity) -> Run:
        """The run locked; made, QUEUED, when the ledger has never heard of it."""
        found = await self.lock(identity.team_id, identity.run_id)
        if found is not None:
            return found
        await self._connection.execute(
            _CREATE,
            {
                "team": identity.team_id,
                "run": identity.run_id,
                "plan": identity.plan_id,
                "revision": identity.plan_revision,
                "cloud_account": identity.cloud_account_id,
                "account": identity.account_id,
                "pool": identity.pool,
                "state": RunState.QUEUED,
                "backup": identity.backup,
            },
        )
        row = (
            await self._connection.execute(_LOCK, {"team": identity.team_id, "run": identity.run_id})
        ).one()  # ours, or that of who was quicker
        return _run(row)

    async def set_rules(self, team_id: UUID, run_id: UUID, rules: list[str]) -> None:
        """Notes which rules a locked run runs."""
        await self._connection.execute(_SET_RULES, {"team": team_id, "run": run_id, "rules": rules})

    async def save(self, run: Run) -> None:
        """Stores a locked run's change as its next version, and tells the feed."""
        await self._connection.execute(
            _SAVE,
            {
                "team": run.identity.team_id,
                "run": run.identity.run_id,
                "state": run.state,
                "reason": run.reason,
                "version": run.version + 1,
                "fence": run.fence,
                "attempt": run.attempt,
                "worker": run.worker_id,
                "lease": run.lease_left,
                "cancel_reason": run.cancel_reason,
                "done": run.units_done,
                "total": run.units_total,
                "counts": msgspec.json.encode(run.counts).decode(),
                "report": None if run.report is None else msgspec.json.encode(run.report).decode(),
                "final": run.state.is_final,
            },
        )

    async def renew_lease(self, run: Run) -> None:
        """Stores the lease alone: nothing that a reader of the feed would see."""
        await self._connection.execute(
            _RENEW, {"team": run.identity.team_id, "run": run.identity.run_id, "lease": run.lease_left}
        )

    async def lock_lapsed(self, *, abandon_after_seconds: float, limit: int) -> list[Run]:
        """Runs for the sweeper that no other replica's sweeper has in hand."""
        rows = await self._connection.execute(_LAPSED, {"abandon": abandon_after_seconds, "limit": limit})
        return [_run(row) for row in rows]


def _run(row: Row[Any]) -> Run:
    identity = RunIdentity(
        team_id=row.team_id,
        run_id=row.run_id,
        plan_id=row.plan_id,
        plan_revision=row.plan_revision,
        cloud_account_id=row.cloud_account_id,
        account_id=row.account_id,
        pool=Pool(row.pool),
    )
    return Run(
        identity=identity,
        state=RunState(row.state),
        reason=row.reason,
        version=row.version,
        fence=row.fence,
        attempt=row.attempt,
        worker_id=row.worker_id,
        lease_left=row.lease_left,
        cancel_reason=row.cancel_reason,
        units_done=row.units_done,
        units_total=row.units_total,
        counts=msgspec.json.decode(row.counts, type=Counts),
    )
