"""Routes on a run's findings. They are kept, encrypted, by the results service; here they only pass through."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response

from coreo_api.context import InContext
from coreo_api.findings.schemas import FindingPageView, FindingQuery, RuleCountsPage
from coreo_api.results import ResultsRefusedError, ResultsUnavailableError
from coreo_api.runs import service as runs
from coreo_api.teams.session import Caller, TeamCaller
from coreo_shared.contracts.base import encode_json
from coreo_shared.contracts.results import FindingPage
from coreo_shared.observability.logs import get_logger
from coreo_shared.web import FieldError, Problem, StrictRoute

router = APIRouter(prefix="/v1/runs/{run_id}", tags=["findings"], route_class=StrictRoute)
_RETRY_SECONDS = 5
_GONE = 410
_PURGED = "The findings of this run were destroyed, as somebody of your team asked when the account was disconnected."
_log = get_logger(__name__)


@router.get("/findings", response_model=FindingPageView)
async def list_findings(
    caller: TeamCaller, context: InContext, run_id: UUID, query: Annotated[FindingQuery, Query()]
) -> Response:
    """The findings of a run, most severe first; those of a run at work are what is stored so far."""
    await _check_run(caller, run_id)
    with _plain_words():
        try:
            page = await context.results.findings(caller.team_id, run_id, query.parameters())
        except ResultsRefusedError as error:
            if error.status != 404:
                raise
            page = FindingPage(findings=[], total=0, next_cursor=None)  # no worker has taken the run yet
    body = {"items": page.findings, "total": page.total, "next_cursor": page.next_cursor}
    return Response(encode_json(body), media_type="application/json")


@router.get("/rules", response_model=RuleCountsPage)
async def list_rules(caller: TeamCaller, context: InContext, run_id: UUID) -> Response:
    """How each rule of a run came out: how many resources passed, failed or could not be judged."""
    await _check_run(caller, run_id)
    with _plain_words():
        try:
            rules = (await context.results.rules(caller.team_id, run_id)).rules
        except ResultsRefusedError as error:
            if error.status != 404:
                raise
            rules = []
    return Response(encode_json({"items": rules, "next_cursor": None}), media_type="application/json")


async def _check_run(caller: Caller, run_id: UUID) -> None:
    """Raises the same Problem for another team's run as for none. The connection is given back before the call."""
    async with caller.session() as session:
        await runs.find(session, run_id)


@contextmanager
def _plain_words() -> Iterator[None]:
    try:
        yield
    except ResultsUnavailableError as error:
        _log.warning("results_unavailable", error=str(error))
        detail = f"The findings cannot be read just now; nothing is lost. Try again in {_RETRY_SECONDS} s."
        headers = {"Retry-After": str(_RETRY_SECONDS)}
        raise Problem(503, "results_unavailable", detail, title="Findings unavailable", headers=headers) from None
    except ResultsRefusedError as error:
        if error.status == _GONE:
            raise Problem(410, "results_purged", _PURGED, title="Findings destroyed") from None
        if error.status != 422:
            raise
        errors = tuple(FieldError(each.field, each.message) for each in error.errors)
        raise Problem(422, "invalid", error.detail, errors=errors) from None
