"""How a service ends and starts again, under load: what it has accepted is answered, and its port is free."""

import http.client
import re
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpucnn.cli import serve as serve_command
from gpucnn.cli.main import main
from tests.serve.answer import PATIENCE, answered
from tests.serve.bad_requests import packed_zeros, png
from tests.serve.good_client import Known
from tests.serve.service import Service, serving

pytest.importorskip("uvicorn", reason="needs the extra serve")


class Changed(Service):
    """One for which a line of Python was carried out before."""

    change = ""

    def command(self, run: Path, port: int, options: tuple[str, ...]) -> list[str]:
        script = f"{self.change}\nimport sys\nfrom gpucnn.cli.main import main\nsys.exit(main(sys.argv[1:]))"
        return [sys.executable, "-c", script, "serve", str(run), "--port", str(port), *options]


class Patient(Changed):
    """That waits for the last requests until all clients have gone, however slow their threads are here."""

    change = f"import gpucnn.serve.server; gpucnn.serve.server.LAST_SECONDS = {PATIENCE}"


class Narrow(Changed):
    """That may have 64 files open."""

    change = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))"


@pytest.fixture
def service(request: pytest.FixtureRequest, run: Path) -> Iterator[Service]:
    with serving(run, kind=getattr(request, "param", Service)) as service:
        yield service


class Client:
    """Asks on one connection until an answer says that it ends: `lost` tells of requests without an answer."""

    def __init__(self, service: Service, known: Known) -> None:
        self.service, self.known = service, known
        self.lost: list[str] = []
        self.is_at_work = threading.Event()
        self.thread = threading.Thread(target=self._ask, daemon=True)
        self.thread.start()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=PATIENCE)
        connection.connect()
        count = 0
        while connection.sock is not None:
            try:
                connection.request("POST", "/predict", self.known.images[0], {"Content-Type": "image/png"})
                problem = self.known.problem(0, answered(connection))
            except (OSError, http.client.HTTPException) as error:
                problem = f"{type(error).__name__}: {error}"
                connection.close()
            if problem:
                self.lost.append(f"request {count}: {problem}")
            count += 1
            if count == 5:
                self.is_at_work.set()


@pytest.mark.parametrize("service", [Patient], indirect=True)
def test_sigterm_loses_no_request(service: Service, known: Known) -> None:
    """Of clients that ask on and on; whose image takes longer to decode than the signal to come; who connected and asked while the
    service stood still, so that nobody has taken their connection up. Those of a service that ends are told to close theirs.
    """
    clients = [Client(service, known) for _ in range(8)]
    for client in clients:
        assert client.is_at_work.wait(PATIENCE)
    large = png(3000, 3000, packed_zeros(3000 * 3001))
    decoded = [posted(service, large) for _ in range(4)]
    assert service.ask("GET", "/ready").status == 200  # by then all of them have come
    service.signal(signal.SIGSTOP)
    connected = [posted(service, known.images[0]) for _ in range(20)]
    service.signal(signal.SIGTERM)
    service.signal(signal.SIGCONT)
    for connection in decoded:
        assert answered(connection).status == 200
        connection.close()
    for connection in connected:
        assert known.problem(0, answered(connection)) == ""
        connection.close()
    for client in clients:
        client.thread.join(PATIENCE)
        assert not client.thread.is_alive()
        assert client.lost == []
    assert service.ended() == 0
    assert "Traceback" not in service.log


def posted(service: Service, image: bytes) -> http.client.HTTPConnection:
    """A connection of its own on which an image was sent."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE)
    connection.request("POST", "/predict", image, {"Content-Type": "image/png"})
    return connection


def test_one_that_was_killed_starts_again_at_its_port_and_a_second_signal_ends_it_at_once(
    service: Service, run: Path, known: Known
) -> None:
    half = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc"
    held = [service.connect() for _ in range(20)]
    held[0].sendall(half)
    assert known.problem(0, service.predict(known.images[0])) == ""
    service.signal(signal.SIGKILL)
    assert service.ended() == -signal.SIGKILL
    with serving(run, port=service.port) as again:
        assert again.port == service.port
        assert known.problem(0, again.predict(known.images[0])) == ""
        with again.connect() as slow:  # whose request would hold the end up until its time is over
            slow.sendall(half)
            assert again.ask("GET", "/ready").status == 200
            again.signal(signal.SIGTERM)
            while again.process.poll() is None:
                again.signal(signal.SIGTERM)
        assert again.ended() == 128 + signal.SIGTERM
    for client in held:
        client.close()


def test_a_signal_that_comes_with_the_address_is_heard(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unheard(*_: object) -> None:
        raise AssertionError("nobody listens")

    def print_and_signal(text: str, flush: bool) -> None:
        lines.append(text)
        if "http://" in text:
            signal.raise_signal(signal.SIGTERM)

    lines: list[str] = []
    monkeypatch.setattr(serve_command, "print", print_and_signal, raising=False)
    before = signal.signal(signal.SIGTERM, unheard)
    try:
        assert main(["serve", str(run), "--port", "0"]) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
    assert re.fullmatch(r"serving .+ on http://127\.0\.0\.1:\d+", lines[0])


@pytest.mark.parametrize("service", [Narrow], indirect=True)
def test_more_connections_than_files_keep_nobody_out(service: Service, known: Known) -> None:
    """Who has been quiet longest makes room: one that never asked, or whose request does not go on."""
    held = []
    for place in range(200):
        held.append(service.connect())
        if place % 2:
            held[-1].sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
    for place in range(10):
        assert known.problem(place, service.predict(known.images[place])) == ""
    assert held[0].recv(1) == b""
    for client in held:  # whose halves of requests would be waited for
        client.close()
    assert service.stop() == 0
    assert "Traceback" not in service.log
    assert service.log.count("\n") <= 3
