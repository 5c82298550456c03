"""The results service as a worker knows it: one run, opened with its capability, and the fleet registry."""

import time
from dataclasses import dataclass, field
from typing import Protocol, TypeVar
from uuid import UUID

import httpx
import msgspec

from coreo_shared.contracts.base import MalformedMessageError, decode_json, encode_json, encode_msgpack
from coreo_shared.contracts.deploys import BeginApply, ParkRun, PutDocument, PutEvents, RefuseCancel
from coreo_shared.contracts.results import (
    ClaimAnswer,
    ClaimRequest,
    FinishRun,
    HeartbeatAnswer,
    PutChunk,
    RegisterAnswer,
    RegisterWorker,
    ReleaseRun,
    RunAnswer,
    RunHeartbeat,
)
from coreo_shared.contracts.tokens import FLEET_TOKEN_TYPE, RESULTS_AUDIENCE, FleetToken
from coreo_shared.crypto.jose import Signer
from coreo_shared.ids import new_id

ISSUER = "coreo-worker"
_TOKEN_SECONDS = 60
_TIMEOUT = httpx.Timeout(30, connect=3)
_DEFAULT_RETRY_AFTER = 30.0
T = TypeVar("T")


class ResultsUnavailableError(Exception):
    """The results service did not answer, or not with sense: try again later."""


class RunBusyError(Exception):
    """Another claim holds the run for `retry_after` seconds, or longer if its worker goes on."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"held by another claim for {retry_after:g} s")
        self.retry_after = retry_after


class RunOverError(Exception):
    """The run has ended."""


class RunSupersededError(Exception):
    """The run goes on with another job, or waits for people: the job that asked is done with."""


class StaleFenceError(Exception):
    """Somebody else has the run by now."""


class ResultsRefusedError(Exception):
    """The results service refused the call for what it says: again would be the same."""

    def __init__(self, status: int, code: str, fields: tuple[str, ...] = ()) -> None:
        super().__init__(f"the results service answered {status} {code} {', '.join(fields)}".rstrip())
        self.status = status
        self.code = code


class RunChannel(Protocol):
    """What may be said of one run.

    Every method raises ResultsUnavailableError or ResultsRefusedError, and RunOverError; `claim` RunBusyError and
    RunSupersededError, the others StaleFenceError.
    """

    async def claim(self, worker_id: str, rules: list[str] | None = None) -> ClaimAnswer:
        """Takes the run."""

    async def heartbeat(self, beat: RunHeartbeat) -> HeartbeatAnswer:
        """Keeps it."""

    async def put(self, chunk: PutChunk) -> None:
        """Stores findings; the same chunk again is stored once."""

    async def put_document(self, document: PutDocument) -> None:
        """Stores a document of a deploy; another one of its kind takes its place."""

    async def put_events(self, events: PutEvents) -> None:
        """Stores stack events of a deploy; the same part again is stored once."""

    async def begin_apply(self, begin: BeginApply) -> RunAnswer:
        """Says that AWS will be told to change a stack. ResultsRefusedError with the ledger's code: it must not be."""

    async def refuse_cancel(self, refusal: RefuseCancel) -> RunAnswer:
        """Says that a change cannot be canceled."""

    async def park(self, parking: ParkRun) -> RunAnswer:
        """Lets go of it until another job goes on."""

    async def finish(self, end: FinishRun) -> RunAnswer:
        """Ends it."""

    async def release(self, back: ReleaseRun) -> RunAnswer:
        """Gives it back."""


class Results(Protocol):
    """The results service."""

    def run(self, run_id: UUID, token: str) -> RunChannel:
        """The run that the capability `token` opens."""

    async def register(self, worker: RegisterWorker) -> RegisterAnswer:
        """Says that a worker is there. Raises ResultsUnavailableError or ResultsRefusedError."""


class HttpResults:
    """Over HTTP; an async context manager's worth of connections, to be closed. `transport` stands in in tests."""

    def __init__(self, url: str, signer: Signer, *, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._signer = signer
        self._http = httpx.AsyncClient(base_url=url, timeout=_TIMEOUT, transport=transport)

    async def close(self) -> None:
        """Closes all connections."""
        await self._http.aclose()

    def run(self, run_id: UUID, token: str) -> RunChannel:
        """As the port says."""
        return _HttpRun(self._http, f"/internal/v1/runs/{run_id}", token)

    async def register(self, worker: RegisterWorker) -> RegisterAnswer:
        """As the port says."""
        now = int(time.time())
        claims = FleetToken(
            iss=ISSUER,
            aud=RESULTS_AUDIENCE,
            jti=str(new_id()),
            iat=now,
            exp=now + _TOKEN_SECONDS,
            pool=worker.pool,
            worker_id=worker.worker_id,
        )
        token = self._signer.sign(claims, typ=FLEET_TOKEN_TYPE)
        answer = await _send(self._http, "POST", "/internal/v1/workers", token, encode_json(worker))
        return _decoded(answer, RegisterAnswer)


@dataclass(frozen=True)
class _HttpRun:
    http: httpx.AsyncClient
    path: str
    token: str = field(repr=False)

    async def claim(self, worker_id: str, rules: list[str] | None = None) -> ClaimAnswer:
        return await self._say("claim", ClaimRequest(worker_id=worker_id, rules=rules), ClaimAnswer)

    async def heartbeat(self, beat: RunHeartbeat) -> HeartbeatAnswer:
        return await self._say("heartbeat", beat, HeartbeatAnswer)

    async def put(self, chunk: PutChunk) -> None:
        body = encode_msgpack(chunk)
        await _send(self.http, "PUT", f"{self.path}/chunks", self.token, body, media_type="application/msgpack")

    async def put_document(self, document: PutDocument) -> None:
        await _send(self.http, "PUT", f"{self.path}/documents", self.token, encode_json(document))

    async def put_events(self, events: PutEvents) -> None:
        await _send(self.http, "PUT", f"{self.path}/stack-events", self.token, encode_json(events))

    async def begin_apply(self, begin: BeginApply) -> RunAnswer:
        return await self._say("begin-apply", begin, RunAnswer)

    async def refuse_cancel(self, refusal: RefuseCancel) -> RunAnswer:
        return await self._say("refuse-cancel", refusal, RunAnswer)

    async def park(self, parking: ParkRun) -> RunAnswer:
        return await self._say("park", parking, RunAnswer)

    async def finish(self, end: FinishRun) -> RunAnswer:
        return await self._say("finish", end, RunAnswer)

    async def release(self, back: ReleaseRun) -> RunAnswer:
        return await self._say("release", back, RunAnswer)

    async def _say(self, word: str, body: object, kind: type[T]) -> T:
        answer = await _send(self.http, "POST", f"{self.path}/{word}", self.token, encode_json(body))
        return _decoded(answer, kind)


class _FieldProblem(msgspec.Struct, frozen=True):
    field: str = ""


class _Problem(msgspec.Struct, frozen=True):
    code: str = "error"
    errors: tuple[_FieldProblem, ...] = ()


async def _send(
    http: httpx.AsyncClient, method: str, path: str, token: str, body: bytes, *, media_type: str = "application/json"
) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}", "content-type": media_type}
    try:
        answer = await http.request(method, path, content=body, headers=headers)
    except httpx.RequestError as error:
        raise ResultsUnavailableError(type(error).__name__) from error
    if answer.is_client_error and answer.status_code != httpx.codes.TOO_MANY_REQUESTS:
        raise _refusal(answer)
    if not answer.is_success:
        raise ResultsUnavailableError(f"status {answer.status_code}")
    return answer


def _refusal(answer: httpx.Response) -> Exception:
    try:
        problem = msgspec.json.decode(answer.content, type=_Problem)
    except msgspec.DecodeError:
        problem = _Problem()
    if answer.status_code == httpx.codes.CONFLICT:
        if problem.code == "run_busy":
            return RunBusyError(_retry_after(answer))
        if problem.code == "run_over":
            return RunOverError()
        if problem.code == "job_superseded":
            return RunSupersededError()
        if problem.code == "stale_fence":
            return StaleFenceError()
    return ResultsRefusedError(answer.status_code, problem.code, tuple(error.field for error in problem.errors))


def _retry_after(answer: httpx.Response) -> float:
    value = answer.headers.get("retry-after", "")
    return float(value) if value.isdecimal() else _DEFAULT_RETRY_AFTER


def _decoded(answer: httpx.Response, kind: type[T]) -> T:
    try:
        return decode_json(answer.content, kind)
    except MalformedMessageError as error:
        raise ResultsUnavailableError(f"an answer that is no {kind.__name__}: {error}") from error
