"""Middleware and handlers of an HTTP service, in one call."""

import re
import time
from uuid import uuid4

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from coreo_shared.observability.logs import get_logger
from coreo_shared.web import problems

_log = get_logger(__name__)
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}", re.ASCII)


def install(app: FastAPI, *, max_body_bytes: int) -> None:
    """Problem answers, a limit on bodies, and a request id in every log line and answer."""
    app.add_exception_handler(problems.Problem, problems.on_problem)
    app.add_exception_handler(HTTPException, problems.on_http_exception)
    app.add_exception_handler(RequestValidationError, problems.on_validation_error)
    app.add_middleware(_BodyLimit, limit=max_body_bytes)
    app.add_middleware(_RequestContext)


class _RequestContext:
    """Takes or makes X-Request-Id, binds it to the logs, and answers bugs with a 500 problem."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        started, status = time.perf_counter(), 0

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            except Exception as error:
                response = await problems.on_unexpected(Request(scope), error)
                if status:
                    raise
                await response(scope, receive, send_with_id)
            milliseconds = round((time.perf_counter() - started) * 1000, 1)
            _log.debug("request", method=scope["method"], path=scope["path"], status=status, ms=milliseconds)


class _TooLargeError(Exception):
    pass


class _BodyLimit:
    """Answers 413 as soon as a body, declared or streamed, is over the limit."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._limit:
            await self._refuse(scope, receive, send)
            return
        received, started = 0, False

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise _TooLargeError
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            if received > self._limit and not started:
                raise _TooLargeError  # FastAPI took the first one for a body that it cannot parse
            started = True
            await send(message)

        try:
            await self._app(scope, counted, watched)
        except _TooLargeError:
            if started:
                raise
            await self._refuse(scope, receive, send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = problems.Problem(413, "body_too_large", f"The body may have {self._limit} bytes at most.")
        await problems.answer(problem, Request(scope))(scope, receive, send)
