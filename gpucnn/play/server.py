"""The page's own server: it gives this machine's browsers the page's files from memory, and nothing else."""

import os
import sys
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType

from gpucnn.errors import ArgumentError
from gpucnn.play.page import FACE

ADDRESS = "127.0.0.1"
PORT = 8510
SECONDS = 30
"""How long a browser may take to ask."""

KINDS = {"html": "text/html; charset=utf-8", "css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8"}
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src blob: data:; worker-src blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class PageServer(ThreadingHTTPServer):
    """Serves `files` by their names, on this machine alone.

    Without a `port`, `PORT` is tried, and then any free one. ArgumentError if the `port` that is asked for cannot be had.
    """

    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # elsewhere two servers could have the same port

    def __init__(self, files: Mapping[str, bytes], port: int | None = None) -> None:
        self.files = MappingProxyType(dict(files))
        try:
            super().__init__((ADDRESS, PORT if port is None else port), _Handler)
        except OSError as error:
            if port is not None:
                raise ArgumentError(
                    f"port {port} cannot be had ({error.strerror}); leave --port out, and a free one is found"
                ) from None
            super().__init__((ADDRESS, 0), _Handler)

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        return f"http://{ADDRESS}:{self.server_port}/"

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a browser that went away, its tab closed or loaded anew, while it was being answered."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _Handler(BaseHTTPRequestHandler):
    server: PageServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "gpucnn", ""
    timeout = SECONDS

    def do_GET(self) -> None:
        content = self._content()
        if content is not None:
            self.wfile.write(content)

    def do_HEAD(self) -> None:
        self._content()

    def _content(self) -> bytes | None:
        """Send the status and the headers; what is asked for, if there is such a file."""
        # A page elsewhere may give its own name our address; then the browser names that as the host.
        host, _, port = self.headers.get("Host", "").lower().partition(":")
        if host not in (ADDRESS, "localhost") or (port or "80") != str(self.server.server_port):
            self._refuse(HTTPStatus.MISDIRECTED_REQUEST)
            return None
        name = self.path.partition("?")[0].removeprefix("/") or FACE
        if name not in self.server.files:
            self._refuse(HTTPStatus.NOT_FOUND)
            return None
        content = self.server.files[name]
        self._start(HTTPStatus.OK, KINDS[name.rpartition(".")[2]], len(content))
        return content

    def _only_get(self) -> None:
        self._refuse(HTTPStatus.METHOD_NOT_ALLOWED)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_TRACE = do_CONNECT = _only_get

    def _refuse(self, status: HTTPStatus) -> None:
        content = f"{status.value} {status.phrase}\n".encode()
        self.close_connection = True  # what else was sent with the request is not read
        self._start(status, "text/plain; charset=utf-8", len(content))
        if self.command != "HEAD":
            self.wfile.write(content)

    def _start(self, status: HTTPStatus, kind: str, length: int) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(length), **HEADERS}.items():
            self.send_header(name, value)
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, HEAD")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing: the terminal is the user's."""
