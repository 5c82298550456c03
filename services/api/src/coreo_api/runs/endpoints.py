"""Routes on runs."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Header, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import StringConstraints

from coreo_api.context import InContext
from coreo_api.pages import Page, page_of
from coreo_api.runs import repository, requests, service, stream
from coreo_api.runs.repository import Filter
from coreo_api.runs.schemas import RunGroupView, RunQuery, RunView, StartRun
from coreo_api.teams.session import TeamCaller, TeamSession
from coreo_shared.contracts.terms import RunState
from coreo_shared.web import StrictRoute

router = APIRouter(prefix="/v1", tags=["runs"], route_class=StrictRoute)
IdempotencyKey = Annotated[
    Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[!-~]+$")] | None,
    Header(description="Any text of your choice, fresh for each run you want: sent again, it starts nothing new."),
]
LastEventId = Annotated[
    Annotated[str, StringConstraints(pattern=stream.POSITION)] | None,
    Header(description="The `id` of the last event seen; what came before is left out."),
]


@router.post("/plans/{plan_id}/runs", status_code=202)
async def start_runs(
    session: TeamSession,
    context: InContext,
    plan_id: UUID,
    body: Annotated[StartRun | None, Body()] = None,
    idempotency_key: IdempotencyKey = None,
) -> RunGroupView:
    """Start the plan now: a run for each of its cloud accounts, and region if it is a deploy plan.

    What is accepted here is run, or ends with a reason.
    """
    group_id = await requests.request_runs(session, context, plan_id, body or StartRun(), idempotency_key)
    return await service.show_group(session, group_id)


@router.get("/runs")
async def list_runs(session: TeamSession, query: Annotated[RunQuery, Query()]) -> Page[RunView]:
    """The team's runs, newest first."""
    states = [str(each) for each in query.state] or None
    wanted = Filter(query.plan_id, query.cloud_account_id, query.group_id, query.target_id, states)
    rows = await repository.list_page(session.connection, session.team_id, wanted, query.before, query.limit + 1)
    return page_of(rows, query.limit, service.view)


@router.get("/runs/{run_id}")
async def show_run(session: TeamSession, run_id: UUID) -> RunView:
    """One run."""
    return service.view(await service.find(session, run_id))


@router.post("/runs/{run_id}/cancel", status_code=202)
async def cancel_run(session: TeamSession, run_id: UUID) -> RunView:
    """Ask for the run's end. One that no worker has is ended at once; a worker ends its run within seconds."""
    return service.view(await service.cancel(session, run_id))


@router.get(
    "/runs/{run_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {"text/event-stream": {}},
            "description": "Events `run`, the run as JSON; of a deploy also `stack`, a stack event. Ends with the run.",
        },
        204: {"description": "The run has ended, and Last-Event-ID was its last event."},
    },
)
async def follow_run(
    caller: TeamCaller, context: InContext, run_id: UUID, last_event_id: LastEventId = None
) -> Response:
    """Follow a run: server-sent events, each the run as it then stands, with a comment every 15 s to keep it open."""
    after = None if last_event_id is None else stream.Position.of(last_event_id)
    async with caller.session() as session:
        row = await service.find(session, run_id)
    if after is not None and row.version <= after.version and RunState(row.state).is_final:
        return Response(status_code=204)  # a browser's EventSource then stops asking
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(
        stream.events(context, caller, run_id, after=after), media_type="text/event-stream", headers=headers
    )
