"""What a deploy's worker says beside what all workers do; and what people decide about it, as the api passes it on."""

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import APIRouter, Depends, Response

from coreo_results.auth import ByActor, RunToken, TeamToken
from coreo_results.bodies import check_text, json_answer, json_body
from coreo_results.ledger.deploying import Deploys
from coreo_results.services import Wired
from coreo_shared.contracts.base import encode_json
from coreo_shared.contracts.deploys import (
    MAX_CHECKPOINT_BYTES,
    MAX_RESUME_SECONDS,
    ApproveRun,
    BeginApply,
    Checkpoint,
    ParkRun,
    ReconcileRun,
    RefuseCancel,
    RejectRun,
    SettleRun,
)
from coreo_shared.contracts.results import RunAnswer
from coreo_shared.contracts.terms import AccessAction
from coreo_shared.web import StrictRoute
from coreo_shared.web.problems import invalid

router = APIRouter(prefix="/internal/v1/runs/{run_id}", route_class=StrictRoute)
_MAX_REASON = 2_000
_TEXTS = {"author": 100, "reason": _MAX_REASON}  # of what people decide
T = TypeVar("T")


@router.post("/park")
async def park(
    capability: RunToken, word: Annotated[ParkRun, Depends(json_body(ParkRun))], services: Wired
) -> Response:
    """A contracts.results.RunAnswer; 409 stale_fence, run_over, no_preview or not_possible."""
    if (word.resume_seconds is None) != word.await_approval:
        raise invalid("body.resume_seconds", "expected either this or await_approval")
    if word.resume_seconds is not None and not 0 <= word.resume_seconds <= MAX_RESUME_SECONDS:
        raise invalid("body.resume_seconds", f"expected 0 to {MAX_RESUME_SECONDS:g}")
    if word.reason is not None:
        check_text("body.reason", word.reason, _MAX_REASON)
    check_checkpoint(word.checkpoint)
    return json_answer(await services.deploys.park(capability.team_id, capability.run_id, word))


@router.post("/begin-apply")
async def begin_apply(
    capability: RunToken, word: Annotated[BeginApply, Depends(json_body(BeginApply))], services: Wired
) -> Response:
    """A contracts.results.RunAnswer; 409 stale_fence, run_over, not_approved, cancel_requested, target_busy or
    not_possible."""
    check_checkpoint(word.checkpoint)
    return json_answer(await services.deploys.begin_apply(capability.team_id, capability.run_id, word))


@router.post("/refuse-cancel")
async def refuse_cancel(
    capability: RunToken, word: Annotated[RefuseCancel, Depends(json_body(RefuseCancel))], services: Wired
) -> Response:
    """A contracts.results.RunAnswer; 409 stale_fence, run_over or not_possible."""
    check_text("body.reason", word.reason, _MAX_REASON)
    return json_answer(await services.deploys.refuse_cancel(capability.team_id, capability.run_id, word))


def _add_decision(path: str, kind: type[T], decide: Callable[[Deploys, UUID, UUID, T], Awaitable[RunAnswer]]) -> None:
    """Adds the route of what a person decides about a run, told as `kind`; it answers a contracts.results.RunAnswer."""

    async def endpoint(
        run_id: UUID, team_id: TeamToken, word: Annotated[Any, Depends(json_body(kind))], services: Wired
    ) -> Response:
        for name, longest in _TEXTS.items():
            if hasattr(word, name):
                check_text(f"body.{name}", getattr(word, name), longest)
        return json_answer(await decide(services.deploys, team_id, run_id, word))

    router.post(path, name=path.strip("/"))(endpoint)


# 409 not_awaiting_approval or approval_expired, 412 hash_differs, 403 requester_may_not_approve
_add_decision("/approve", ApproveRun, Deploys.approve)
_add_decision("/reject", RejectRun, Deploys.reject)  # 409 not_awaiting_approval
_add_decision("/reconcile", ReconcileRun, Deploys.reconcile)  # 409 not_unknown
_add_decision("/settle", SettleRun, Deploys.settle)  # 409 not_unknown


@router.get("/deploy")
async def show_deploy(run_id: UUID, team_id: TeamToken, actor: ByActor, services: Wired) -> Response:
    """A contracts.deploys.DeployStatus."""
    status = await services.deploys.status(team_id, run_id)
    await services.access.read(team_id, actor, AccessAction.READ_DOCUMENT, run_id)
    return json_answer(status)


def check_checkpoint(checkpoint: Checkpoint) -> None:
    """Refuses what no worker leaves for the next. Raises a 422 Problem."""
    if len(encode_json(checkpoint)) > MAX_CHECKPOINT_BYTES:
        raise invalid("body.checkpoint", f"may have {MAX_CHECKPOINT_BYTES} bytes at most")
