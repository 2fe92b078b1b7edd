"""Clients that mean no good, or know no better: each is refused, and good ones are answered rightly all the while, in little memory."""

import http.client
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.serve.answer import PATIENCE, answered
from tests.serve.bad_requests import FORM, KINDS, MAX_BYTES, MAX_PIXELS, Bad, file_part, form
from tests.serve.good_client import GoodClient, Known
from tests.serve.service import Service, sent, serving, status_of
from tests.serve.service import request as posted

pytest.importorskip("uvicorn", reason="needs the extra serve")

LIMITS = ("--max-bytes", f"{MAX_BYTES // 1000}kB", "--max-pixels", str(MAX_PIXELS))
DRAWS = 1
"""Of each kind, by default."""
MEMORY = 150
"""Megabytes that a service may come to need for what it is sent, within these limits."""


@pytest.fixture(scope="module")
def service(run: Path) -> Iterator[Service]:
    with serving(run, *LIMITS) as service:
        yield service


@pytest.fixture(autouse=True)
def good_client(service: Service, known: Known) -> Iterator[None]:
    """Asks all through a test, and is answered."""
    with GoodClient(service, known) as client:
        yield
    assert client.problems == []
    assert service.process.poll() is None, service.log
    assert "Traceback" not in service.log


def judged(service: Service, bad: Bad) -> int:
    """The status that a bad request gets, which is looked at."""
    found = sent(service, *bad.pieces, then=bad.then)
    status = status_of(found)
    assert status in bad.statuses, (bad.pieces[0][:300], found[:500])
    if status:
        assert b"Traceback" not in found
        assert b"root:" not in found
    else:
        assert found == b""
    return status


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_refused(service: Service, known: Known, kind: str) -> None:
    draw = np.random.default_rng(list(kind.encode()))
    for place in range(DRAWS):
        judged(service, KINDS[kind](draw, known.images[place % 10]))


@pytest.mark.parametrize(
    ("kind", "status"),
    [("other formats", 415), ("other files", 415), ("empty bodies", 422), ("png bombs", 413), ("too long", 413), ("wrong methods", 405)],
)  # fmt: skip
def test_a_refusal_says_why_in_json(service: Service, known: Known, kind: str, status: int) -> None:
    bad = KINDS[kind](np.random.default_rng(1), known.images[0])
    head, _, body = sent(service, *bad.pieces).partition(b"\r\n\r\n")
    if not (b"POST" in bad.pieces[0] or b" HEAD" in head):
        pytest.skip("a HEAD has no body")
    assert b"application/json" in head.lower()
    assert b'"reason": "' in body


def test_many_bad_requests(
    service: Service, known: Known, request: pytest.FixtureRequest, report: Callable[[str], None]
) -> None:
    """--bad-requests N, from eight clients at one time."""
    count = request.config.getoption("--bad-requests")
    if not count:
        pytest.skip("some minutes: give --bad-requests 10000")
    numbers, seen, problems = iter(range(count)), Counter[tuple[str, int]](), list[str]()
    lock, names = threading.Lock(), list(KINDS)
    before = highest = service.memory()

    def attack() -> None:
        while True:
            with lock:
                if (number := next(numbers, None)) is None:
                    return
            draw, kind = np.random.default_rng(number), names[number % len(names)]
            try:
                status = judged(service, KINDS[kind](draw, known.images[number % 10]))
            except (AssertionError, OSError) as error:
                problems.append(f"{kind}, {number}: {type(error).__name__}: {error}"[:1000])
                continue
            with lock:
                seen[kind, status] += 1

    clients = [threading.Thread(target=attack) for _ in range(8)]
    for client in clients:
        client.start()
    while any(client.is_alive() for client in clients):
        highest = max(highest, service.memory())
        time.sleep(0.1)
    for kind in names:
        statuses = {status or "no answer": number for (one, status), number in sorted(seen.items()) if one == kind}
        report(f"{kind:22} " + ", ".join(f"{status}: {number}" for status, number in statuses.items()))
    report(
        f"{sum(seen.values())} bad requests; memory {before:.0f} MB before, {highest:.0f} MB at most, {service.memory():.0f} MB in the end"
    )
    assert problems[:5] == []
    assert highest - before < MEMORY


# Clients that take their time


def test_hundreds_of_idle_connections(service: Service) -> None:
    held = [service.connect() for _ in range(200)]
    for client in held[::2]:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: a\r\nX-")
    assert service.ask("GET", "/health").status == 200
    for client in held:
        client.close()


def test_headers_and_bodies_drop_by_drop(service: Service, known: Known) -> None:
    """Twenty at a time, byte by byte: none holds up another."""
    whole = posted(known.images[0], "Content-Type: image/png")
    clients = [service.connect() for _ in range(20)]
    for byte in whole:
        for client in clients:
            client.sendall(bytes([byte]))
    for client in clients:
        with client:
            assert status_of(client.recv(65536)) == 200


def test_a_connection_asks_a_hundred_times(service: Service, known: Known) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=PATIENCE)
    for place in range(100):
        connection.request("POST", "/predict", known.images[place % 10], {"Content-Type": "image/png"})
        assert known.problem(place % 10, answered(connection)) == ""
    connection.close()


def test_requests_sent_before_answers_came(service: Service, known: Known) -> None:
    """Pipelined: the answers come in their order."""
    head = b"POST /predict HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n"
    with service.connect() as client:
        client.sendall(b"".join(head % len(image) + image for image in known.images))
        reader = client.makefile("rb")
        for place in range(10):
            assert reader.readline() == b"HTTP/1.1 200 OK\r\n"
            length = 0
            while line := reader.readline().strip():
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            best = max(known.answers[place], key=known.answers[place].__getitem__)
            assert reader.read(length).startswith(b'{"predictions": [{"class": "%b"' % best.encode())


@pytest.mark.skipif(sys.platform != "linux", reason="what a process has in memory is told in other ways elsewhere")
def test_a_client_that_reads_nothing(service: Service, known: Known) -> None:
    """Its answers fill what the system keeps for it, and the service stops reading from it."""
    one = b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"
    before = service.memory()
    with service.connect() as client:
        client.settimeout(0.2)
        try:
            for _ in range(200):
                client.sendall(one * 200)
        except TimeoutError:
            pass
        assert service.ask("GET", "/health").status == 200
        assert service.memory() - before < MEMORY


def test_several_images_in_a_form(service: Service, known: Known) -> None:
    """What bad forms are changed from is a good one."""
    body = form(*(file_part(image, file_name=b"%d.png" % place) for place, image in enumerate(known.images)))
    answer = service.ask("POST", "/predict", body, {"Content-Type": FORM})
    assert answer.status == 200
    for place, image in enumerate(answer.json["images"]):
        assert image["file"] == f"{place}.png"
        best = max(known.answers[place], key=known.answers[place].__getitem__)
        assert image["predictions"][0]["class"] == best
