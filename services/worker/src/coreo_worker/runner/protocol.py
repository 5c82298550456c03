"""What the worker and a run's process say to each other over two pipes: MessagePack, four bytes of length before each.

Credentials come in by the pipe and never stand in an environment, an argument or a file. Nothing of the worker's own
crosses it: neither the run's capability at the results service nor the worker's identity.
"""

import asyncio
from typing import Any, Final, Literal, TypeVar

import msgspec

from coreo_shared.contracts.base import Message, encode_msgpack
from coreo_shared.contracts.findings import Finding
from coreo_shared.contracts.results import MAX_CHUNK_BYTES
from coreo_worker.aws.clients import SessionCredentials

T = TypeVar("T")
LENGTH_BYTES: Final = 4
MAX_FRAME_BYTES: Final = MAX_CHUNK_BYTES + 64 * 1024


class ProtocolError(Exception):
    """The other side's bytes are no frame of this protocol. The text repeats none of them."""


class Credentials(Message, frozen=True, kw_only=True):
    """SessionCredentials on their way through the pipe."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expires_at: float
    services: tuple[str, ...] = ()  # whose calls go with it, as the SDK names them; none: all others

    def __repr__(self) -> str:
        return f"Credentials(expires_at={self.expires_at!r})"

    @classmethod
    def of(cls, credentials: SessionCredentials, services: tuple[str, ...] = ()) -> "Credentials":
        """For sending."""
        return cls(
            access_key_id=credentials.access_key_id,
            secret_access_key=credentials.secret_access_key,
            session_token=credentials.session_token,
            expires_at=credentials.expires_at,
            services=services,
        )

    def for_clients(self) -> SessionCredentials:
        """As clients take them."""
        return SessionCredentials(
            self.access_key_id, self.secret_access_key, self.session_token, expires_at=self.expires_at
        )


def by_service(sessions: tuple[Credentials, ...]) -> dict[str, SessionCredentials]:
    """The credentials that are for certain services, by these."""
    return {service: session.for_clients() for session in sessions for service in session.services}


class Start(Message, frozen=True, kw_only=True, tag="start"):
    """Worker: audit this. The first frame, and sent once."""

    run_id: str  # for the log
    team_id: str
    account_id: str
    partition: str
    rules: tuple[str, ...]
    regions: tuple[str, ...]
    parameters: dict[str, Any]
    units_done: frozenset[str]
    credentials: Credentials
    others: tuple[Credentials, ...] = ()
    packs: tuple[bytes, ...] = ()  # as in the job


class NewCredentials(Message, frozen=True, kw_only=True, tag="credentials"):
    """Worker: go on with these."""

    credentials: Credentials
    others: tuple[Credentials, ...] = ()


class Cancel(Message, frozen=True, kw_only=True, tag="cancel"):
    """Worker: stop and say so."""


class Planned(Message, frozen=True, kw_only=True, tag="planned"):
    """Run: so many units there are, those done earlier included."""

    units_total: int


class Chunk(Message, frozen=True, kw_only=True, tag="chunk"):
    """Run: findings of a unit, to be stored."""

    unit: str
    index: int
    final: bool
    findings: list[Finding]


class SessionOver(Message, frozen=True, kw_only=True, tag="session_over"):
    """Run: AWS does not take the session any more; NewCredentials are waited for."""


class Ended(Message, frozen=True, kw_only=True, tag="ended"):
    """Run: the last frame. "failed" is for good, "interrupted" may work another time; both have a reason."""

    outcome: Literal["completed", "canceled", "failed", "interrupted"]
    reason: str = ""


WorkerFrame = Start | NewCredentials | Cancel
RunFrame = Planned | Chunk | SessionOver | Ended
_worker_frames = msgspec.msgpack.Decoder(WorkerFrame)
_run_frames = msgspec.msgpack.Decoder(RunFrame)


def pack(frame: WorkerFrame | RunFrame) -> bytes:
    """The frame with its length. Raises ProtocolError when it is longer than the other side takes."""
    return framed(encode_msgpack(frame))


def framed(body: bytes) -> bytes:
    """With its length before it. Raises ProtocolError when it is longer than the other side takes."""
    if len(body) > MAX_FRAME_BYTES:
        raise ProtocolError(f"a frame of {len(body)} bytes is too long")
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


async def read_worker_frame(reader: asyncio.StreamReader) -> WorkerFrame | None:
    """The next frame of the worker; None at the end. Raises ProtocolError."""
    body = await read_body(reader)
    return None if body is None else _decoded(_worker_frames, body)


async def read_run_frame(reader: asyncio.StreamReader) -> RunFrame | None:
    """The next frame of a run's process; None at the end. Raises ProtocolError."""
    body = await read_body(reader)
    return None if body is None else _decoded(_run_frames, body)


async def read_body(reader: asyncio.StreamReader) -> bytes | None:
    """The next frame without its length; None at the end, also within a frame: half a frame says nothing.

    Raises ProtocolError.
    """
    try:
        length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
        if length > MAX_FRAME_BYTES:
            raise ProtocolError("a frame is too long")
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        return None


def _decoded(decoder: msgspec.msgpack.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProtocolError("a frame is malformed") from None
