"""The page's server: what it gives, to whom, and all that it refuses."""

import http.client
import socket
import struct
import threading
from collections.abc import Iterator

import pytest

from gpucnn.errors import ArgumentError
from gpucnn.play import server as server_module
from gpucnn.play.server import PageServer

FILES = {"index.html": b"<!doctype html>", "page.js": b"let page;", "page.css": b"a{}"}


PATIENCE = 60
"""Seconds for what takes a moment, on a machine that does much else."""
ANY = 0
"""The port that asks for a free one."""


@pytest.fixture(scope="module")
def server() -> Iterator[PageServer]:
    with PageServer(FILES, ANY) as started:
        threading.Thread(target=started.serve_forever, args=(0.02,), daemon=True).start()
        yield started
        started.shutdown()


def ask(
    server: PageServer, path: str, method: str = "GET", host: str | None = None, body: bytes | None = None
) -> tuple[int, dict[str, str], bytes]:
    """What comes back, as a client that shares no code with the server reads it."""
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, {"Host": host or f"127.0.0.1:{server.server_port}"})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("path", "name", "kind"),
    [
        ("/", "index.html", "text/html; charset=utf-8"),
        ("/index.html", "index.html", "text/html; charset=utf-8"),
        ("/page.js", "page.js", "text/javascript; charset=utf-8"),
        ("/page.css?v=1", "page.css", "text/css; charset=utf-8"),
    ],
)
def test_files_are_given_by_name(server: PageServer, path: str, name: str, kind: str) -> None:
    status, headers, content = ask(server, path)
    assert (status, headers["content-type"], content) == (200, kind, FILES[name])
    status, headers, content = ask(server, path, "HEAD")
    assert (status, int(headers["content-length"]), content) == (200, len(FILES[name]), b"")


def test_headers_keep_everything_else_out(server: PageServer) -> None:
    for path in ("/", "/nothing"):
        _, headers, _ = ask(server, path)
        policy = dict(part.split(" ", 1) for part in headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["server"].strip() == "gpucnn"


@pytest.mark.parametrize(
    "path",
    [
        "/../pyproject.toml",
        "/..%2f..%2fetc/passwd",
        "//etc/passwd",
        "/etc/passwd",
        "/page.js/",
        "/page.py",
        "/%00",
        "/server.py",
    ],
)
def test_nothing_else_is_there(server: PageServer, path: str) -> None:
    assert ask(server, path)[0] == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1.evil.example:{port}"])
def test_a_name_that_was_given_our_address_is_refused(server: PageServer, host: str) -> None:
    status, _, content = ask(server, "/", host=host.format(port=server.server_port))
    assert (status, FILES["index.html"] in content) == (421, False)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1"])
def test_localhost_is_this_machine(server: PageServer, host: str) -> None:
    assert ask(server, "/", host=f"{host}:{server.server_port}")[0] == 200


@pytest.mark.parametrize(
    ("host", "status"), [("127.0.0.1", 200), ("localhost", 200), ("localhost:80", 200), ("evil.example", 421)]
)
def test_port_80_goes_without_saying(
    server: PageServer, monkeypatch: pytest.MonkeyPatch, host: str, status: int
) -> None:
    port = server.server_port
    monkeypatch.setattr(server, "server_port", 80)  # where only an administrator could listen
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as browser:
        browser.sendall(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert browser.recv(1000).startswith(f"HTTP/1.1 {status} ".encode())


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
def test_only_get_and_head(server: PageServer, method: str) -> None:
    status, headers, _ = ask(server, "/", method, body=b"x" * 1000)
    assert (status, headers["allow"]) == (405, "GET, HEAD")


def test_no_other_machine_can_ask(server: PageServer) -> None:
    assert server.socket.getsockname()[0] == "127.0.0.1"


def test_a_request_that_is_none_ends_it_for_nobody_else(server: PageServer) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=PATIENCE) as wild:
        wild.sendall(b"\x16\x03\x01 not HTTP\r\n\r\n")
        assert b"400" in wild.recv(1000)
    assert ask(server, "/")[0] == 200


def test_several_are_served_at_once(server: PageServer) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port)):  # says nothing, and is not waited for
        assert ask(server, "/")[0] == 200


def test_a_taken_port(server: PageServer, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = server.server_port
    with pytest.raises(ArgumentError) as raised:
        PageServer(FILES, taken)
    assert str(raised.value).startswith(f"port {taken} cannot be had (")
    assert str(raised.value).endswith("); leave --port out, and a free one is found")
    monkeypatch.setattr(server_module, "PORT", taken)
    with PageServer(FILES) as other:
        assert other.server_port != taken
        assert other.address == f"http://127.0.0.1:{other.server_port}/"


class WatchedServer(PageServer):
    """Tells when a request has ended, well or not."""

    def shutdown_request(self, request: object) -> None:
        super().shutdown_request(request)  # type: ignore[arg-type]
        self.has_ended.set()


def test_a_browser_that_goes_away_is_no_news(capfd: pytest.CaptureFixture[str]) -> None:
    with WatchedServer({"index.html": bytes(50_000_000)}, ANY) as server:
        server.has_ended = threading.Event()
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        for read in (0, 1000):
            server.has_ended.clear()
            browser = socket.create_connection(("127.0.0.1", server.server_port), timeout=PATIENCE)
            browser.sendall(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{server.server_port}\r\n\r\n".encode())
            if read:
                browser.recv(read)
            browser.setsockopt(
                socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
            )  # closed at once, with a reset
            browser.close()
            assert server.has_ended.wait(PATIENCE)
        assert capfd.readouterr() == ("", "")

        server.files = None  # type: ignore[assignment]
        server.has_ended.clear()
        with pytest.raises(http.client.RemoteDisconnected):
            ask(server, "/")
        assert server.has_ended.wait(PATIENCE)
        assert "TypeError" in capfd.readouterr().err  # a fault of ours is told
        server.shutdown()
