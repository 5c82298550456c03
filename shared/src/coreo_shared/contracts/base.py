"""What every message that crosses a process boundary is: a frozen struct that takes no unknown field."""

import re
from typing import TypeVar

import msgspec

T = TypeVar("T")
_PATH = re.compile(r" - at `(?:key` in `)?\$?(?P<path>[^`]*)`+$")
_MISSING = re.compile(r"Object missing required field `(?P<name>\w+)`")


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all wire messages. A field is added with a default; meanings never change within a version."""


class MalformedMessageError(ValueError):
    """The bytes are no such message. The text names the field, and never repeats the value.

    `field` is a dotted path such as `findings.0.status`, or "" for the message as a whole.
    """

    def __init__(self, problem: str, field: str = "") -> None:
        super().__init__(f"{field}: {problem}" if field else problem)
        self.problem = problem
        self.field = field


def encode_json(message: object) -> bytes:
    """The message as JSON."""
    return msgspec.json.encode(message)


def decode_json(data: bytes | memoryview | str, kind: type[T]) -> T:
    """A `kind` from JSON; MalformedMessageError names what is wrong."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(error) from None


def encode_msgpack(message: object) -> bytes:
    """The message as MessagePack: the form of chunks and of the pipe between worker and child."""
    return msgspec.msgpack.encode(message)


def decode_msgpack(data: bytes, kind: type[T]) -> T:
    """A `kind` from MessagePack; MalformedMessageError names what is wrong."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed(error) from None


def _malformed(error: Exception) -> MalformedMessageError:
    """msgspec's own text for an unknown enum value, tag or field repeats what was sent; these are put in our words."""
    if isinstance(error, UnicodeDecodeError):
        return MalformedMessageError("text is not UTF-8")
    if isinstance(error, RecursionError):
        return MalformedMessageError("nested too deeply")
    found = _PATH.search(str(error))
    problem = str(error)[: found.start()] if found else str(error)
    field = re.sub(r"\[(\d+|\.\.\.)\]", r".\1", found["path"]).strip(".") if found else ""
    if missing := _MISSING.fullmatch(problem):
        return MalformedMessageError("missing", f"{field}.{missing['name']}".strip("."))
    if problem.startswith(("Invalid enum value", "Invalid value")):
        problem = "not one of the known values"
    elif problem.startswith("Object contains unknown field"):
        problem = "there is a field that does not belong here"
    return MalformedMessageError(problem, field)
