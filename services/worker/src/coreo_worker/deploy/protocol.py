"""What the worker and a deploy run's process say to each other over two pipes: MessagePack, its length before.

The process has the session in the customer's account, the worker the run's capability at the results service; neither
has the other's.
"""

import asyncio
from typing import Literal, TypeVar

import msgspec

from coreo_shared.contracts.base import Message, encode_msgpack
from coreo_shared.contracts.deploys import Checkpoint, DeployClaim, DeploySpec, Document, Hash, StackEvent
from coreo_shared.contracts.findings import Finding
from coreo_worker.runner.protocol import Credentials, ProtocolError, framed, read_body

T = TypeVar("T")


class Begin(Message, frozen=True, kw_only=True, tag="begin"):
    """Worker: do this. The first frame, and sent once.

    `changes`: the session may change the stack; without it the run only looks. `hold_seconds`: how long to wait for
    CloudFormation before the run is parked; `park_seconds`: for how long then, at first.
    """

    run_id: str
    team_id: str
    cloud_account_id: str
    account_id: str
    partition: str
    spec: DeploySpec
    claim: DeployClaim
    changes: bool
    hold_seconds: float
    park_seconds: float
    credentials: Credentials
    cancel: bool = False


class Renewed(Message, frozen=True, kw_only=True, tag="renewed"):
    """Worker: go on with these."""

    credentials: Credentials


class Cancel(Message, frozen=True, kw_only=True, tag="cancel"):
    """Worker: somebody wants the run to end, or the change undone."""


class Begun(Message, frozen=True, kw_only=True, tag="begun"):
    """Worker: the ledger's answer to MayBegin; `code` says why not."""

    code: str | None = None


class Store(Message, frozen=True, kw_only=True, tag="store"):
    """Run: a document."""

    document: Document
    checkpoint: Checkpoint | None = None


class StoreEvents(Message, frozen=True, kw_only=True, tag="events"):
    """Run: the next stack events, and how far it is."""

    events: list[StackEvent]
    checkpoint: Checkpoint
    done: int
    total: int


class StoreFindings(Message, frozen=True, kw_only=True, tag="findings"):
    """Run: findings of a drift detection; all of the one unit."""

    unit: str
    index: int
    final: bool
    findings: list[Finding]


class MayBegin(Message, frozen=True, kw_only=True, tag="may_begin"):
    """Run: about to have AWS change the stack. Nothing is asked of AWS before Begun comes."""

    hash: Hash
    checkpoint: Checkpoint


class NoCancel(Message, frozen=True, kw_only=True, tag="no_cancel"):
    """Run: it cannot be canceled; why."""

    reason: str


class SessionOver(Message, frozen=True, kw_only=True, tag="session_over"):
    """Run: AWS does not take the session any more; Renewed is waited for."""


class Ended(Message, frozen=True, kw_only=True, tag="ended"):
    """Run: the last frame.

    "parked": to go on in `seconds`; "prepared": the preview is stored, and waits for people; "interrupted": may work
    another time. Those and "parked" have a checkpoint.
    """

    outcome: Literal["completed", "failed", "canceled", "rolled_back", "unknown", "parked", "prepared", "interrupted"]
    reason: str | None = None
    no_change: bool = False
    seconds: float = 0.0
    checkpoint: Checkpoint | None = None


ToRun = Begin | Renewed | Cancel | Begun
FromRun = Store | StoreEvents | StoreFindings | MayBegin | NoCancel | SessionOver | Ended
_to_run: msgspec.msgpack.Decoder[ToRun] = msgspec.msgpack.Decoder(ToRun)
_from_run: msgspec.msgpack.Decoder[FromRun] = msgspec.msgpack.Decoder(FromRun)


def pack(frame: ToRun | FromRun) -> bytes:
    """The frame with its length. Raises ProtocolError when it is longer than the other side takes."""
    return framed(encode_msgpack(frame))


async def read_to_run(reader: asyncio.StreamReader) -> ToRun | None:
    """The worker's next frame; None at the end. Raises ProtocolError."""
    body = await read_body(reader)
    return None if body is None else _decoded(_to_run, body)


def unpack_from_run(body: bytes) -> FromRun:
    """A frame of the run. Raises ProtocolError."""
    return _decoded(_from_run, body)


def _decoded(decoder: msgspec.msgpack.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise ProtocolError("a frame is malformed") from None
