"""A service in a process of its own: its address, its signals, and clients that take too long to ask."""

import asyncio
import contextlib
import os
import socket
import time
from collections.abc import Callable
from errno import EADDRNOTAVAIL
from types import FrameType
from typing import TYPE_CHECKING, Any

from gpucnn.errors import ArgumentError
from gpucnn.serve.acceptor import Acceptor
from gpucnn.serve.app import check_libraries
from gpucnn.serve.options import ServeOptions
from gpucnn.serve.refusal import Refusal, bad_request, large_head, too_slow

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette

BACKLOG = 2048
"""Connections that may wait to be taken up."""
TICKS = 10
"""Of uvicorn's clock, 0.1 seconds each, between looks at who is slow."""
LARGEST_HEAD = 65_536
"""Bytes of a request's line and headers."""
PAUSE_SECONDS = 0.02
"""In which other threads come to rest: they could come in between the last look at who has connected and the end of that."""
LAST_SECONDS = 1.0
"""In which a connection may still ask once the service was asked to end: what was on its way then is answered, too."""


def bound(host: str, port: int) -> socket.socket:
    """A socket at an address. ArgumentError if it cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.create_server(address[:2], family=family, backlog=BACKLOG)
        # asyncio sees to it for sockets that it opened itself alone: an answer's end would wait 40 ms for the client to have its head.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listening
    except OSError as error:
        reason = str(error.strerror or error).partition(" (while")[0]  # the address once is enough
        is_host = isinstance(error, socket.gaierror) or error.errno == EADDRNOTAVAIL
        fix = (
            "give an address of this machine with --host"
            if is_host
            else "choose another with --port, 0 for any that is free"
        )
        raise ArgumentError(f"{host} port {port} cannot be had ({reason}); {fix}") from None


def server_of(app: "Starlette", options: ServeOptions, tell: Callable[[], object] = lambda: None) -> "uvicorn.Server":
    """What runs an application of `create_app` until SIGTERM or SIGINT comes, and answers then what it has accepted.

    `tell` is called once it answers, and a signal would find it. It is uvicorn's server, and what that lacks. LibraryError without
    uvicorn.
    """
    check_libraries("uvicorn")
    import uvicorn
    from uvicorn.protocols.http.auto import AutoHTTPProtocol

    class Protocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
        """HTTP, whose refusals are JSON as all others, and whose heads have an end: httptools would keep any."""

        head = 0
        """Bytes that came of a request's head, which is not whole yet."""
        heard = 0.0
        """When bytes came last."""

        @property
        def is_awaited(self) -> bool:
            """Whether it is the client's turn."""
            return is_free(self) or bool(self.cycle.more_body)

        def connection_made(self, transport: asyncio.Transport) -> None:
            self.heard = time.monotonic()
            super().connection_made(transport)

        def data_received(self, data: bytes) -> None:
            before, self.heard = self.cycle, time.monotonic()
            size = len(before.body) if before else 0
            super().data_received(data)
            is_head = self.cycle is before and (before is None or len(before.body) <= size)  # or what follows chunks
            self.head = self.head + len(data) if is_head else 0
            if self.head > LARGEST_HEAD and not self.transport.is_closing():
                if is_free(self):
                    _refuse(self, large_head(LARGEST_HEAD))
                else:
                    self.transport.abort()

        def send_400_response(self, msg: str) -> None:
            _refuse(self, bad_request())

    class Server(uvicorn.Server):
        """Ends once all is answered; a second signal ends it at once. Slow clients are sent away."""

        def __init__(self, config: uvicorn.Config) -> None:
            super().__init__(config)
            self._asking: dict[Any, tuple[object, float]] = {}
            self._acceptors: list[Acceptor] = []

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            has_readers = os.name == "posix"  # on Windows sockets are for asyncio alone
            await super().startup([] if has_readers else sockets)
            for listening in sockets or () if has_readers else ():
                acceptor = Acceptor(listening, self._protocol, self.server_state.connections)
                acceptor.start()
                self._acceptors.append(acceptor)
            tell()

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if self.should_exit:
                os._exit(128 + sig)
            self.should_exit = app.state.service.stopping = True

        async def on_tick(self, counter: int) -> bool:
            if counter % TICKS == 0:
                self._send_slow_ones_away()
            return await super().on_tick(counter)

        def _send_slow_ones_away(self) -> None:
            """Close connections on which no request has come for too long: they sent a part of its headers, or nothing."""
            now, seen = asyncio.get_running_loop().time(), self._asking
            self._asking = {}
            connections: list[Any] = list(self.server_state.connections)
            for connection in connections:
                if not is_free(connection):  # it has a request, which has limits of its own
                    continue
                cycle = connection.cycle
                before, since = seen.get(connection, (cycle, now))
                if before is not cycle:
                    since = now
                self._asking[connection] = cycle, since
                if now - since > options.read_seconds:
                    _refuse(connection, too_slow(options.read_seconds))

        def _protocol(self) -> Protocol:
            return Protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            loop = asyncio.get_running_loop()
            kept = [one.dup() for one in sockets or ()]  # with those who have connected, and were not taken up yet
            for acceptor in self._acceptors:
                acceptor.stop()
            for one in (*self.servers, *(sockets or ())):
                one.close()
            await asyncio.gather(
                *(loop.connect_accepted_socket(self._protocol, found) for one in kept for found in _waiting_at(one))
            )
            until = loop.time() + LAST_SECONDS
            while self.server_state.connections and loop.time() < until:
                await asyncio.sleep(0.05)
            await super().shutdown(sockets)

    config = uvicorn.Config(
        app, http=Protocol, log_config=None, log_level="error", access_log=False, server_header=False, date_header=False,
        proxy_headers=False, ws="none", lifespan="on", timeout_keep_alive=max(1, round(options.read_seconds)), timeout_graceful_shutdown=max(1, round(options.grace_seconds)),
    )  # fmt: skip
    return Server(config)


def _waiting_at(listening: socket.socket) -> list[socket.socket]:
    """Connections that clients have made, and nobody has taken up. Closes the socket: no more can be made."""
    time.sleep(PAUSE_SECONDS)
    found = []
    with listening, contextlib.suppress(OSError):  # there are no more, or no files for more
        listening.setblocking(False)
        while True:
            found.append(listening.accept()[0])
    return found


def is_free(connection: Any) -> bool:
    """Whether no request is under way on a connection."""
    return connection.cycle is None or bool(connection.cycle.response_complete)


def _refuse(connection: Any, refusal: Refusal) -> None:
    """Answer on a connection on which no request is under way, and close it."""
    content = refusal.body()
    head = (
        f"HTTP/1.1 {int(refusal.status)} {refusal.status.phrase}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(content)}\r\nconnection: close\r\n\r\n"
    )
    connection.transport.write(head.encode() + content)
    connection.transport.close()
