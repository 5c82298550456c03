"""Serves until SIGTERM or SIGINT: then long polls end at once, and requests at work are finished."""

import socket

import uvicorn
from fastapi import FastAPI

from coreo_results.app import create_app
from coreo_results.settings import ResultsSettings
from coreo_shared.heap import settle

_GRACE_SECONDS = 20


class _Server(uvicorn.Server):
    """Tells the application that the end has come: its lifespan ends only after the last request, long polls too."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called on SIGTERM and SIGINT, after the main loop has ended."""
        self._app.state.begin_stop()
        await super().shutdown(sockets)


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
    settle()
    _Server(config, app).run()
