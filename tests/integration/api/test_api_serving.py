"""What passes through a request is not in the server's memory afterwards; and it would be, were it not overwritten."""

import json
import secrets
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen

import pytest

from coreo_embedded.processes import free_port, spawn, stop, wait_until
from tests.support.canary import Canary

# Reads keys as the api does, signs with them, and answers.
_PROGRAM = """
import sys
from datetime import UTC, datetime
import uvicorn
from fastapi import Request
from coreo_api.bootstrap.body import posted_keys
from coreo_api.bootstrap.requests import EVERYTHING, RoleWish, signed_requests
from coreo_shared.web import Problem

async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    status = 200
    try:
        async with posted_keys(Request(scope, receive)) as keys:
            role = RoleWish("aws", "210987654321", "R", {}, EVERYTHING)
            signed_requests(role, keys, endpoint_url=None, now=datetime.now(UTC))
    except Problem as problem:
        status = problem.status
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})

port, protocol, loop = sys.argv[1:]
http = "coreo_api.serving:HttpProtocol" if protocol == "ours" else "httptools"
uvicorn.run(app, host="127.0.0.1", port=int(port), http=http, loop=loop, ws="none", log_level="warning")
"""


@dataclass(frozen=True)
class Server:
    port: int
    pid: int


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str, str], Server]]:
    """Starts a server: `serve(protocol, loop)`."""
    started: list[Popen[bytes]] = []

    def start(protocol: str, loop: str) -> Server:
        port, log = free_port(), tmp_path / "server.log"
        command = [sys.executable, "-c", _PROGRAM, str(port), protocol, loop]
        started.append(spawn(command, environment={}, log=log))
        wait_until(lambda: _answers(port), started[-1], name="server", log=log, seconds=30)
        return Server(port, started[-1].pid)

    yield start
    for process in started:
        stop(process)


def _answers(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def post(port: int, secret: str, pieces: int) -> None:
    """Posts a key, the body in so many pieces of the network."""
    body = json.dumps({"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": secret}).encode()
    step = -(-len(body) // pieces)
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(_head(body))
        for start in range(0, len(body), step):
            client.sendall(body[start : start + step])
        assert client.recv(1_000).startswith(b"HTTP/1.1 200")


def _head(body: bytes) -> bytes:
    return b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body)


@pytest.mark.parametrize(
    ("protocol", "loop", "is_clean"),
    [("ours", "asyncio", True), ("uvicorns", "uvloop", False)],
)
def test_posted_secrets_are_gone_from_the_servers_memory(
    serve: Callable[[str, str], Server],
    protocol: str,
    loop: str,
    is_clean: bool,  # noqa: FBT001  a case
) -> None:
    sent = [secrets.token_urlsafe(30) for _ in range(6)]
    server = serve(protocol, loop)
    for number, secret in enumerate(sent):
        post(server.port, secret, pieces=1 + number % 3)
    seen = [sighting for secret in sent for sighting in Canary(secret).in_memory(server.pid, "server")]

    assert (seen == []) is is_clean


def test_bodies_arrive_whole_however_long(serve: Callable[[str, str], Server]) -> None:
    """Ours is not in the way of what it serves: 413 and 422 come from reading the body, to its end."""
    server = serve("ours", "asyncio")
    for length, status in ((1, 200), (64, 200), (65, 422), (16_000, 422), (17_000, 413), (200_000, 413)):
        key = {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": "x" * 40, "role_name": "x" * length}
        body = json.dumps(key).encode()
        with socket.create_connection(("127.0.0.1", server.port), timeout=10) as client:
            client.sendall(_head(body) + body)
            assert client.recv(1_000).startswith(b"HTTP/1.1 %d" % status), length
