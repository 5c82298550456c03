"""A results service for worker processes, which gives every run to who asks and remembers what it was told."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec

from coreo_shared.contracts.base import decode_json
from coreo_shared.contracts.results import (
    ClaimAnswer,
    ClaimRequest,
    FinishRun,
    HeartbeatAnswer,
    RegisterAnswer,
    RegisterWorker,
    RunAnswer,
)
from coreo_shared.contracts.terms import RunState
from coreo_shared.ids import new_id


class Ledger(ThreadingHTTPServer):
    """`finished` are the last words, `claimed` the workers that took it, both by run; `workers` by their id."""

    def __init__(self) -> None:
        self.lease_seconds = 60.0
        self.finished: dict[str, FinishRun] = {}
        self.claimed: dict[str, list[str]] = {}
        self.workers: dict[str, RegisterWorker] = {}
        super().__init__(("127.0.0.1", 0), self._handler())

    @property
    def url(self) -> str:
        """For COREO_RESULTS_URL."""
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, path: str, body: bytes) -> msgspec.Struct:
        """What is answered to a call."""
        run_id, word = path.split("/")[-2:]
        if word == "workers":
            worker = decode_json(body, RegisterWorker)
            self.workers[worker.worker_id] = worker
            return RegisterAnswer(interval_seconds=5, drain=False)
        if word == "claim":
            claims = self.claimed.setdefault(run_id, [])
            claims.append(decode_json(body, ClaimRequest).worker_id)
            return ClaimAnswer(
                fence=len(claims),
                attempt=len(claims),
                lease_seconds=self.lease_seconds,
                cancel_requested=False,
                units_done=[],
            )
        if word == "heartbeat":
            return HeartbeatAnswer(lease_seconds=self.lease_seconds, cancel_requested=False)
        assert word == "finish"
        self.finished[run_id] = decode_json(body, FinishRun)
        return RunAnswer(run_id=new_id(), state=RunState.SUCCEEDED)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        answer = self.answer

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = msgspec.json.encode(answer(self.path, self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the standard library's name
                """Nothing."""

        return Handler


@contextmanager
def open_ledger() -> Iterator[Ledger]:
    """One that listens."""
    server = Ledger()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
