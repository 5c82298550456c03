"""What the worker and an onboarding's process say to each other: one frame there, one back (see runner.protocol)."""

from typing import TypeVar
from uuid import UUID

import msgspec

from coreo_shared.contracts.base import MalformedMessageError, Message, decode_msgpack
from coreo_shared.contracts.onboarding import BootstrapReport, SealContext
from coreo_worker.runner.protocol import LENGTH_BYTES, ProtocolError

T = TypeVar("T")
_encoder = msgspec.msgpack.Encoder()


class Begin(Message, frozen=True, kw_only=True, tag="begin"):
    """Worker: open one of these, and carry it out."""

    run_id: UUID  # for the log
    context: SealContext
    keys: dict[str, bytearray]  # id -> X25519 private key, 32 bytes
    sealed: dict[str, str]  # id -> seal

    def __repr__(self) -> str:
        return f"Begin(run_id={self.run_id!r})"


class Reported(Message, frozen=True, kw_only=True, tag="reported"):
    """Process: it has ended."""

    report: BootstrapReport


class Unopened(Message, frozen=True, kw_only=True, tag="unopened"):
    """Process: no key opens its seal for this run."""


class Broken(Message, frozen=True, kw_only=True, tag="broken"):
    """Process: a bug stopped it."""

    error: str  # the exception's type


Outcome = Reported | Unopened | Broken


def pack_begin(begin: Begin) -> bytearray:
    """The frame with its length, in a buffer that can be overwritten once it was sent."""
    frame = bytearray()
    _encoder.encode_into(begin, frame, LENGTH_BYTES)
    frame[:LENGTH_BYTES] = (len(frame) - LENGTH_BYTES).to_bytes(LENGTH_BYTES, "big")
    return frame


def unpack_begin(body: bytes) -> Begin:
    """Raises ProtocolError."""
    return _unpacked(body, Begin)


def unpack_outcome(body: bytes) -> Outcome:
    """Raises ProtocolError."""
    return _unpacked(body, Outcome)  # type: ignore[arg-type]  # msgspec takes unions for types


def _unpacked(body: bytes, kind: type[T]) -> T:
    try:
        return decode_msgpack(body, kind)
    except MalformedMessageError:
        raise ProtocolError("a frame is malformed") from None
