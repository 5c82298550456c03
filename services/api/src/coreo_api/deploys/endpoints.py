"""Routes on deploy runs and their targets."""

import re
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Response

from coreo_api.context import InContext
from coreo_api.deploys import queues, service, targets
from coreo_api.deploys.documents import DriftView, FailureView, OutputsView, PreviewView, StackEventPageView
from coreo_api.deploys.schemas import (
    DecidedView,
    OutcomeView,
    QueueView,
    Reject,
    Reorder,
    Settle,
    StackEventQuery,
    TargetQuery,
    TargetView,
)
from coreo_api.findings.passing import unless_untaken
from coreo_api.pages import Page, page_of
from coreo_api.teams.session import ApproverCaller, TeamCaller, TeamSession
from coreo_shared.contracts import deploys
from coreo_shared.contracts.base import encode_json
from coreo_shared.web import Problem, StrictRoute
from coreo_shared.web.problems import invalid

router = APIRouter(prefix="/v1", tags=["deploys"], route_class=StrictRoute)
_HASH = re.compile(r'"([0-9a-f]{64})"')
IfMatch = Annotated[
    str | None, Header(description="The `hash` of the preview that is approved, in quotes: the ETag of /preview.")
]


@router.get("/deploy-targets")
async def list_targets(session: TeamSession, query: Annotated[TargetQuery, Query()]) -> Page[TargetView]:
    """The stacks that runs were about, newest first."""
    rows = await targets.list_page(
        session.connection,
        session.team_id,
        stack_name=query.stack_name,
        busy=query.busy,
        before=query.before,
        limit=query.limit + 1,
    )
    return page_of(rows, query.limit, TargetView.model_validate)


@router.get("/deploy-targets/{target_id}")
async def show_target(session: TeamSession, target_id: UUID) -> TargetView:
    """A stack, and the run whose turn it is."""
    return TargetView.model_validate(await queues.find(session, target_id))


@router.get("/deploy-targets/{target_id}/queue")
async def show_queue(session: TeamSession, target_id: UUID) -> QueueView:
    """The runs of a stack that have not ended, in their order, and what each waits for."""
    return await queues.show(session, target_id)


@router.post("/deploy-targets/{target_id}/queue/reorder")
async def reorder_queue(session: TeamSession, target_id: UUID, body: Reorder) -> QueueView:
    """Give the waiting runs of a stack another order. Who was handed to a worker once keeps its place."""
    return await queues.reorder(session, target_id, body.run_ids)


@router.get("/runs/{run_id}/preview", response_model=PreviewView)
async def show_preview(caller: TeamCaller, context: InContext, run_id: UUID) -> Response:
    """What an apply or destroy would do. Its ETag is what an approval sends as If-Match."""
    await service.asked(caller, run_id)
    preview = await service.read(context, caller, run_id, "preview", deploys.Preview)
    return _json(preview, headers={"ETag": f'"{preview.hash}"', "Cache-Control": "no-store"})


@router.post("/runs/{run_id}/approve", status_code=202, response_model=DecidedView)
async def approve_run(caller: ApproverCaller, context: InContext, run_id: UUID, if_match: IfMatch = None) -> Response:
    """Approve what the preview shows, and nothing else: If-Match names it by its hash. Takes the scope `approve`."""
    asked = await service.asked(caller, run_id)
    if if_match is None:
        detail = 'Send If-Match: "HASH" with the hash of the preview that you have seen (GET /v1/runs/{id}/preview).'
        raise Problem(428, "if_match_missing", detail, title="If-Match is needed")
    found = _HASH.fullmatch(if_match.strip())
    if found is None:
        raise invalid("header.if-match", 'expected one hash in quotes, as "0f…", and neither * nor a list')
    return _json(await service.approve(context, caller, asked, found[1]), 202)


@router.post("/runs/{run_id}/reject", status_code=202, response_model=DecidedView)
async def reject_run(caller: ApproverCaller, context: InContext, run_id: UUID, body: Reject) -> Response:
    """End a run that waits for approval. Takes the scope `approve`."""
    found = await service.asked(caller, run_id)
    word = deploys.RejectRun(approver_id=caller.token_id, author=found.author, reason=body.reason)
    return _json(await service.tell(context, caller, run_id, "reject", word), 202)


@router.get("/runs/{run_id}/stack-events", response_model=StackEventPageView)
async def list_stack_events(
    caller: TeamCaller, context: InContext, run_id: UUID, query: Annotated[StackEventQuery, Query()]
) -> Response:
    """What CloudFormation said while the run changed the stack, oldest first. /events streams them."""
    await service.asked(caller, run_id)
    page = deploys.StackEventPage(events=[], next=query.after, total=0)
    with unless_untaken():
        page = await context.results.stack_events(caller.asker, run_id, after=query.after, limit=query.limit)
    return _json(page)


@router.get("/runs/{run_id}/outputs", response_model=OutputsView)
async def show_outputs(caller: TeamCaller, context: InContext, run_id: UUID) -> Response:
    """The outputs of the stack, as an apply left it."""
    await service.asked(caller, run_id)
    return _json(await service.read(context, caller, run_id, "outputs", deploys.Outputs))


@router.get("/runs/{run_id}/drift", response_model=DriftView)
async def show_drift(caller: TeamCaller, context: InContext, run_id: UUID) -> Response:
    """What a drift check found, resource by resource."""
    await service.asked(caller, run_id)
    return _json(await service.read(context, caller, run_id, "drift", deploys.Drift))


@router.get("/runs/{run_id}/failure", response_model=FailureView)
async def show_failure(caller: TeamCaller, context: InContext, run_id: UUID) -> Response:
    """Why a deploy failed or was rolled back: the first cause, in AWS's own words."""
    await service.asked(caller, run_id)
    return _json(await service.read(context, caller, run_id, "failure", deploys.Failure))


@router.get("/runs/{run_id}/outcome")
async def show_outcome(caller: TeamCaller, context: InContext, run_id: UUID) -> OutcomeView:
    """What to check when nobody can say what became of a run (OUTCOME_UNKNOWN), and what to do then."""
    return await service.show_outcome(context, caller, run_id)


@router.post("/runs/{run_id}/reconcile", status_code=202, response_model=DecidedView)
async def reconcile_run(caller: TeamCaller, context: InContext, run_id: UUID) -> Response:
    """Have a worker look again what became of a run whose outcome is unknown. It changes nothing."""
    found = await service.asked(caller, run_id)
    word = deploys.ReconcileRun(author=found.author)
    return _json(await service.tell(context, caller, run_id, "reconcile", word), 202)


@router.post("/runs/{run_id}/settle", response_model=DecidedView)
async def settle_run(caller: ApproverCaller, context: InContext, run_id: UUID, body: Settle) -> Response:
    """Say how a run ended whose outcome is unknown; its stack is free then. Takes the scope `approve`."""
    found = await service.asked(caller, run_id)
    word = deploys.SettleRun(outcome=body.outcome, author=found.author, reason=body.reason)
    return _json(await service.tell(context, caller, run_id, "settle", word))


def _json(answer: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(encode_json(answer), status, headers=headers, media_type="application/json")
