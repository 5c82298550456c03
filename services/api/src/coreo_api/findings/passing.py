"""What all routes do that pass a call on to the results service: whose run it is, and refusals in plain words."""

from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from coreo_api.results import ResultsRefusedError, ResultsUnavailableError
from coreo_api.runs import service as runs
from coreo_api.teams.session import Caller
from coreo_shared.observability.logs import get_logger
from coreo_shared.web import FieldError, Problem
from coreo_shared.web.problems import not_found

_RETRY_SECONDS = 5
_GONE = 410
_NOT_READ = f"The results cannot be read just now; nothing is lost. Try again in {_RETRY_SECONDS} s."
_NOT_DONE = (
    "The results service, which keeps this, does not answer just now: what you asked for was not done, or (rarely) was "
    f"done without an answer. Look how it stands in {_RETRY_SECONDS} s, and ask again if it was not done."
)
_log = get_logger(__name__)


async def check_run(caller: Caller, run_id: UUID) -> None:
    """Raises the same Problem for another team's run as for none. The connection is given back before the call."""
    async with caller.session() as session:
        await runs.find(session, run_id)


@contextmanager
def plain_words() -> Iterator[None]:
    """Turns what the results service says into what customers are told; raises Problem."""
    try:
        yield
    except ResultsUnavailableError as error:
        _log.warning("results_unavailable", error=str(error))
        detail = _NOT_DONE if error.changes else _NOT_READ
        headers = {"Retry-After": str(_RETRY_SECONDS)}
        raise Problem(503, "results_unavailable", detail, title="Results unavailable", headers=headers) from None
    except ResultsRefusedError as error:
        if error.status == _GONE:
            raise Problem(_GONE, error.code, error.detail, title="The results of this run are gone") from None
        if error.status != 422:
            raise
        errors = tuple(FieldError(each.field, each.message) for each in error.errors)
        raise Problem(422, "invalid", error.detail, errors=errors) from None


@contextmanager
def passed_on(what: str) -> Iterator[None]:
    """As `plain_words`, for things that are no run's; `what` may not be there, or clash with what is."""
    try:
        with plain_words():
            yield
    except ResultsRefusedError as error:
        if error.status == 404:
            raise not_found(what) from None
        if error.status == 409:
            raise Problem(409, error.code, error.detail) from None
        raise


@contextmanager
def unless_untaken() -> Iterator[None]:
    """As `plain_words`; goes on after the block when no worker has taken the run yet, so that there is no answer."""
    try:
        with plain_words():
            yield
    except ResultsRefusedError as error:
        if error.status != 404:
            raise
