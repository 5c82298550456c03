"""What answers of the results service mean to a worker, and how long it goes on asking."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from coreo_shared.contracts.base import decode_msgpack
from coreo_shared.contracts.results import FinishRun, PutChunk, ReleaseRun, RunHeartbeat
from coreo_shared.crypto.jose import Signer, generate_key
from coreo_shared.ids import new_id
from coreo_worker.runner.patience import persistently
from coreo_worker.runner.results import (
    HttpResults,
    ResultsRefusedError,
    ResultsUnavailableError,
    RunBusyError,
    RunChannel,
    RunOverError,
    StaleFenceError,
)
from tests.support.results import make_chunk

RUN = new_id()
TOKEN = "token-canary"
Call = Callable[[RunChannel], Awaitable[Any]]
CALLS: dict[str, Call] = {
    "claim": lambda run: run.claim("w"),
    "heartbeat": lambda run: run.heartbeat(RunHeartbeat(fence=1)),
    "chunks": lambda run: run.put(make_chunk(1)),
    "finish": lambda run: run.finish(FinishRun(fence=1, outcome="completed")),
    "release": lambda run: run.release(ReleaseRun(fence=1, reason="r")),
}


async def said(answer: httpx.Response | Exception, call: Call = CALLS["claim"]) -> list[httpx.Request]:
    """The requests of a call that is answered so."""
    requests: list[httpx.Request] = []

    def serve(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        if isinstance(answer, Exception):
            raise answer
        return answer

    results = HttpResults("http://results", Signer(generate_key()), transport=httpx.MockTransport(serve))
    try:
        await call(results.run(RUN, TOKEN))
    finally:
        await results.close()
    return requests


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"code": code, "title": "t", "errors": [{"field": "body.x"}]}, headers=headers)


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (problem(409, "run_over"), RunOverError),
        (problem(409, "stale_fence"), StaleFenceError),
        (problem(409, "something_new"), ResultsRefusedError),
        (problem(401, "token_expired"), ResultsRefusedError),
        (problem(403, "wrong_run"), ResultsRefusedError),
        (problem(404, "not_found"), ResultsRefusedError),
        (httpx.Response(422, text="?"), ResultsRefusedError),
        (problem(429, "slow_down"), ResultsUnavailableError),
        (problem(500, "internal_error"), ResultsUnavailableError),
        (problem(503, "database_unavailable"), ResultsUnavailableError),
        (httpx.Response(302), ResultsUnavailableError),
        (httpx.ConnectError("no"), ResultsUnavailableError),
        (httpx.ReadTimeout("no"), ResultsUnavailableError),
        (httpx.RemoteProtocolError("no"), ResultsUnavailableError),
        (httpx.DecodingError("no"), ResultsUnavailableError),
    ],
)
@pytest.mark.parametrize("name", CALLS)
async def test_each_answer_has_its_meaning_in_every_call(
    answer: httpx.Response | Exception, error: type[Exception], name: str
) -> None:
    with pytest.raises(error):
        await said(answer, CALLS[name])


@pytest.mark.parametrize(("header", "seconds"), [({"retry-after": "17"}, 17), ({}, 30), ({"retry-after": "soon"}, 30)])
async def test_a_busy_run_says_for_how_long(header: dict[str, str], seconds: float) -> None:
    with pytest.raises(RunBusyError) as busy:
        await said(problem(409, "run_busy", **header))
    assert busy.value.retry_after == seconds


@pytest.mark.parametrize("body", [b"", b"[]", b'{"fence": "x"}', b"<html>"])
async def test_an_answer_without_sense_is_no_answer(body: bytes) -> None:
    with pytest.raises(ResultsUnavailableError):
        await said(httpx.Response(200, content=body))


async def test_refusals_name_the_field_and_repeat_no_token() -> None:
    with pytest.raises(ResultsRefusedError) as refused:
        await said(problem(422, "invalid"))
    assert str(refused.value) == "the results service answered 422 invalid body.x"
    results = HttpResults("http://results", Signer(generate_key()))
    assert TOKEN not in repr(results.run(RUN, TOKEN))
    await results.close()


async def test_every_call_carries_the_runs_token_and_a_chunk_its_bytes() -> None:
    chunk = make_chunk(3)
    (request,) = await said(httpx.Response(204), lambda run: run.put(chunk))
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.url.path == f"/internal/v1/runs/{RUN}/chunks"
    assert decode_msgpack(request.content, PutChunk) == chunk


class Flaky:
    """Fails so many times, then answers."""

    def __init__(self, failures: int, error: Exception | None = None) -> None:
        self.calls, self._failures = 0, failures
        self._error = error or ResultsUnavailableError("down")

    async def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self._failures:
            raise self._error
        return "answer"


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between tries, without waiting for them: the clock goes on by as much."""
    made: list[float] = []
    sleep = asyncio.sleep

    async def pause(seconds: float) -> None:
        made.append(seconds)
        await sleep(0)

    monkeypatch.setattr("coreo_worker.runner.patience.asyncio.sleep", pause)
    monkeypatch.setattr("coreo_worker.runner.patience.monotonic", lambda: 1000 + sum(made))
    return made


async def test_a_service_that_is_down_for_a_minute_is_waited_for(pauses: list[float]) -> None:
    flaky = Flaky(12)
    assert await persistently(flaky, patience=900, what="test") == "answer"
    assert sum(pauses) > 40
    assert max(pauses) <= 10


async def test_patience_ends_and_the_error_is_told(pauses: list[float]) -> None:
    with pytest.raises(ResultsUnavailableError):
        await persistently(Flaky(10_000), patience=60, what="test")
    assert 45 <= sum(pauses) <= 60


@pytest.mark.parametrize("error", [RunOverError(), StaleFenceError(), RunBusyError(1), ResultsRefusedError(422, "x")])
async def test_an_answer_is_an_answer(error: Exception, pauses: list[float]) -> None:
    flaky = Flaky(1, error)
    with pytest.raises(type(error)):
        await persistently(flaky, patience=900, what="test")
    assert (flaky.calls, pauses) == (1, [])
