"""The api on a port of this machine, as a browser needs it, in the test's own loop."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from fastapi import FastAPI


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are the test runner's."""
        yield


async def drop_connections(server: uvicorn.Server) -> None:
    """Of a server that has ended: streams that did not end in time, and who was just being let in."""
    for _ in range(3):  # steps of the loop in which a connection that was accepted becomes one of the server's
        await asyncio.sleep(0)
        for left in list(server.server_state.connections):
            left.transport.abort()


@asynccontextmanager
async def served(app: FastAPI) -> AsyncIterator[str]:
    """The application's address, as `coreo-api serve` has it, while the block runs. Its lifespan is the caller's."""
    config = uvicorn.Config(
        app,
        http="coreo_api.serving:HttpProtocol",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )
    server = _Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        task = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            await task
            await drop_connections(server)
