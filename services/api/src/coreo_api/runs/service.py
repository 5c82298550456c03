"""What can be done with runs that are there."""

from typing import Any
from uuid import UUID

from sqlalchemy import Row

from coreo_api import signals
from coreo_api.pages import LAST
from coreo_api.runs import repository
from coreo_api.runs.repository import Filter
from coreo_api.runs.schemas import CountsView, RunGroupView, RunView
from coreo_api.teams.session import Session
from coreo_shared.contracts.terms import RunState
from coreo_shared.web import Problem
from coreo_shared.web.problems import not_found

MAX_GROUP = 500


def view(row: Row[Any]) -> RunView:
    """The run as it is answered."""
    values = row._asdict()
    return RunView(**values | {"counts": CountsView.model_validate(values["counts"])})


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
    if row.cancel_requested:
        return row
    reason = "Canceled on request."
    await repository.request_cancel(session.connection, session.team_id, run_id, reason, session.now)
    await signals.announce(session.connection, signals.OUTBOX)
    await signals.announce(session.connection, signals.RUNS, run_id)
    return await find(session, run_id)
