"""What every message that crosses a process boundary is: a frozen struct that takes no unknown field."""

from typing import TypeVar

import msgspec

T = TypeVar("T")


class Message(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all wire messages. A field is added with a default; meanings never change within a version."""


class MalformedMessageError(ValueError):
    """The bytes are no such message. The text names the field, and never repeats the value."""


def encode_json(message: object) -> bytes:
    """The message as JSON."""
    return msgspec.json.encode(message)


def decode_json(data: bytes | str, kind: type[T]) -> T:
    """A `kind` from JSON; MalformedMessageError names what is wrong."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedMessageError(str(error)) from None


def encode_msgpack(message: object) -> bytes:
    """The message as MessagePack: the form of chunks and of the pipe between worker and child."""
    return msgspec.msgpack.encode(message)


def decode_msgpack(data: bytes, kind: type[T]) -> T:
    """A `kind` from MessagePack; MalformedMessageError names what is wrong."""
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MalformedMessageError(str(error)) from None
