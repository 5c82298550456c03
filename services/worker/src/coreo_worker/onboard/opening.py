"""The work of an onboarding's process: opens the seal, carries out what is in it, reports."""

import os
import traceback

import structlog
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from coreo_shared.contracts.base import MalformedMessageError, decode_msgpack, encode_msgpack
from coreo_shared.contracts.onboarding import BootstrapReport, BootstrapRequests
from coreo_shared.crypto.sealing import SealError, open_seal
from coreo_shared.observability.logs import get_logger
from coreo_worker.onboard.protocol import Begin, Broken, Outcome, Reported, Unopened, unpack_begin
from coreo_worker.onboard.sending import carry_out, find_fault, refusal, sender_of
from coreo_worker.runner.protocol import LENGTH_BYTES, MAX_FRAME_BYTES, ProtocolError, framed

_log = get_logger(__name__)


def serve(incoming: int, outgoing: int) -> None:
    """One bootstrap over these two file descriptors. Raises ProtocolError when the first frame is not the begin."""
    with os.fdopen(incoming, "rb") as reader, os.fdopen(outgoing, "wb") as writer:
        length = int.from_bytes(reader.read(LENGTH_BYTES), "big")
        if length == 0:  # the worker had no use for this process after all
            return
        if length > MAX_FRAME_BYTES:
            raise ProtocolError("a frame is too long")
        begin = unpack_begin(reader.read(length))
        structlog.contextvars.bind_contextvars(team_id=str(begin.context.team_id), run_id=str(begin.run_id))
        writer.write(framed(encode_msgpack(_outcome(begin))))


def _outcome(begin: Begin) -> Outcome:
    """Whatever goes wrong: an exception's text may hold what must not be logged, so only its kind and place are."""
    try:
        opened = _opened(begin)
        return Unopened() if opened is None else Reported(report=_carried_out(opened, begin))
    except Exception as error:  # noqa: BLE001  it is told of, without its text
        places = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
        _log.error("onboarding_broke", error=type(error).__name__, places=places)
        return Broken(error=type(error).__name__)


def _opened(begin: Begin) -> bytes | None:
    """What was sealed, by the first key that opens its seal."""
    for key_id, private in begin.keys.items():
        try:
            return open_seal(begin.sealed[key_id], X25519PrivateKey.from_private_bytes(private), begin.context)
        except SealError:
            _log.error("seal_refused", security_event="seal_refused", key_id=key_id)
    return None


def _carried_out(opened: bytes, begin: Begin) -> BootstrapReport:
    try:
        requests = decode_msgpack(opened, BootstrapRequests)
    except MalformedMessageError as error:
        _log.error("onboarding_unreadable", field=error.field)
        return refusal("unreadable")
    sender = sender_of(os.environ)
    fault = find_fault(requests, begin.context, sender)
    if fault is not None:
        _log.error("onboarding_refused", security_event="onboarding_refused", problem=fault)
        return refusal(fault)
    return carry_out(requests, sender.post)
