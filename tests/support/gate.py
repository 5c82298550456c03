"""A gate before the results service: it can keep a call, or its answer, until whoever asked is gone."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import aiohttp
from aiohttp import web

_KEPT_HEADERS = ("authorization", "content-type")


@dataclass(eq=False)
class Hold:
    """A call that will not get through: the first one with these texts in path and body.

    `before`: it never arrives; `after`: it is done, and nobody hears of it.
    """

    path: str
    when: Literal["before", "after"]
    body: str = ""
    reached: threading.Event = field(default_factory=threading.Event)


class Gate:
    """Listens on loopback and passes calls on to `upstream`."""

    def __init__(self, upstream: str) -> None:
        self._upstream = upstream
        self._holds: list[Hold] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stopping = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="results-gate", daemon=True)
        self.port = 0

    @property
    def url(self) -> str:
        """Where workers find the results service."""
        return f"http://127.0.0.1:{self.port}"

    def hold(self, path: str, when: Literal["before", "after"], body: str = "") -> Hold:
        """Keeps the next call that fits."""
        hold = Hold(path, when, body)
        self._holds.append(hold)
        return hold

    @contextmanager
    def open(self) -> Iterator["Gate"]:
        """Runs while the block does."""
        self._thread.start()
        assert self._ready.wait(10)
        try:
            yield self
        finally:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        server = web.Server(self._handle, handler_cancellation=True, access_log=None)
        runner = web.ServerRunner(server, shutdown_timeout=0)
        async with aiohttp.ClientSession() as self._client:
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.port = runner.addresses[0][1]
            self._ready.set()
            await self._stopping.wait()
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        text = body.decode("utf-8", "replace")
        hold = next((one for one in self._holds if one.path in request.raw_path and one.body in text), None)
        if hold is not None:
            self._holds.remove(hold)
        if hold is not None and hold.when == "before":
            hold.reached.set()
            await self._stopping.wait()
        headers = {name: request.headers[name] for name in _KEPT_HEADERS if name in request.headers}
        url = self._upstream + request.raw_path
        async with self._client.request(request.method, url, data=body, headers=headers) as answer:
            told = web.Response(
                status=answer.status, body=await answer.read(), headers={"content-type": answer.content_type}
            )
            if "retry-after" in answer.headers:
                told.headers["retry-after"] = answer.headers["retry-after"]
        if hold is not None:
            hold.reached.set()
            await self._stopping.wait()
        return told
