"""Workers report with a fleet token; the api reads the list with a service token for the feed, and so can operators,
who see there too how the background goes."""

from typing import Annotated

from fastapi import APIRouter, Depends, Response

from coreo_results.auth import FeedToken, WorkerToken
from coreo_results.bodies import check_text, json_answer, json_body
from coreo_results.services import Wired
from coreo_shared.contracts.results import RegisterWorker
from coreo_shared.contracts.terms import Pool
from coreo_shared.web import StrictRoute
from coreo_shared.web.problems import invalid

router = APIRouter(prefix="/internal/v1/workers", route_class=StrictRoute)
keepers = APIRouter(prefix="/internal/v1/keepers", route_class=StrictRoute)
_MAX_RUNS = 1_000
_MAX_CODES = 100
_MAX_SEALING_KEY = 4_096  # a JWS; the api judges it


@router.post("")
async def report_worker(
    token: WorkerToken, worker: Annotated[RegisterWorker, Depends(json_body(RegisterWorker))], services: Wired
) -> Response:
    """A contracts.results.RegisterAnswer."""
    if worker.worker_id != token.worker_id:
        raise invalid("body.worker_id", "not the worker that the token names")
    if worker.pool != token.pool:
        raise invalid("body.pool", "not the pool that the token names")
    check_text("body.worker_id", worker.worker_id, 256)
    check_text("body.version", worker.version, 64)
    check_text("body.host", worker.host, 256)
    if len(worker.current_runs) > _MAX_RUNS:
        raise invalid("body.current_runs", f"at most {_MAX_RUNS}")
    if len(worker.rejected_jobs) > _MAX_CODES:
        raise invalid("body.rejected_jobs", f"at most {_MAX_CODES}")
    for code in worker.rejected_jobs:
        check_text("body.rejected_jobs", code, 64)
    if worker.sealing_key is not None:
        if worker.pool is not Pool.ONBOARD:
            raise invalid("body.sealing_key", "only workers of the onboard pool have one")
        check_text("body.sealing_key", worker.sealing_key, _MAX_SEALING_KEY)
    return json_answer(await services.fleet.report(worker))


@keepers.get("")
async def list_keepers(_feed: FeedToken, services: Wired) -> Response:
    """{"keepers": [...]}: rounds.RoundState of those that work for teams in this replica's background."""
    found = [keeper for keeper in (services.backup_keeper, services.exclusion_keeper) if keeper is not None]
    return json_answer({"keepers": [keeper.state for keeper in found]})


@router.get("")
async def list_workers(_feed: FeedToken, services: Wired) -> Response:
    """{"workers": [...]}, each with `last_seen`."""
    return json_answer({"workers": await services.fleet.workers()})
