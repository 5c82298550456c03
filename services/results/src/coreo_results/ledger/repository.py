"""Queries on runs. A stored change, its entry in the event feed and the feed's wake-up are one statement."""

from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_results.ledger.errors import StaleFenceError
from coreo_results.ledger.run import DeployState, Run, RunIdentity
from coreo_results.ledger.views import view_of
from coreo_shared.contracts.deploys import DeployTerms, DeployView
from coreo_shared.contracts.results import Counts
from coreo_shared.contracts.terms import Pool, RunState
from coreo_shared.web import Problem
from coreo_shared.web.problems import not_found

EVENTS_CHANNEL = "coreo_run_events"

_COLUMNS = """team_id, run_id, plan_id, plan_revision, cloud_account_id, account_id, pool, state, reason, version,
    fence, attempt, worker_id, cancel_reason, units_done, units_total, counts::text AS counts,
    extract(epoch FROM lease_until - now())::float8 AS lease_left,
    terms::text AS terms, deploy::text AS deploy, extract(epoch FROM resume_at - now())::float8 AS resume_left,
    extract(epoch FROM approval_until - now())::float8 AS approval_left"""
_READABLE = text("SELECT purged_at FROM runs WHERE team_id = :team AND run_id = :run")
_LOCK = text(f"SELECT {_COLUMNS} FROM runs WHERE team_id = :team AND run_id = :run FOR NO KEY UPDATE")  # noqa: S608  constants
_CREATE = text(
    "INSERT INTO runs (team_id, run_id, plan_id, plan_revision, cloud_account_id, account_id, pool, state,"
    " action, target_id, terms, deploy)"
    " VALUES (:team, :run, :plan, :revision, :cloud_account, :account, :pool, :state,"
    " :action, :target, CAST(:terms AS jsonb), CAST(:deploy AS jsonb)) ON CONFLICT DO NOTHING"
)
_SAVE = text(f"""
    WITH changed AS (
        UPDATE runs SET
            state = :state, reason = :reason, version = :version, fence = :fence, attempt = :attempt,
            worker_id = :worker, lease_until = now() + make_interval(secs => CAST(:lease AS float8)),
            cancel_reason = :cancel_reason, units_done = :done, units_total = :total,
            counts = CAST(:counts AS jsonb), updated_at = now(), deploy = CAST(:deploy AS jsonb),
            resume_at = now() + make_interval(secs => CAST(:resume AS float8)),
            approval_until = now() + make_interval(secs => CAST(:approval AS float8)),
            ended_at = CASE WHEN CAST(:final AS boolean) THEN now() END
        WHERE team_id = :team AND run_id = :run
        RETURNING team_id, run_id, terms, deploy, resume_at, approval_until
    ), event AS (
        INSERT INTO run_events
            (team_id, run_id, version, state, reason, attempt, units_done, units_total, counts, report,
            terms, deploy, resume_at, approval_until)
        SELECT team_id, run_id, :version, CAST(:state AS text), CAST(:reason AS text), CAST(:attempt AS int),
            CAST(:done AS int), CAST(:total AS int), CAST(:counts AS jsonb), CAST(:report AS jsonb),
            terms, deploy, resume_at, approval_until
        FROM changed
    )
    SELECT pg_notify('{EVENTS_CHANNEL}', '')
""")  # noqa: S608  a constant
_RENEW = text(
    "UPDATE runs SET lease_until = now() + make_interval(secs => CAST(:lease AS float8))"
    " WHERE team_id = :team AND run_id = :run"
)
_ACCOUNT = "team_id = :team AND cloud_account_id = :cloud_account"
# All rows are locked, so that none can be claimed meanwhile; runs of the onboard pool have nothing to purge.
_LOCK_ACCOUNT = text(
    "SELECT bool_or(ended_at IS NULL AND pool <> 'onboard') FROM"  # noqa: S608  constants
    f" (SELECT ended_at, pool FROM runs WHERE {_ACCOUNT} ORDER BY run_id FOR NO KEY UPDATE) AS locked"
)
_PURGE = (
    *(
        text(
            f"DELETE FROM {table} t USING runs r WHERE r.{_ACCOUNT}"  # noqa: S608  constants
            " AND (t.team_id, t.run_id) = (r.team_id, r.run_id)"
        )
        for table in ("run_keys", "chunks", "units", "resolved_findings", "suppression_marks", "run_documents")
    ),
    *(text(f"DELETE FROM {table} WHERE {_ACCOUNT}") for table in ("finding_life", "suppressions")),  # noqa: S608  constants
    text(f"UPDATE runs SET purged_at = coalesce(purged_at, now()) WHERE {_ACCOUNT}"),  # noqa: S608  constants
)
_LAPSED = text(f"""
    SELECT {_COLUMNS} FROM runs
    WHERE ended_at IS NULL AND (
        lease_until < now() AND cancel_reason IS NOT NULL AND state <> 'APPLYING'
        OR lease_until < now() - make_interval(secs => CAST(:abandon AS float8))
        OR resume_at < now() - make_interval(secs => CAST(:abandon AS float8))
        OR approval_until <= now()
    )
    ORDER BY coalesce(lease_until, resume_at, approval_until) LIMIT :limit FOR NO KEY UPDATE SKIP LOCKED
""")  # noqa: S608  constants


# Who has the lock on a target is the only one to look and then begin: the index runs_target would refuse a second too.
_LOCK_TARGET = text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))")
_OTHER_ON_TARGET = text("""
    SELECT run_id FROM runs WHERE team_id = :team AND target_id = :target AND run_id <> :run
        AND state IN ('APPLYING', 'OUTCOME_UNKNOWN')
""")
_DEPLOY = text(
    "SELECT terms::text AS terms, deploy::text AS deploy, resume_at, approval_until FROM runs"
    " WHERE team_id = :team AND run_id = :run"
)
_SET_RULES = text("UPDATE runs SET rules = CAST(:rules AS text[]) WHERE team_id = :team AND run_id = :run")


class RunRepository:
    """Runs that the connection's role and team may see."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def check_readable(self, team_id: UUID, run_id: UUID) -> None:
        """Raises a 404 Problem for a run the ledger has never heard of, 410 for one whose results were purged."""
        found = (await self._connection.execute(_READABLE, {"team": team_id, "run": run_id})).first()
        if found is None:
            raise not_found("run")
        if found.purged_at is not None:
            raise Problem(410, "results_purged", "The results of this run were purged, as was asked for.")

    async def lock_account(self, team_id: UUID, cloud_account_id: UUID) -> bool:
        """Locks all runs in the cloud account; whether an audit of them has not ended."""
        account = {"team": team_id, "cloud_account": cloud_account_id}
        return bool((await self._connection.execute(_LOCK_ACCOUNT, account)).scalar_one())

    async def purge_account(self, team_id: UUID, cloud_account_id: UUID) -> int:
        """Deletes keys and findings of all runs in the cloud account; how many runs there are."""
        account = {"team": team_id, "cloud_account": cloud_account_id}
        for statement in _PURGE:
            done = await self._connection.execute(statement, account)
        return done.rowcount

    async def lock(self, team_id: UUID, run_id: UUID) -> Run | None:
        """The run, nobody else's to change until the transaction ends."""
        row = (await self._connection.execute(_LOCK, {"team": team_id, "run": run_id})).one_or_none()
        return _run(row) if row else None

    async def lock_held(self, team_id: UUID, run_id: UUID) -> Run:
        """The run locked, for somebody who says that it is in its hands. Raises StaleFenceError."""
        run = await self.lock(team_id, run_id)
        if run is None:  # never claimed, so no fence of it was ever given out
            raise StaleFenceError
        return run

    async def lock_or_create(self, identity: RunIdentity) -> Run:
        """The run locked; made, QUEUED, when the ledger has never heard of it."""
        found = await self.lock(identity.team_id, identity.run_id)
        if found is not None:
            return found
        terms = identity.terms
        await self._connection.execute(
            _CREATE,
            {
                "action": None if terms is None else terms.action,
                "target": None if terms is None else terms.target_id,
                "terms": _json(terms),
                "deploy": None if terms is None else _json(DeployState()),
                "team": identity.team_id,
                "run": identity.run_id,
                "plan": identity.plan_id,
                "revision": identity.plan_revision,
                "cloud_account": identity.cloud_account_id,
                "account": identity.account_id,
                "pool": identity.pool,
                "state": RunState.QUEUED,
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
                "counts": _json(run.counts),
                "report": _json(run.report),
                "deploy": _json(run.deploy),
                "resume": run.resume_left,
                "approval": run.approval_left,
                "final": run.state.is_final,
            },
        )

    async def other_on_target(self, run: Run, target_id: UUID) -> UUID | None:
        """The run that may be changing this one's target now. Nobody else begins to until the transaction ends."""
        team_id, run_id = run.identity.team_id, run.identity.run_id
        await self._connection.execute(_LOCK_TARGET, {"key": f"target {team_id} {target_id}"})
        values = {"team": team_id, "run": run_id, "target": target_id}
        other: UUID | None = (await self._connection.execute(_OTHER_ON_TARGET, values)).scalar_one_or_none()
        return other

    async def deploy_view(self, team_id: UUID, run_id: UUID) -> DeployView | None:
        """What is special of a deploy; None where there is no such."""
        row = (await self._connection.execute(_DEPLOY, {"team": team_id, "run": run_id})).one_or_none()
        return None if row is None else view_of(row)

    async def renew_lease(self, run: Run) -> None:
        """Stores the lease alone: nothing that a reader of the feed would see."""
        await self._connection.execute(
            _RENEW, {"team": run.identity.team_id, "run": run.identity.run_id, "lease": run.lease_left}
        )

    async def lock_lapsed(self, *, abandon_after_seconds: float, limit: int) -> list[Run]:
        """Runs for the sweeper that no other replica's sweeper has in hand."""
        rows = await self._connection.execute(_LAPSED, {"abandon": abandon_after_seconds, "limit": limit})
        return [_run(row) for row in rows]


def _json(value: object) -> str | None:
    return None if value is None else msgspec.json.encode(value).decode()


def _run(row: Row[Any]) -> Run:
    identity = RunIdentity(
        team_id=row.team_id,
        run_id=row.run_id,
        plan_id=row.plan_id,
        plan_revision=row.plan_revision,
        cloud_account_id=row.cloud_account_id,
        account_id=row.account_id,
        pool=Pool(row.pool),
        terms=None if row.terms is None else msgspec.json.decode(row.terms, type=DeployTerms),
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
        deploy=None if row.deploy is None else msgspec.json.decode(row.deploy, type=DeployState),
        resume_left=row.resume_left,
        approval_left=row.approval_left,
    )
