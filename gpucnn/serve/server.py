"""A service in a process of its own: its address, its signals, and connections that go on for too long."""

import os
import socket
from types import FrameType
from typing import TYPE_CHECKING

from gpucnn.errors import ArgumentError, LibraryError
from gpucnn.serve.options import ServeOptions

if TYPE_CHECKING:
    from starlette.applications import Starlette

BACKLOG = 2048


def bound(host: str, port: int) -> socket.socket:
    """A socket at an address. ArgumentError if it cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise ArgumentError(
            f"{host} port {port} cannot be had ({error.strerror or error}); choose another with --port, 0 for any that is free"
        ) from None


def serve(app: "Starlette", listening: socket.socket, options: ServeOptions) -> None:
    """Answer until SIGTERM or SIGINT comes, then what was accepted. LibraryError without uvicorn."""
    try:
        import uvicorn
    except ImportError as error:
        raise LibraryError(f'a service needs uvicorn ({error}); pip install "gpucnn[serve]"') from None

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if self.should_exit:
                os._exit(128 + sig)
            self.should_exit = app.state.service.stopping = True

    config = uvicorn.Config(
        app, log_config=None, log_level="error", access_log=False, server_header=False, date_header=False,
        proxy_headers=False, ws="none", lifespan="on", timeout_graceful_shutdown=int(options.grace_seconds),
    )  # fmt: skip
    Server(config).run([listening])
