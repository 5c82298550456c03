"""Sending over real sockets: a server that misbehaves, a proxy in the environment, certificates that are wrong."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from coreo_embedded.simulator import Credentials
from coreo_shared.contracts.onboarding import SignedRequest
from coreo_worker.onboard import sending
from coreo_worker.onboard.answers import MAX_ANSWER_BYTES, Answer
from coreo_worker.onboard.sending import NoAnswerError, Sender
from tests.support.bootstrap import Signing

SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY00"
KEY = Credentials("AKIAIOSFODNN7EXAMPLE", SECRET, "session-canary")
GOOD = b"<GetUserResponse><GetUserResult><User><Path>/</Path></User></GetUserResult></GetUserResponse>"
Answering = Callable[[BaseHTTPRequestHandler], None]


class Server(ThreadingHTTPServer):
    """Does to each request what `answering` says; `seen` are their paths and headers, names in lower case."""

    daemon_threads = True

    def __init__(self, answering: Answering) -> None:
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        seen = self.seen

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                seen.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
                answering(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the standard library's name
                """Nothing."""

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextlib.contextmanager
def serving(answering: Answering) -> Iterator[Server]:
    server = Server(answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def answers(status: int, body: bytes, **headers: str) -> Answering:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"content-length": str(len(body)), **headers}.items():
            handler.send_header(name, value)
        handler.end_headers()
        with contextlib.suppress(ConnectionError):
            handler.wfile.write(body)

    return answer


def post(url: str) -> tuple[SignedRequest, Answer]:
    request = Signing(KEY, url=url).request("GetUser")
    return request, Sender(endpoint_url=url).post(request)


def test_what_was_signed_arrives_as_it_was() -> None:
    with serving(answers(200, GOOD)) as server:
        request, answer = post(server.url)
    assert answer.values == {"GetUserResult/User/Path": "/"}
    ((path, headers, body),) = server.seen
    assert (path, body.decode()) == ("/", request.body)
    assert request.headers.items() <= headers.items()
    assert headers["accept-encoding"] == "identity"


def test_no_redirect_is_followed() -> None:
    with serving(answers(200, GOOD)) as elsewhere, serving(answers(307, b"", location=f"{elsewhere.url}/")) as server:
        _, answer = post(server.url)
    assert (answer.status, answer.code) == (307, "")
    assert elsewhere.seen == []


def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(answers(200, GOOD)) as proxy, serving(answers(200, GOOD)) as server:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        post(server.url)
    assert len(server.seen) == 1
    assert proxy.seen == []


def test_no_more_is_read_than_an_answer_may_have() -> None:
    with serving(answers(200, b" " * (MAX_ANSWER_BYTES + 1))) as server, pytest.raises(NoAnswerError, match="too long"):
        post(server.url)


def endless(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.end_headers()
    with contextlib.suppress(ConnectionError):
        while True:
            handler.wfile.write(b"<a>" * 1000)


def test_an_answer_without_end_is_none() -> None:
    with serving(endless) as server, pytest.raises(NoAnswerError):
        post(server.url)


def hangs_up(handler: BaseHTTPRequestHandler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("answering", [hangs_up, answers(200, b"ok"), answers(200, b"x", **{"content-length": "9"})])
def test_no_sensible_answer_is_none_and_tells_nothing_of_the_request(answering: Answering) -> None:
    with serving(answering) as server, pytest.raises(NoAnswerError) as raised:
        post(server.url)
    texts = f"{raised.value!r} {raised.value.__cause__!r}"
    assert "AKIA" not in texts
    assert "canary" not in texts
    assert raised.value.__suppress_context__


def test_a_server_that_says_nothing_is_left_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "_TIMEOUT_SECONDS", 0.2)
    let_go = threading.Event()

    def waits(_: BaseHTTPRequestHandler) -> None:
        let_go.wait(10)

    with serving(waits) as server:
        with pytest.raises(NoAnswerError, match="TimeoutError"):
            post(server.url)
        let_go.set()


def test_nobody_there_is_no_answer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(NoAnswerError, match="ConnectionRefusedError"):
        post(f"http://127.0.0.1:{port}")


def test_who_cannot_prove_to_be_it_gets_nothing() -> None:
    """The handshake fails before a byte of the request is sent."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        heard: list[bytes] = []

        def listen() -> None:
            connection, _ = server.accept()
            with connection:
                heard.append(connection.recv(65536))
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

        thread = threading.Thread(target=listen)
        thread.start()
        with pytest.raises(NoAnswerError, match="SSL"):
            post(f"https://127.0.0.1:{server.getsockname()[1]}")
        thread.join()
    assert b"AWS4-HMAC" not in heard[0]
