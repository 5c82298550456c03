"""The process of one bootstrap: `python -m coreo_worker.onboard.child PARENT_PID MEMORY_MB`, made by runner.bootstrap.

It gets sealing keys and seals by one pipe, opens its own, sends what is inside, reports by the other pipe, and ends.
Only here is there ever a signed request in the clear.
"""

import http.client
import os
import re
import ssl
import sys
import time
from typing import Final
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from coreo_shared.contracts.base import MalformedMessageError, Message, decode_msgpack, encode_msgpack
from coreo_shared.contracts.onboarding import (
    BootstrapProblem,
    BootstrapReport,
    BootstrapRequests,
    SealContext,
    SignedRequest,
)
from coreo_shared.crypto.sealing import SealError, open_seal
from coreo_worker.onboard.answers import MAX_ANSWER_BYTES, Answer, read_answer
from coreo_worker.onboard.replay import Wire, replay
from coreo_worker.runner.hardening import harden_run

_MEGABYTE: Final = 1024 * 1024
_TIMEOUT_SECONDS: Final = 10.0
_IAM: Final = re.compile(r"iam(\.[a-z0-9-]+)*\.amazonaws\.com(\.cn)?")


class Order(Message, frozen=True, kw_only=True):
    """What the process is to do."""

    keys: dict[str, bytes]  # id of a sealing key -> its 32 bytes
    sealed: dict[str, str]
    context: SealContext


def main() -> None:
    """Does one bootstrap; exit status 0 when its report was written."""
    parent, memory = sys.argv[1:3]
    harden_run(parent=int(parent), memory_bytes=int(memory) * _MEGABYTE)
    order = decode_msgpack(sys.stdin.buffer.read(), Order)
    report = bootstrap(order, Wire(_send, time.sleep, time.time))
    sys.stdout.buffer.write(encode_msgpack(report))
    sys.stdout.buffer.flush()


def bootstrap(order: Order, wire: Wire) -> BootstrapReport:
    """The report on what is sealed in the order."""
    for key_id, raw in order.keys.items():
        if key_id in order.sealed:
            try:
                plain = open_seal(order.sealed[key_id], X25519PrivateKey.from_private_bytes(raw), order.context)
                requests = decode_msgpack(plain, BootstrapRequests)
            except (SealError, MalformedMessageError):
                continue
            if (requests.account_id, requests.expires_at) == (order.context.account_id, order.context.expires_at):
                return replay(requests, wire)
    detail = "What was sent for this role cannot be opened. Post the keys again."
    return BootstrapReport(problem=BootstrapProblem.UNEXPECTED, detail=detail)


def _send(request: SignedRequest) -> Answer:
    """Sends it as it is signed: to IAM alone, past no proxy, following nothing. Raises OSError."""
    url = urlsplit(request.url)
    simulated = urlsplit(os.environ.get("AWS_ENDPOINT_URL", ""))
    host = url.hostname or ""
    connection: http.client.HTTPConnection
    if url.scheme == "https" and _IAM.fullmatch(host):
        secure = ssl.create_default_context()
        connection = http.client.HTTPSConnection(host, url.port or 443, timeout=_TIMEOUT_SECONDS, context=secure)
    elif simulated.netloc and (url.scheme, url.netloc) == (simulated.scheme, simulated.netloc):
        connection = http.client.HTTPConnection(host, url.port, timeout=_TIMEOUT_SECONDS)
    else:
        return Answer(400, "NotIam")
    try:
        connection.request(request.method, url.path or "/", body=request.body.encode(), headers=request.headers)
        answer = connection.getresponse()
        return read_answer(answer.status, answer.read(MAX_ANSWER_BYTES + 1))
    except http.client.HTTPException as error:
        raise OSError(type(error).__name__) from None
    finally:
        connection.close()


if __name__ == "__main__":
    main()
