"""Bodies of requests and answers as wire contracts: msgspec in, msgspec out."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
from fastapi import Request, Response

from coreo_shared.contracts.base import MalformedMessageError, decode_json
from coreo_shared.web import Problem
from coreo_shared.web.problems import invalid

T = TypeVar("T")
MAX_JSON_BYTES = 64 * 1024  # chunks, the only large bodies, are MessagePack


def json_body(kind: type[T], *, max_bytes: int = MAX_JSON_BYTES) -> Callable[[Request], Awaitable[T]]:
    """A dependency that gives the body as a `kind`, or a 422 that names the field and repeats nothing."""

    async def parse(request: Request) -> T:
        body = await request.body()
        if len(body) > max_bytes:
            raise Problem(413, "body_too_large", f"The body may have {max_bytes} bytes at most.")
        try:
            return decode_json(body, kind)
        except MalformedMessageError as error:
            raise invalid(f"body.{error.field}".rstrip("."), error.problem) from None

    return parse


def json_answer(message: object, *, status: int = 200) -> Response:
    """The message as JSON."""
    return Response(msgspec.json.encode(message), status, media_type="application/json")


def check_texts(field: str, value: Any) -> None:
    """Refuses control characters in any text inside a plain value, by the path of the text."""
    if isinstance(value, str):
        if any(ord(character) < 32 for character in value):
            raise invalid(field, "expected text without control characters")
    elif isinstance(value, Mapping):
        for name, each in value.items():
            check_texts(f"{field}.{name}", each)
    elif isinstance(value, list):
        for number, each in enumerate(value):
            check_texts(f"{field}.{number}", each)


def check_text(field: str, value: str, longest: int) -> None:
    """Refuses text that is empty, too long or has control characters, which PostgreSQL and logs do not take."""
    if not 0 < len(value) <= longest or any(ord(character) < 32 for character in value):
        raise invalid(field, f"expected 1 to {longest} characters, none of them control characters")
