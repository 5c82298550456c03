"""`coreo-api serve`: uvicorn, with a word to the application when it is asked to end.

uvicorn waits for requests to end before it tells the application; event streams would not end by themselves.
"""

import argparse
import socket

import uvicorn

from coreo_api.app import create_app
from coreo_api.context import Context
from coreo_api.settings import ApiSettings
from coreo_shared.heap import settle
from coreo_shared.observability.logs import configure_logging
from coreo_shared.settings import load_settings

_STOP_SECONDS = 20


class Server(uvicorn.Server):
    """Sets `Context.stopping` as soon as the process is asked to end."""

    def __init__(self, config: uvicorn.Config, context: Context) -> None:
        super().__init__(config)
        self._context = context

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Called on SIGTERM and SIGINT, after the main loop has ended."""
        self._context.stopping.set()
        self._context.signals.ring_all()
        await super().shutdown(sockets)


def main(_arguments: argparse.Namespace) -> None:
    """Serves until SIGTERM or SIGINT."""
    settings = load_settings(ApiSettings)
    configure_logging("api", settings.log_level)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http="coreo_api.serving:HttpProtocol",
        loop="asyncio",  # with uvloop a posted secret was found in memory afterwards; where it stays is not known
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_STOP_SECONDS,
    )
    settle()
    Server(config, app.state.context).run()
