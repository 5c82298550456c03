"""RFC 9457 problem answers. Every one has a stable `code`; none ever repeats what the client sent."""

import re
from dataclasses import dataclass
from typing import Any

import msgspec
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from coreo_shared.observability.logs import get_logger

_log = get_logger(__name__)
# How the tags of a union of body kinds begin: its errors' paths have the tag in them, and clients know nothing of it.
KIND = "kind:"
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TITLES = {
    400: ("bad_request", "The request cannot be understood"),
    401: ("unauthenticated", "A valid token is needed"),
    403: ("forbidden", "The token does not allow this"),
    404: ("not_found", "There is no such thing"),
    405: ("method_not_allowed", "This address does not take that method"),
    409: ("conflict", "This clashes with the present state"),
    413: ("body_too_large", "The request body is too large"),
    415: ("unsupported_media_type", "Send application/json"),
    422: ("invalid", "Some fields are not valid"),
}


@dataclass(frozen=True)
class FieldError:
    """What is wrong with one field, and where it is: a dotted path such as `body.regions.0`."""

    field: str
    message: str


class Problem(Exception):  # noqa: N818  RFC 9457 calls it so
    """Raised anywhere below an endpoint; becomes the answer. The detail says what to do next."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        title: str | None = None,
        errors: tuple[FieldError, ...] = (),
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.title = title or _TITLES.get(status, (code, code.replace("_", " ").capitalize()))[1]
        self.errors = errors
        self.headers = headers or {}


def not_found(what: str) -> Problem:
    """The same answer for another team's object and for one that never was."""
    return Problem(404, "not_found", f"There is no such {what}.")


def invalid(field: str, message: str) -> Problem:
    """A 422 about one field."""
    return Problem(422, "invalid", message, errors=(FieldError(field, message),))


def answer(problem: Problem, request: Request) -> Response:
    """The problem as application/problem+json."""
    body: dict[str, Any] = {
        "type": f"urn:coreo:problem:{problem.code}",
        "title": problem.title,
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
        "request_id": getattr(request.state, "request_id", None),
    }
    if problem.errors:
        body["errors"] = [{"field": error.field, "message": error.message} for error in problem.errors]
    return Response(
        msgspec.json.encode(body), problem.status, headers=problem.headers, media_type="application/problem+json"
    )


async def on_problem(request: Request, error: Exception) -> Response:
    """Handler for Problem."""
    assert isinstance(error, Problem)  # noqa: S101  registered for this type alone
    return answer(error, request)


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Handler for what Starlette itself raises (404 on unknown paths, 405)."""
    assert isinstance(error, HTTPException)  # noqa: S101  registered for this type alone
    code, title = _TITLES.get(error.status_code, ("error", "The request failed"))
    headers = dict(error.headers) if error.headers else None
    return answer(Problem(error.status_code, code, title + ".", headers=headers), request)


async def on_validation_error(request: Request, error: Exception) -> Response:
    """Handler for invalid bodies and parameters: field and message only, as pydantic's own answer echoes the input."""
    assert isinstance(error, RequestValidationError)  # noqa: S101  registered for this type alone
    items = error.errors()
    # A list whose entries are refused counts as having too few of them, which nobody has asked for.
    faulty = {item["loc"][:length] for item in items for length in range(1, len(item["loc"]))}
    errors = tuple(_field_error(item) for item in items if item["type"] != "too_short" or item["loc"] not in faulty)
    named = ", ".join(sorted({item.field for item in errors}))
    return answer(Problem(422, "invalid", f"Not valid: {named}.", errors=errors), request)


def _field_error(item: dict[str, Any]) -> FieldError:
    if item["type"] == "json_invalid":
        return FieldError("body", "not valid JSON")
    path = [str(part) for part in item["loc"] if not str(part).startswith(KIND)]
    if item["type"] == "extra_forbidden":  # the name is the client's own text
        path[-1] = path[-1] if _PLAIN_NAME.fullmatch(path[-1]) else "(unknown field)"
    message = str(item["msg"]).removeprefix("Value error, ")
    # Messages of these kinds are built from the value itself.
    if item["type"] in {"literal_error", "enum"}:
        message = "expected one of: " + str(item.get("ctx", {}).get("expected", "the documented values"))
    elif item["type"] in {"too_short", "too_long"}:
        context = item["ctx"]
        bound, least = context.get("min_length"), "least"
        if item["type"] == "too_long":
            bound, least = context.get("max_length"), "most"
        message = f"expected at {least} {bound} {'entry' if bound == 1 else 'entries'}"
    elif item["type"] in {"uuid_parsing", "uuid_type"}:
        message = "expected a UUID"
    elif item["type"].startswith(("datetime_", "date_")):
        message = "expected a date and time such as 2026-01-31T12:00:00Z"
    return FieldError(".".join(path), message)


async def on_unexpected(request: Request, error: Exception) -> Response:
    """Handler for bugs: logged whole, answered with the request id alone."""
    _log.error("request_failed", exc_info=error)
    detail = "Something broke on our side; it has been logged under this request_id. Try again later."
    return answer(Problem(500, "internal_error", detail, title="Internal error"), request)
