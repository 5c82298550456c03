"""What can be done with runs that are there."""

from typing import Any
from uuid import UUID

from sqlalchemy import Row

from coreo_api import signals
from coreo_api.pages import LAST
from coreo_api.runs import repository
from coreo_api.runs.repository import Filter
from coreo_api.runs.schemas import CountsView, DeployRunView, RunGroupView, RunView
from coreo_api.teams.session import Session
from coreo_shared.contracts.terms import Pool, RunState
from coreo_shared.web import Problem
from coreo_shared.web.problems import not_found

DEPLOY = Pool.DEPLOY.value
MAX_GROUP = 500


def view(row: Row[Any]) -> RunView:
    """The run as it is answered."""
    counts = CountsView.model_validate(row.counts)
    deploy = None if row.pool != DEPLOY else _deploy_view(row)
    return RunView(**row._asdict() | {"kind": row.pool, "counts": counts, "deploy": deploy})


def _deploy_view(row: Row[Any]) -> DeployRunView:
    """What the ledger said of it last, if anything."""
    told: dict[str, Any] = row.deploy or {}
    resume = told.get("resume")
    return DeployRunView(
        action=row.action,
        target_id=row.target_id,
        region=row.region,
        stack_name=row.stack_name,
        holds_target=row.holds_target,
        resume_at=None if resume is None else resume["at"],
        approval=told.get("approval"),
        preview_hash=told.get("preview_hash"),
        approved_by=told.get("approved_by", []),
        cancel_refused=told.get("cancel_refused"),
        no_change=told.get("no_change", False),
        documents=told.get("documents", {}),
    )


async def find(session: Session, run_id: UUID, *, lock: bool = False) -> Row[Any]:
    """The team's run. Raises Problem."""
    row = await repository.find(session.connection, session.team_id, run_id, lock=lock)
    if row is None:
        raise not_found("run")
    return row


async def show_group(session: Session, group_id: UUID) -> RunGroupView:
    """A group with its runs."""
    wanted = Filter(group_id=group_id)
    rows = await repository.list_page(session.connection, session.team_id, wanted, LAST, MAX_GROUP)
    return RunGroupView(group_id=group_id, runs=[view(row) for row in rows])


async def cancel(session: Session, run_id: UUID) -> Row[Any]:
    """The run, marked for its end. Asked twice is asked once. Raises Problem."""
    row = await find(session, run_id, lock=True)
    if RunState(row.state).is_final:
        raise Problem(409, "run_over", f"This run has ended already: it is {row.state}.")
    if row.state == RunState.OUTCOME_UNKNOWN:
        detail = (
            "Nobody can say what became of this run, so there is nothing to cancel. GET /v1/runs/{id}/outcome says "
            "what to check; then reconcile or settle it."
        )
        raise Problem(409, "outcome_unknown", detail)
    if row.cancel_requested:
        return row
    reason = "Canceled on request."
    await repository.request_cancel(session.connection, session.team_id, run_id, reason, session.now)
    await signals.announce(session.connection, signals.OUTBOX)
    await signals.announce(session.connection, signals.RUNS, run_id)
    return await find(session, run_id)
