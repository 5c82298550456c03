"""A stack's queue: who is in it, why each waits, and another order."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row

from coreo_api import signals
from coreo_api.accounts.states import AccountState
from coreo_api.deploys import targets
from coreo_api.deploys.schemas import QueuedRunView, QueueView, TargetView
from coreo_api.teams.session import Session
from coreo_shared.contracts.terms import RunState
from coreo_shared.web import Problem
from coreo_shared.web.problems import not_found

_CHANGES = frozenset({"apply", "destroy"})


async def find(session: Session, target_id: UUID) -> Row[Any]:
    """The team's target. Raises Problem."""
    row = await targets.find(session.connection, session.team_id, target_id)
    if row is None:
        raise not_found("deploy target")
    return row


async def show(session: Session, target_id: UUID) -> QueueView:
    """The target with its queue. Raises Problem."""
    target = TargetView.model_validate(await find(session, target_id))
    rows = sorted(await targets.queue_of(session.connection, session.team_id, target_id), key=_place)
    return QueueView(target=target, runs=[_view(row, rows) for row in rows])


async def reorder(session: Session, target_id: UUID, run_ids: Sequence[UUID]) -> QueueView:
    """The target's queue in another order. Raises Problem when others can be moved than were named."""
    await find(session, target_id)
    rows = await targets.queue_of(session.connection, session.team_id, target_id, lock=True)
    movable = [row for row in rows if _is_movable(row)]
    if sorted(run_ids) != sorted(row.id for row in movable):
        detail = (
            f"Name the {len(movable)} runs of this queue that can be moved, each once: those that were never handed to "
            "a worker. GET …/queue says which they are; they may have changed since you looked."
        )
        raise Problem(409, "queue_changed", detail)
    positions = [row.position for row in movable]
    await targets.set_positions(session.connection, session.team_id, run_ids, positions)
    await signals.announce(session.connection, signals.OUTBOX)
    return await show(session, target_id)


def _place(row: Row[Any]) -> tuple[bool, int]:
    """As coreo_api.dispatch.turns has it: who was handed out once is before who was not."""
    return row.dispatched_at is None and not row.holds_target, row.position


def _is_movable(row: Row[Any]) -> bool:
    return row.state == RunState.QUEUED and row.dispatched_at is None and not row.holds_target


def _view(row: Row[Any], queue: Sequence[Row[Any]]) -> QueuedRunView:
    return QueuedRunView(
        run_id=row.id,
        plan_id=row.plan_id,
        cloud_account_id=row.cloud_account_id,
        action=row.action,
        state=row.state,
        holds_target=row.holds_target,
        movable=_is_movable(row),
        waits_for=waits_for(row, queue),
        created_at=row.created_at,
    )


def waits_for(row: Row[Any], queue: Sequence[Row[Any]]) -> str | None:
    """Why a run of the queue does not go on by itself now, in words; None for one that does."""
    words = _OF_STATE.get(RunState(row.state))
    if words is not None or row.holds_target:
        return words
    if row.cancel_requested:
        return "It is being canceled."
    holder = next((other for other in queue if other.holds_target), None)
    if holder is not None:
        unknown = holder.state == RunState.OUTCOME_UNKNOWN
        more = ", whose outcome is unknown: GET /v1/runs/{id}/outcome of it says what to do" if unknown else ""
        return f"It is the turn of run {holder.id} ({holder.action}){more}."
    before = [other for other in queue if _place(other) < _place(row)]
    if row.action not in _CHANGES:
        pending = any(other.state == RunState.AWAITING_APPROVAL for other in before)
        before = [other for other in before if not (pending and other.action in _CHANGES)]
    if before:
        state = "waits for approval" if before[0].state == RunState.AWAITING_APPROVAL else "is before it"
        return f"Run {before[0].id} ({before[0].action}) {state}."
    if row.account_state != AccountState.CONNECTED:
        return f"Its cloud account is {row.account_state}: runs go on where the role is proven to work."
    return None


_OF_STATE = {
    RunState.AWAITING_APPROVAL: "People must approve it.",
    RunState.OUTCOME_UNKNOWN: "Nobody can say what became of it: GET /v1/runs/{id}/outcome says what to do.",
}
