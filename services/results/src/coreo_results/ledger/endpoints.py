"""What a run's worker says, with the run's capability; and the api's wish to end a run, with a service token."""

from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Depends, Response

from coreo_results.auth import RunToken, TeamToken
from coreo_results.bodies import check_text, check_texts, json_answer, json_body
from coreo_results.chunks.validation import check_rules
from coreo_results.ledger.run import RunIdentity
from coreo_results.services import Wired
from coreo_shared.contracts.results import CancelRun, ClaimRequest, FinishRun, ReleaseRun, RunHeartbeat
from coreo_shared.contracts.terms import Pool
from coreo_shared.web import Problem, StrictRoute
from coreo_shared.web.problems import invalid

router = APIRouter(prefix="/internal/v1/runs/{run_id}", route_class=StrictRoute)
accounts = APIRouter(prefix="/internal/v1/cloud-accounts/{cloud_account_id}", route_class=StrictRoute)
_MAX_REASON = 2_000
_MAX_UNITS = 1_000_000
_MAX_CLAIM_BYTES = 1024 * 1024  # all rules of the catalogue, and those of the team
_MAX_FINISH_BYTES = 4 * 1024 * 1024  # the report of an organization with ten thousand accounts


@router.post("/claim")
async def claim(
    capability: RunToken,
    request: Annotated[ClaimRequest, Depends(json_body(ClaimRequest, max_bytes=_MAX_CLAIM_BYTES))],
    services: Wired,
) -> Response:
    """A contracts.results.ClaimAnswer; 409 run_busy, run_over or job_superseded."""
    if (capability.deploy is not None) != (capability.pool is Pool.DEPLOY):
        raise Problem(403, "wrong_terms", "Runs of the deploy pool have terms in their capability, and no others.")
    check_text("body.worker_id", request.worker_id, 256)
    check_rules("body.rules", request.rules or [])
    identity = RunIdentity.from_capability(capability)
    return json_answer(await services.ledger.claim(identity, request, capability.ticket))


@router.post("/heartbeat")
async def heartbeat(
    capability: RunToken, beat: Annotated[RunHeartbeat, Depends(json_body(RunHeartbeat))], services: Wired
) -> Response:
    """A contracts.results.HeartbeatAnswer; 409 stale_fence or run_over."""
    _check_units(beat.units_total)
    return json_answer(await services.ledger.heartbeat(capability.team_id, capability.run_id, beat))


@router.post("/finish")
async def finish(
    capability: RunToken,
    end: Annotated[FinishRun, Depends(json_body(FinishRun, max_bytes=_MAX_FINISH_BYTES))],
    services: Wired,
) -> Response:
    """A contracts.results.RunAnswer; 409 stale_fence, run_over or not_applying."""
    _check_units(end.units_total)
    _check_report(capability.pool, end)
    if end.reason is not None:
        check_text("body.reason", end.reason, _MAX_REASON)
    elif end.outcome not in {"completed", "canceled"}:
        raise invalid("body.reason", "say why, in a sentence a person can act on")
    return json_answer(await services.ledger.finish(capability.team_id, capability.run_id, end))


@router.post("/release")
async def release(
    capability: RunToken, back: Annotated[ReleaseRun, Depends(json_body(ReleaseRun))], services: Wired
) -> Response:
    """A contracts.results.RunAnswer; 409 stale_fence or run_over."""
    check_text("body.reason", back.reason, _MAX_REASON)
    return json_answer(await services.ledger.release(capability.team_id, capability.run_id, back))


@router.post("/cancel")
async def cancel(
    run_id: UUID, team_id: TeamToken, wish: Annotated[CancelRun, Depends(json_body(CancelRun))], services: Wired
) -> Response:
    """A contracts.results.RunAnswer: the run as it stands after the wish."""
    check_text("body.reason", wish.reason, _MAX_REASON)
    check_text("body.account_id", wish.account_id, 12)
    return json_answer(await services.ledger.cancel(RunIdentity.from_cancel(team_id, run_id, wish), wish))


@accounts.delete("/results", status_code=204)
async def purge(cloud_account_id: UUID, team_id: TeamToken, services: Wired) -> None:
    """Destroys all results of the cloud account's runs; 409 runs_at_work. Doing it again does no harm."""
    await services.ledger.purge(team_id, cloud_account_id)


def _check_report(pool: Pool, end: FinishRun) -> None:
    if end.report is not None and (pool is not Pool.ONBOARD or end.outcome != "completed"):
        raise invalid("body.report", "only a completed run of the onboard pool has one")
    if end.report is None and pool is Pool.ONBOARD and end.outcome == "completed":
        raise invalid("body.report", "missing: a completed run of the onboard pool has one")
    check_texts("body.report", msgspec.to_builtins(end.report))


def _check_units(units_total: int | None) -> None:
    if units_total is not None and not 0 <= units_total <= _MAX_UNITS:
        raise invalid("body.units_total", f"expected 0 to {_MAX_UNITS}")
