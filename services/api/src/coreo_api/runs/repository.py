"""Queries on runs, as customers see and request them. What background tasks do to them is in coreo_api.dispatch."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from coreo_shared.ids import new_id

_COLUMNS = (
    "id, group_id, plan_id, plan_revision, cloud_account_id, trigger, state, reason, attempt, units_done, units_total, "
    "counts, version, cancel_requested, created_at, updated_at, ended_at, dispatched_at, expires_at, backup, "
    "results_gone, pool, action, region, target_id, holds_target, deploy, "
    "(SELECT t.stack_name FROM deploy_targets t "
    "WHERE (t.team_id, t.id) = (runs.team_id, runs.target_id)) AS stack_name"
)


@dataclass(frozen=True)
class Filter:
    """Which runs to list; None means any."""

    plan_id: UUID | None = None
    cloud_account_id: UUID | None = None
    group_id: UUID | None = None
    target_id: UUID | None = None
    states: Sequence[str] | None = None


@dataclass(frozen=True)
class Group:
    """A group of runs to be stored. `spec` is the job's AuditSpec or DeploySpec as JSON, `terms` those of deploys."""

    id: UUID
    team_id: UUID
    plan_id: UUID
    plan_revision: int
    trigger: str
    tick_at: datetime | None
    idempotency_key: str | None
    request_hash: bytes | None
    spec: str
    created_at: datetime
    backup: bool = True
    token_id: UUID | None = None
    action: str | None = None
    terms: str | None = None


@dataclass(frozen=True)
class NewRun:
    """A run of a group, to be stored. A deploy's has an action, a region and a target."""

    id: UUID
    cloud_account_id: UUID
    pool: str = "audit"
    action: str | None = None
    region: str | None = None
    target_id: UUID | None = None


async def insert_group(connection: AsyncConnection, group: Group) -> bool:
    """Stores a group; False when there is one for this tick or with this idempotency key."""
    statement = text(
        "INSERT INTO run_groups (team_id, id, plan_id, plan_revision, trigger, tick_at, idempotency_key, "
        "request_hash, spec, created_at, token_id, action, terms) VALUES (:team_id, :id, :plan_id, :plan_revision, "
        ":trigger, :tick_at, :idempotency_key, :request_hash, CAST(:spec AS jsonb), :created_at, :token_id, :action, "
        "CAST(:terms AS jsonb)) ON CONFLICT DO NOTHING RETURNING id"
    )
    return (await connection.execute(statement, vars(group))).first() is not None


async def insert_runs(connection: AsyncConnection, group: Group, runs: Sequence[NewRun], expires_at: datetime) -> None:
    """Stores a group's runs, and for each what the outbox has to deliver."""
    if not runs:
        return
    values = [
        vars(run)
        | {
            "team": group.team_id,
            "group": group.id,
            "plan": group.plan_id,
            "revision": group.plan_revision,
            "trigger": group.trigger,
            "now": group.created_at,
            "expires_at": expires_at,
            "backup": group.backup,
        }
        for run in runs
    ]
    await connection.execute(
        text(
            "INSERT INTO runs (team_id, id, group_id, plan_id, plan_revision, cloud_account_id, trigger, created_at, "
            "updated_at, expires_at, backup, pool, action, region, target_id) "
            "VALUES (:team, :id, :group, :plan, :revision, :cloud_account_id, :trigger, :now, :now, :expires_at, "
            ":backup, :pool, :action, :region, :target_id)"
        ),
        values,
    )
    jobs = [{"team": group.team_id, "run": run.id, "now": group.created_at} for run in runs]
    await connection.execute(
        text(
            "INSERT INTO outbox (team_id, id, kind, run_id, created_at, due_at) "
            "VALUES (:team, :run, 'job', :run, :now, :now)"
        ),
        jobs,
    )


async def find_group_by_key(connection: AsyncConnection, team_id: UUID, key: str) -> Row[Any] | None:
    """The group (id, request_hash) that was made with this idempotency key."""
    statement = text("SELECT id, request_hash FROM run_groups WHERE team_id = :team AND idempotency_key = :key")
    return (await connection.execute(statement, {"team": team_id, "key": key})).first()


async def find(connection: AsyncConnection, team_id: UUID, run_id: UUID, *, lock: bool = False) -> Row[Any] | None:
    """A run by its id; locked against other changes if asked."""
    statement = text(
        f"SELECT {_COLUMNS} FROM runs WHERE team_id = :team AND id = :id {'FOR UPDATE' if lock else ''}"  # noqa: S608  constants
    )
    return (await connection.execute(statement, {"team": team_id, "id": run_id})).first()


async def list_page(
    connection: AsyncConnection, team_id: UUID, wanted: Filter, before: UUID, limit: int
) -> Sequence[Row[Any]]:
    """Runs, newest first."""
    conditions = {
        "plan_id = :plan_id": wanted.plan_id,
        "cloud_account_id = :cloud_account_id": wanted.cloud_account_id,
        "group_id = :group_id": wanted.group_id,
        "target_id = :target_id": wanted.target_id,
        "state = ANY(CAST(:states AS text[]))": wanted.states,
    }
    chosen = "".join(f" AND {condition}" for condition, value in conditions.items() if value is not None)
    values = {name: value for name, value in vars(wanted).items() if value is not None}
    statement = text(
        f"SELECT {_COLUMNS} FROM runs WHERE team_id = :team AND id < :before{chosen} ORDER BY id DESC LIMIT :limit"  # noqa: S608  constants
    )
    return (await connection.execute(statement, values | {"team": team_id, "before": before, "limit": limit})).all()


async def count_active(
    connection: AsyncConnection,
    team_id: UUID,
    *,
    plan_id: UUID | None = None,
    cloud_account_id: UUID | None = None,
    beside: Sequence[UUID] = (),
) -> int:
    """How many runs of the plan or in the cloud account have not ended, without those of `beside`."""
    statement = text(
        "SELECT count(*) FROM runs WHERE team_id = :team AND ended_at IS NULL "
        "AND (plan_id = CAST(:plan AS uuid) OR cloud_account_id = CAST(:account AS uuid)) "
        "AND NOT id = ANY(CAST(:beside AS uuid[]))"
    )
    values = {"team": team_id, "plan": plan_id, "account": cloud_account_id, "beside": list(beside)}
    return int((await connection.execute(statement, values)).scalar_one())


async def active_in(connection: AsyncConnection, team_id: UUID, cloud_account_id: UUID) -> Sequence[UUID]:
    """Runs in the cloud account that have not ended, and whose end nobody has asked for."""
    statement = text(
        "SELECT id FROM runs WHERE team_id = :team AND cloud_account_id = :account AND ended_at IS NULL "
        "AND NOT cancel_requested ORDER BY id"
    )
    return (await connection.execute(statement, {"team": team_id, "account": cloud_account_id})).scalars().all()


async def cancel_unstarted(
    connection: AsyncConnection, team_id: UUID, cloud_account_id: UUID, reason: str, now: datetime
) -> Sequence[UUID]:
    """Asks for the end of the account's deploys that no worker has, and that changed nothing; their ids.

    Those are deploys that wait for their turn, or for people.
    """
    statement = text(
        "SELECT id FROM runs WHERE team_id = :team AND cloud_account_id = :account AND ended_at IS NULL "
        "AND pool = 'deploy' AND (state = 'AWAITING_APPROVAL' OR (state = 'QUEUED' AND NOT holds_target)) "
        "ORDER BY id FOR UPDATE"
    )
    rows = (await connection.execute(statement, {"team": team_id, "account": cloud_account_id})).scalars().all()
    for run_id in rows:
        await request_cancel(connection, team_id, run_id, reason, now)
    return rows


async def request_cancel(connection: AsyncConnection, team_id: UUID, run_id: UUID, reason: str, now: datetime) -> None:
    """Notes that somebody wants the run to end, and what the outbox has to deliver."""
    values = {"team": team_id, "id": run_id, "reason": reason, "now": now}
    await connection.execute(
        text("UPDATE runs SET cancel_requested = true, updated_at = :now WHERE team_id = :team AND id = :id"), values
    )
    await connection.execute(
        text(
            "INSERT INTO outbox (team_id, id, kind, run_id, reason, created_at, due_at) "
            "VALUES (:team, :outbox_id, 'cancel', :id, :reason, :now, :now) "
            "ON CONFLICT (team_id, run_id, kind) DO NOTHING"
        ),
        values | {"outbox_id": new_id()},
    )


async def targets_of(connection: AsyncConnection, team_id: UUID, plan_id: UUID) -> Sequence[Row[Any]]:
    """The plan's cloud accounts (id, name, state, account_id), in the plan's order."""
    statement = text(
        "SELECT c.id, c.name, c.state, c.account_id FROM plan_accounts p "
        "JOIN cloud_accounts c ON (c.team_id, c.id) = (p.team_id, p.cloud_account_id) "
        "WHERE p.team_id = :team AND p.plan_id = :plan ORDER BY p.position"
    )
    return (await connection.execute(statement, {"team": team_id, "plan": plan_id})).all()


async def account_of(connection: AsyncConnection, team_id: UUID, cloud_account_id: UUID) -> Row[Any]:
    """A run's cloud account (account_id, state), deleted ones too."""
    statement = text("SELECT account_id, state FROM cloud_accounts WHERE team_id = :team AND id = :id")
    return (await connection.execute(statement, {"team": team_id, "id": cloud_account_id})).one()
