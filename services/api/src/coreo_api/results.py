"""Client of the results service. Every call carries a token of its own, signed here and good for a minute."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

import httpx
import msgspec

from coreo_shared.contracts.base import MalformedMessageError, Message, decode_json, encode_json
from coreo_shared.contracts.custody import Deleted
from coreo_shared.contracts.deploys import StackEventPage
from coreo_shared.contracts.life import ListedPage, ResolvedPage, RunChanges
from coreo_shared.contracts.results import CancelRun, Counts, EventPage, RunAnswer
from coreo_shared.contracts.terms import FindingStatus, Pool, Severity
from coreo_shared.contracts.tokens import RESULTS_AUDIENCE, SERVICE_TOKEN_TYPE, ServiceToken
from coreo_shared.crypto.jose import Signer
from coreo_shared.ids import new_id

ISSUER = "coreo-api"
_TOKEN_SECONDS = 60
_TIMEOUT = httpx.Timeout(10, connect=3)
_DELETION_TIMEOUT = httpx.Timeout(10, connect=3, read=60)  # of a plan with many findings
T = TypeVar("T")
Parameters = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Asker:
    """For whom a call is made: a team and, where somebody asks, their token; the access record has its name."""

    team_id: UUID
    token_id: UUID | None = None
    name: str | None = None


class ResultsUnavailableError(Exception):
    """The results service did not answer, or not with sense: try again later. `changes`: it was to change something."""

    def __init__(self, message: str, *, changes: bool) -> None:
        super().__init__(message)
        self.changes = changes


class FieldProblem(msgspec.Struct, frozen=True):
    """A field that the results service refuses."""

    field: str
    message: str


class ResultsRefusedError(Exception):
    """The results service refused the call: 4xx. `errors` are about the fields of the request."""

    def __init__(self, status: int, code: str, detail: str, errors: tuple[FieldProblem, ...]) -> None:
        super().__init__(f"the results service answered {status} {code}")
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors


class RuleCounts(Message, frozen=True, kw_only=True):
    """How one rule came out in a run."""

    rule_id: str
    severity: Severity
    by_status: dict[FindingStatus, int]


class RuleCountsAnswer(Message, frozen=True, kw_only=True):
    """All rules of a run."""

    rules: list[RuleCounts]


class WorkerStatus(msgspec.Struct, frozen=True):
    """What the api needs to know of a worker. The answer has more, which is for operators."""

    worker_id: str
    pool: Pool
    last_seen: datetime
    drain: bool
    draining: bool
    sealing_key: str | None


class _Workers(msgspec.Struct, frozen=True):
    workers: list[WorkerStatus]


class _Problem(msgspec.Struct, frozen=True):
    code: str = "error"
    detail: str = ""
    errors: tuple[FieldProblem, ...] = ()


class ResultsClient:
    """`transport` stands in for the network in tests."""

    def __init__(self, url: str, signer: Signer, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._signer = signer
        self._http = httpx.AsyncClient(base_url=url, timeout=_TIMEOUT, transport=transport)

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.aclose()

    async def events(self, after: str | None, *, limit: int, wait_seconds: float) -> EventPage:
        """The event feed after a cursor; waits up to `wait_seconds` when there is nothing new."""
        parameters = [("limit", str(limit)), ("wait_seconds", f"{wait_seconds:g}")]
        if after is not None:
            parameters.append(("after", after))
        request = self._request("GET", "/internal/v1/events", None, parameters)
        request.extensions["timeout"] = httpx.Timeout(10, connect=3, read=wait_seconds + 10).as_dict()
        return await self._send(request, EventPage)

    async def findings(self, asker: Asker, run_id: UUID, parameters: Parameters) -> ListedPage:
        """Findings of a run; `parameters` are the filters, cursor and limit."""
        path = f"/internal/v1/runs/{run_id}/findings"
        return await self._send(self._request("GET", path, asker, parameters), ListedPage)

    async def changes(self, asker: Asker, run_id: UUID) -> RunChanges:
        """A run beside the one before."""
        path = f"/internal/v1/runs/{run_id}/changes"
        return await self._send(self._request("GET", path, asker, ()), RunChanges)

    async def resolved(self, asker: Asker, run_id: UUID, parameters: Parameters) -> ResolvedPage:
        """What a run resolved; `parameters` are cursor and limit."""
        path = f"/internal/v1/runs/{run_id}/resolved"
        return await self._send(self._request("GET", path, asker, parameters), ResolvedPage)

    async def rules(self, asker: Asker, run_id: UUID) -> RuleCountsAnswer:
        """How each rule came out in a run."""
        path = f"/internal/v1/runs/{run_id}/rules"
        return await self._send(self._request("GET", path, asker, ()), RuleCountsAnswer)

    async def counts(self, asker: Asker, run_id: UUID) -> Counts:
        """A run's findings by status and severity, with the team's suppressions and severities as they are now."""
        path = f"/internal/v1/runs/{run_id}/counts"
        return await self._send(self._request("GET", path, asker, ()), Counts)

    async def stack_events(self, asker: Asker, run_id: UUID, *, after: int, limit: int) -> StackEventPage:
        """Stack events of a deploy run, oldest first, from number `after` on."""
        path = f"/internal/v1/runs/{run_id}/stack-events"
        parameters = [("after", str(after)), ("limit", str(limit))]
        return await self._send(self._request("GET", path, asker, parameters), StackEventPage)

    async def ask(
        self,
        asker: Asker,
        method: str,
        path: str,
        kind: type[T],
        *,
        parameters: Parameters = (),
        body: object = None,
    ) -> T:
        """What the results service answers to a call for a team."""
        return await self._send(self._request(method, path, asker, parameters, body), kind)

    async def tell(self, asker: Asker, method: str, path: str, *, parameters: Parameters = ()) -> None:
        """A call for a team that has no answer."""
        await self._answer(self._request(method, path, asker, parameters))

    async def cancel(self, asker: Asker, run_id: UUID, wish: CancelRun) -> RunAnswer:
        """Asks for a run's end."""
        request = self._request("POST", f"/internal/v1/runs/{run_id}/cancel", asker, (), wish)
        return await self._send(request, RunAnswer)

    async def workers(self) -> list[WorkerStatus]:
        """All workers of all pools that were heard of within a day."""
        return (await self._send(self._request("GET", "/internal/v1/workers", None, ()), _Workers)).workers

    async def purge(self, asker: Asker, cloud_account_id: UUID) -> None:
        """Has all results of a cloud account's runs destroyed."""
        await self._answer(self._deletion(asker, f"cloud-accounts/{cloud_account_id}"))

    async def delete_results(self, asker: Asker, what: str) -> Deleted:
        """Has results destroyed; `what` is `runs/ID` or `plans/ID`."""
        return await self._send(self._deletion(asker, what), Deleted)

    def _deletion(self, asker: Asker, what: str) -> httpx.Request:
        request = self._request("DELETE", f"/internal/v1/{what}/results", asker, ())
        request.extensions["timeout"] = _DELETION_TIMEOUT.as_dict()
        return request

    def _request(
        self, method: str, path: str, asker: Asker | None, parameters: Parameters, body: object = None
    ) -> httpx.Request:
        headers = {"authorization": f"Bearer {self._token(asker)}"}
        if body is not None:
            headers["content-type"] = "application/json"
        content = None if body is None else encode_json(body)
        return self._http.build_request(
            method, path, params=httpx.QueryParams(tuple(parameters)), content=content, headers=headers
        )

    def _token(self, asker: Asker | None) -> str:
        """For one team's results or, without anybody who asks, for the event feed."""
        now = int(time.time())
        claims = ServiceToken(
            iss=ISSUER,
            aud=RESULTS_AUDIENCE,
            jti=str(new_id()),
            iat=now,
            exp=now + _TOKEN_SECONDS,
            scope="feed" if asker is None else "team",
            team_id=None if asker is None else asker.team_id,
            actor_id=None if asker is None else asker.token_id,
            actor=None if asker is None else asker.name,
        )
        return self._signer.sign(claims, typ=SERVICE_TOKEN_TYPE)

    async def _send(self, request: httpx.Request, kind: type[T]) -> T:
        answer = await self._answer(request)
        try:
            return decode_json(answer.content, kind)
        except MalformedMessageError as error:
            message = f"an answer that is no {kind.__name__}: {error}"
            raise ResultsUnavailableError(message, changes=request.method != "GET") from error

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        changes = request.method != "GET"
        try:
            answer = await self._http.send(request)
        except httpx.TransportError as error:
            raise ResultsUnavailableError(type(error).__name__, changes=changes) from error
        if answer.is_client_error and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
            problem = _problem_of(answer)
            raise ResultsRefusedError(answer.status_code, problem.code, problem.detail, problem.errors)
        if not answer.is_success:
            raise ResultsUnavailableError(f"status {answer.status_code}", changes=changes)
        return answer


def _problem_of(answer: httpx.Response) -> _Problem:
    try:
        return msgspec.json.decode(answer.content, type=_Problem)
    except msgspec.DecodeError:
        return _Problem()
