"""Serves until SIGTERM or SIGINT: then long polls end at once, and requests at work are finished."""

import asyncio
import socket
from types import FrameType

import uvicorn
from fastapi import FastAPI

from coreo_results.app import create_app
from coreo_results.settings import ResultsSettings

_GRACE_SECONDS = 20


class _Server(uvicorn.Server):
    """Tells the application of the signal: its lifespan ends only after the last request, and long polls are such."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._app.state.begin_stop)


def serve(settings: ResultsSettings) -> None:
    """Blocks until the process is told to end."""
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )
    _Server(config, app).run()
