"""How a service ends and starts again, under load: what it has accepted is answered, and its port is free."""

import http.client
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import gpucnn
from tests.cli.small_runs import save_digit, train
from tests.serve.bad_requests import packed_zeros, png
from tests.serve.good_client import Known
from tests.serve.service import PATIENCE, Service, answered, serving

pytest.importorskip("uvicorn", reason="needs the extra serve")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("runs") / "run")


@pytest.fixture(scope="module")
def known(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Known:
    file = save_digit(tmp_path_factory.mktemp("digits") / "0.png", 0)
    return Known([file.read_bytes()], [dict(gpucnn.load(run).predict(file))])


@pytest.fixture
def service(run: Path) -> Iterator[Service]:
    with serving(run) as service:
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


def test_sigterm_under_load_loses_no_request(service: Service, known: Known) -> None:
    clients = [Client(service, known) for _ in range(8)]
    for client in clients:
        assert client.is_at_work.wait(PATIENCE)
    assert service.stop() == 0
    for client in clients:
        client.thread.join(PATIENCE)
        assert not client.thread.is_alive()
        assert client.lost == []
    assert "Traceback" not in service.log


def test_who_has_connected_is_answered_though_nobody_was_there_to_see(service: Service, known: Known) -> None:
    """The service stands still while clients connect and ask and the signal comes."""
    assert service.ask("GET", "/ready").status == 200
    service.signal(signal.SIGSTOP)
    connections = [http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE) for _ in range(20)]
    for connection in connections:
        connection.request("POST", "/predict", known.images[0], {"Content-Type": "image/png"})
    service.signal(signal.SIGTERM)
    service.signal(signal.SIGCONT)
    for connection in connections:
        assert known.problem(0, answered(connection)) == ""
        connection.close()
    assert service.ended() == 0


def test_what_was_accepted_is_answered_before_the_end(service: Service) -> None:
    """Large images, which take longer to decode than the signal to come; their answers say that the connection ends."""
    large = png(3000, 3000, packed_zeros(3000 * 3001))
    connections = [http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE) for _ in range(6)]
    for connection in connections:
        connection.request("POST", "/predict", large, {"Content-Type": "image/png"})
    assert service.ask("GET", "/ready").status == 200  # by then all of them have come
    service.signal(signal.SIGTERM)
    for connection in connections:
        assert answered(connection).status == 200
        connection.close()
    assert service.ended() == 0


def test_one_that_was_killed_is_started_again_at_its_port(service: Service, run: Path, known: Known) -> None:
    held = [service.connect() for _ in range(20)]
    held[0].sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
    assert known.problem(0, service.predict(known.images[0])) == ""
    service.signal(signal.SIGKILL)
    assert service.ended() == -signal.SIGKILL
    with serving(run, port=service.port) as again:
        assert again.port == service.port
        assert known.problem(0, again.predict(known.images[0])) == ""
        assert again.stop() == 0
    for client in held:
        client.close()


def test_a_second_signal_ends_it_at_once(service: Service) -> None:
    """A client whose request never ends would hold it up until its time is over."""
    with service.connect() as slow:
        slow.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\nabc")
        assert service.ask("GET", "/ready").status == 200
        service.signal(signal.SIGTERM)
        while service.process.poll() is None:
            service.signal(signal.SIGTERM)
    assert service.ended() == 128 + signal.SIGTERM
