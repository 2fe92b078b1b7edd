"""The service from outside: what it answers, to whom, and all that it refuses."""

import base64
import hashlib
import http.client
import io
import re
import socket
import struct
import sys
import threading
import time
import warnings
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gpucnn import data
from gpucnn.backend import Device
from gpucnn.errors import ArgumentError, GraphError, LibraryError, StateError
from gpucnn.play.ready_run import ready_run
from gpucnn.runs.trained_run import Answers, TrainedRun
from gpucnn.serve import ServeOptions, create_app, decoding
from gpucnn.serve import app as app_module
from gpucnn.serve import body as body_module
from gpucnn.serve import server as server_module
from gpucnn.serve.server import bound
from tests.serve.answer import PATIENCE, Answer
from tests.serve.running import FORM, Running, form, image, running, written

pytest.importorskip("uvicorn", reason="needs the extra serve")
pytestmark = pytest.mark.filterwarnings("ignore:predict. the image is dark on light:UserWarning")


@pytest.fixture(scope="module")
def trained() -> Iterator[TrainedRun]:
    with ready_run() as folder:
        yield folder.load(Device())


@pytest.fixture(scope="module")
def service(trained: TrainedRun) -> Iterator[Running]:
    with running(trained, max_pixels=1_000_000) as started:
        yield started


def check_same(given: list[dict[str, Any]], expected: Answers) -> None:
    """The same classes, in the same order, with the same probabilities."""
    assert [list(one) for one in given] == [["class", "probability"]] * len(expected)
    assert [one["class"] for one in given] == [name for name, _ in expected]
    found = np.array([one["probability"] for one in given])
    assert np.isfinite(found).all()
    assert np.abs(found - [probability for _, probability in expected]).max() <= 1e-6


def digit(index: int) -> bytes:
    pixels = data.load("digits").test.images[index, 0]
    return written(Image.fromarray(np.rint(pixels * (255 / 16)).astype(np.uint8)))


TURNED = Image.Exif()
TURNED[0x0112] = 6
IMAGES: dict[str, Callable[[], bytes]] = {
    "digit": lambda: digit(3),
    "rgb": lambda: written(image(1, 40, "RGB")),
    "transparent": lambda: written(image(2, 40, "RGBA")),
    "palette": lambda: written(image(3, 40, "RGB").quantize(8), transparency=2),
    "16 bits": lambda: written(Image.fromarray(np.arange(0, 65536, 1024, dtype=np.uint16).reshape(8, 8))),
    "jpeg, turned": lambda: written(image(4, 64, "RGB"), "JPEG", exif=TURNED.tobytes()),
    "webp": lambda: written(image(5, 64, "RGB"), "WEBP", lossless=True),
    "large": lambda: written(image(6, 512, "RGB"), "JPEG"),
    "damaged beside its pixels": lambda: digit(4)[:33] + b"\0\0\0\4tEXt\0\0\0\0\0\0\0\0" + digit(4)[33:],
}


@pytest.mark.parametrize("name", IMAGES)
def test_answers_are_those_of_predict(service: Running, trained: TrainedRun, name: str) -> None:
    content = IMAGES[name]()
    answer = service.ask("/predict", content)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        expected = trained.predict(content)
    assert (answer.status, list(answer.json)) == (200, ["predictions", "warning"][: 1 + len(told)])
    check_same(answer.json["predictions"], expected)
    for warning in told:
        fix = "give it with light and dark turned round"
        assert answer.json["warning"] == f"/{str(warning.message).replace('give invert=True', fix)}"


@pytest.mark.parametrize("kind", ["ink", "faint"])
def test_what_predict_warns_of_stands_in_the_answer(service: Running, kind: str) -> None:
    """Of the images of a form each has its own."""
    shown = Image.open(io.BytesIO(digit(0))).point(lambda shade: 255 - shade if kind == "ink" else shade // 16)
    body = form(("a.png", digit(0)), ("b.png", written(shown)))
    usual, wrong = service.ask("/predict", body, content_type=FORM).json["images"]
    assert "warning" not in usual
    assert wrong["warning"].startswith(
        "/predict: the image is dark on light, and digits is light on dark; give it with light and dark turned round"
        if kind == "ink"
        else "/predict: the image goes no higher than 16 of 255, as raw arrays of digits do; "
    )


def test_files_of_a_form_are_answered_in_their_order(service: Running, trained: TrainedRun) -> None:
    files = [
        ("öne.png", digit(0)),
        ('t"wo.jpg'.replace('"', ""), written(image(7, 200, "RGB"), "JPEG")),
        ("one.png", digit(1)),
    ]
    answer = service.ask("/predict?top=2", form(*files), content_type=FORM)
    assert answer.status == 200
    assert [one["file"] for one in answer.json["images"]] == [name for name, _ in files]
    for one, (_, content) in zip(answer.json["images"], files, strict=True):
        check_same(one["predictions"], trained.predict(content, top=2))


def test_top_may_be_more_than_there_are(service: Running, trained: TrainedRun) -> None:
    answer = service.ask("/predict?top=99999", digit(0))
    check_same(answer.json["predictions"], trained.predict(digit(0), top=10))


class Gate:
    """Stands before the model, and lets nobody in until it is `opened`."""

    def __init__(self, service: Running) -> None:
        self.opened, self.reached = threading.Event(), threading.Event()
        self.sizes: list[int] = []
        self._batcher = service.service.batcher
        self._model = self._batcher.model

    def __enter__(self) -> "Gate":
        self._batcher.model = self._model._replace(probabilities=self._wait)
        return self

    def __exit__(self, *error: object) -> None:
        self.opened.set()
        self._batcher.model = self._model

    def _wait(self, raw: np.ndarray) -> np.ndarray:
        self.sizes.append(len(raw))
        self.reached.set()
        assert self.opened.wait(PATIENCE)
        return self._model.probabilities(raw)


def wait_for(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.002)


def test_images_that_come_together_are_computed_together(service: Running, trained: TrainedRun) -> None:
    """Each client has its own answer, whatever the batch: photos that threads decode among small ones."""
    contents = [written(image(seed, 8 if seed % 4 else 400)) for seed in range(41)]
    with ThreadPoolExecutor(len(contents)) as clients, Gate(service) as gate:
        first = clients.submit(service.ask, "/predict", contents[0])
        assert gate.reached.wait(PATIENCE)
        others = [clients.submit(service.ask, "/predict", content) for content in contents[1:]]
        wait_for(lambda: len(service.service.batcher._jobs) == 40)
        assert "gpucnn_queue_images 41\n" in service.ask("/metrics").content.decode()
        gate.opened.set()
        answers = [waiting.result() for waiting in [first, *others]]
    assert gate.sizes == [1, 32, 8]
    for content, answer in zip(contents, answers, strict=True):
        assert answer.status == 200
        check_same(answer.json["predictions"], trained.predict(content))


def test_images_that_nobody_waits_for_any_more_hold_up_no_other(service: Running) -> None:
    """A form of more images than a batch has, one of which is none; and a client that asks while its others wait for the model."""
    files = [("bad.png", digit(1)[:50]), *((f"{place}.png", written(image(place, 400))) for place in range(40))]
    with ThreadPoolExecutor(3) as clients, Gate(service) as gate:
        first = clients.submit(service.ask, "/predict", digit(0))
        assert gate.reached.wait(PATIENCE)
        assert clients.submit(service.ask, "/predict", form(*files), content_type=FORM).result().status == 422
        batcher = service.service.batcher
        wait_for(lambda: len(batcher._jobs) == 40)
        last = clients.submit(service.ask, "/predict", digit(1))
        wait_for(lambda: len(batcher._jobs) == 41)
        gate.opened.set()
        assert first.result().status == last.result().status == 200
        assert batcher.waiting == 0
    assert gate.sizes == [1, 1]


def test_an_image_waits_for_those_on_their_way_and_no_longer_than_it_may(trained: TrainedRun) -> None:
    with running(trained, wait_ms=100) as service:
        with socket.create_connection(("127.0.0.1", service.port)) as slow:
            slow.sendall(b"POST /predict HTTP/1.1\r\nhost: here\r\ncontent-length: 9\r\n\r\n")
            wait_for(lambda: service.service.batcher.arriving == 1)
            began = time.monotonic()
            assert service.ask("/predict", digit(0)).status == 200
            assert time.monotonic() - began >= 0.09
        wait_for(lambda: service.service.batcher.arriving == 0)
        assert service.ask("/predict", digit(0)).status == 200


def huge(width: int, height: int) -> bytes:
    """A PNG file whose header promises many pixels."""
    header = b"IHDR" + struct.pack(">2L5B", width, height, 8, 0, 0, 0, 0)
    pixels = b"IDAT" + zlib.compress(b"\0" * 1000)
    chunks = (
        struct.pack(">L", len(one) - 4) + one + struct.pack(">L", zlib.crc32(one)) for one in (header, pixels, b"IEND")
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def many_scans() -> bytes:
    """A JPEG file whose last scan is repeated: some bytes each, and work for all pixels."""
    content = written(image(1, 64), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * 200 + content[-2:]


WHOLE = "send the whole file, as it is on disk; with curl by --data-binary, not --data"
KINDS = "save it as one of PNG, JPEG and WebP"
REFUSED: dict[str, tuple[str, dict[str, Any], int, str, str]] = {
    "no such path": ("/other", {}, 404, "there is no /other", "ask for one of /predict, /health, /ready, /metrics, /docs, /"),
    "asked with GET": ("/predict", {}, 405, "/predict takes POST, got GET", "POST an image to it"),
    "asked with PUT": ("/health", {"method": "PUT"}, 405, "/health takes GET, HEAD, got PUT", "ask it with GET"),
    "too many bytes": (
        "/predict", {"body": b"\0" * 2_000_000}, 413, "a request of more than 100,000 bytes", "make the image smaller, or send fewer at one time",
    ),
    "too many in chunks": (
        "/predict", {"body": iter([b"\0" * 70_000] * 9)}, 413, "a request of more than 100,000 bytes", "make the image smaller, or send fewer at one time",
    ),
    "too many pixels": (
        "/predict", {"body": huge(1001, 1000)}, 413, "an image of 1001x1000 pixels, at most 1,000,000 are taken", "make the image smaller",
    ),
    "more than Pillow opens": (
        "/predict", {"body": huge(60_000, 60_000)},
        413, "an image of more pixels than Pillow opens, at most 1,000,000 are taken", "make the image smaller",
    ),
    "too many scans": (
        "/predict", {"body": many_scans()}, 422, "a JPEG of more than 100 scans", "save it anew, as any program does",
    ),
    "too many files": (
        "/predict", {"body": form(*[("a.png", b"")] * 17), "content_type": FORM}, 413, "more than 16 files in a request", "send them in several requests",
    ),
    "a GIF": (
        "/predict", {"body": written(image(1), "GIF")}, 415, "it begins as GIF does; PNG, JPEG and WebP are taken", "save it as one of PNG, JPEG and WebP",
    ),
    "a TIFF in a form": (
        "/predict", {"body": form(("a.png", digit(0)), ("b.tif", written(image(1), "TIFF"))), "content_type": FORM},
        415, "b.tif: it begins as TIFF does; PNG, JPEG and WebP are taken", "save it as one of PNG, JPEG and WebP",
    ),
    "text": (
        "/predict", {"body": b"hello"}, 415, "it begins as no image does; PNG, JPEG and WebP are taken", f"{KINDS}, and {decoding.AS_IT_IS}",
    ),
    "what curl --data leaves of a PNG": (
        "/predict", {"body": re.sub(rb"[\r\n\0]", b"", digit(0))},
        415, "it begins as no image does; PNG, JPEG and WebP are taken", f"{KINDS}, and {decoding.AS_IT_IS}",
    ),
    "nothing": ("/predict", {"body": b""}, 422, "an empty file", "send the bytes of an image file"),
    "cut off": (
        "/predict", {"body": written(image(2, 64, "RGB"), "JPEG")[:300]}, 422, "the image cannot be read (", WHOLE,
    ),
    "cut off in a form": (
        "/predict", {"body": form(("a.png", digit(0)), ("b.png", digit(1)[:50])), "content_type": FORM},
        422, "b.png: the image cannot be read (", WHOLE,
    ),
    "a form without a file": (
        "/predict", {"body": form(), "content_type": FORM}, 422, "a form without a file", "send each image as a file of the form: curl -F image=@digit.png",
    ),
    "a field": (
        "/predict", {"body": form(("a", b"1")).replace(b'; filename="a"', b""), "content_type": FORM},
        422, "field 'image' of the form is no file", "send each image as a file of the form: curl -F image=@digit.png",
    ),
    "a form that was cut off": (
        "/predict", {"body": form(("a.png", digit(0)))[:-9], "content_type": FORM},
        400, "the form has no end: it was cut off, or its boundary is another", "send each image as a file of the form: curl -F image=@digit.png",
    ),
    "a form without a boundary": (
        "/predict", {"body": form(("a.png", digit(0))), "content_type": "multipart/form-data"},
        400, "multipart/form-data without a boundary of 1 to 70 characters", "send each image as a file of the form: curl -F image=@digit.png",
    ),
    "long headers in a form": (
        "/predict", {"body": form(("a" * 9000, digit(0))), "content_type": FORM},
        400, "part 1 of the form has no headers, or more than 8192 bytes of them", "send each image as a file of the form: curl -F image=@digit.png",
    ),
    "a wrong number": ("/predict?top=0", {"body": digit(0)}, 400, "the query 'top=0' is not understood", "give ?top=K, K a whole number >= 1"),
    "two numbers": (
        "/predict?top=1&top=3", {"body": digit(0)}, 400, "the query 'top=1&top=3' is not understood", "give ?top=K, K a whole number >= 1",
    ),
    "a name in no character set": (
        "/predict", {"body": form(("", digit(0))).replace(b'filename=""', b"filename*=undefined''a"), "content_type": FORM},
        400, "the name of file 1 of the form cannot be read", "name it in ASCII or UTF-8",
    ),
    "a name that is no text": (
        "/predict", {"body": form(("", b"")).replace(b'filename=""', b"filename*=utf-7''%2B2AA-"), "content_type": FORM},
        422, "?: an empty file", "send the bytes of an image file",
    ),
    "a boundary in no character set": (
        "/predict", {"body": form(("a.png", digit(0))), "content_type": "multipart/form-data; boundary*=undefined''edge"},
        400, "multipart/form-data without a boundary of 1 to 70 characters", "send each image as a file of the form: curl -F image=@digit.png",
    ),
    "another word": ("/predict?best=3", {"body": digit(0)}, 400, "the query 'best=3' is not understood", "give ?top=K, K a whole number >= 1"),
}  # fmt: skip


@pytest.fixture(scope="module")
def strict(trained: TrainedRun) -> Iterator[Running]:
    limits = {"max_bytes": 100_000, "max_pixels": 1_000_000, "queue": 16}
    with running(trained, **limits) as started:
        yield started


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_told_with_the_fix(strict: Running, name: str) -> None:
    path, request, status, reason, fix = REFUSED[name]
    answer = strict.ask(path, **request)
    found_status, found_reason, found_fix = answer.error
    assert (found_status, found_fix) == (status, fix)
    assert found_reason.startswith(reason) if reason.endswith("(") else found_reason == reason
    assert (status == 405) == ("allow" in answer.headers)
    wait_for(
        lambda: strict.service.batcher.waiting == strict.service.batcher.arriving == strict.service._held.bytes == 0
    )
    assert strict.ask("/predict", digit(0)).status == 200


def raw(service: Running, *parts: bytes) -> Answer:
    """What comes back for bytes that are no request of http.client's."""
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) as connection:
        for part in parts:
            connection.sendall(part)
        return answered(connection)


def answered(connection: socket.socket) -> Answer:
    """The answer that comes on a connection."""
    with http.client.HTTPResponse(connection) as answer:
        answer.begin()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())


def test_what_is_no_request_is_answered_in_the_same_form(strict: Running) -> None:
    assert raw(strict, b"hello\r\n\r\n").error == (
        400,
        "what came is no request of HTTP/1.1",
        "send one, e.g. with curl; /docs tells how",
    )


def test_slow_clients_are_sent_away_and_hold_no_place(trained: TrainedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "TICKS", 1)
    sent = [b"", b"POST /pre", b"POST /predict HTTP/1.1\r\nhost: here\r\ncontent-length: 99\r\n\r\n\x89PNG"]
    with running(trained, read_seconds=2) as service:
        clients = [socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) for _ in sent]
        for client, part in zip(clients, sent, strict=True):
            client.sendall(part)
        for client in clients:
            with client:
                error = 408, "the request did not arrive within 2 seconds", "send it at once, or a smaller image"
                assert answered(client).error == error
        found = service.service
        wait_for(lambda: found.batcher.waiting == found.batcher.arriving == found._held.bytes == 0)


def test_a_full_queue_asks_to_come_again(strict: Running) -> None:
    with ThreadPoolExecutor(17) as clients, Gate(strict) as gate:
        taken = [clients.submit(strict.ask, "/predict", digit(0)) for _ in range(16)]
        wait_for(lambda: strict.service.batcher.waiting == 16)
        answer = strict.ask("/predict", digit(0))
        assert answer.error == (503, "16 images wait already, of at most 16", "come again in a moment")
        assert answer.headers["retry-after"] == "1"
        gate.opened.set()
        assert [waiting.result().status for waiting in taken] == [200] * 16


def test_more_than_memory_shall_hold_is_asked_to_come_again(strict: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_module, "HELD", 0)
    monkeypatch.setattr(body_module, "HELD_BYTES", 0)
    assert strict.ask("/predict", digit(0)).error == (
        503,
        "too many large requests came together",
        "come again in a moment",
    )
    wait_for(lambda: strict.service._held.bytes == 0)


def test_a_fault_of_the_model_is_told_and_the_next_is_answered(
    strict: Running, capfd: pytest.CaptureFixture[str]
) -> None:
    batcher = strict.service.batcher
    model = batcher.model
    wrong = "a fault of the service", "whoever runs it finds the error in its log"
    for found in (np.full((1, 10), np.nan), None):
        batcher.model = model._replace(probabilities=lambda raw, found=found: found)
        assert strict.ask("/predict", digit(0)).error == (500, *wrong)
    batcher.model = model
    assert strict.ask("/predict", digit(0)).status == 200
    told = capfd.readouterr().err
    assert told.count("Traceback") == 2
    assert "ArithmeticError: the model's answer is not finite" in told


def test_a_client_that_goes_away_is_not_computed(
    trained: TrainedRun, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(app_module, "WATCH_SECONDS", 0.01)
    with running(trained) as service, ThreadPoolExecutor(1) as clients, Gate(service) as gate:
        first = clients.submit(service.ask, "/predict", digit(0))
        assert gate.reached.wait(PATIENCE)
        batcher = service.service.batcher
        with socket.create_connection(("127.0.0.1", service.port)) as leaving:
            content = digit(1)
            leaving.sendall(
                b"POST /predict HTTP/1.1\r\nhost: here\r\ncontent-length: %d\r\n\r\n" % len(content) + content
            )
            wait_for(lambda: batcher.waiting == 2)
        wait_for(lambda: batcher._jobs[0].accepted.future.done())
        gate.opened.set()
        assert first.result().status == 200
        wait_for(lambda: batcher.waiting == 0)
        assert gate.sizes == [1]
        assert metrics_of(service)['gpucnn_requests_total{route="/predict",status="499"}'] == 1
    assert capfd.readouterr().err == ""


def metrics_of(service: Running) -> dict[str, float]:
    """As Prometheus reads them: each line a comment, or a name with labels and a number."""
    answer = service.ask("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    found = {}
    described: set[str] = set()
    for line in answer.content.decode().splitlines():
        if comment := re.fullmatch(r"# (HELP|TYPE) (\w+) (.+)", line):
            described.add(comment[2])
            continue
        value = re.fullmatch(r'([a-z_]+)(\{\w+="[^"]*"(?:,\w+="[^"]*")*\})? (\S+)', line)
        assert value, line
        assert value[1] in described or re.sub("_(bucket|sum|count)$", "", value[1]) in described
        found[f"{value[1]}{value[2] or ''}"] = float(value[3])
    return found


def test_metrics_count_what_was_asked(trained: TrainedRun) -> None:
    with running(trained) as service:
        for _ in range(3):
            service.ask("/predict", digit(0))
        service.ask("/predict", form(("a.png", digit(0)), ("b.png", digit(1))), content_type=FORM)
        service.ask("/predict", b"hello")
        service.ask("/nowhere")
        service.ask('/no"where\\')
        found = metrics_of(service)
    assert found['gpucnn_requests_total{route="/predict",status="200"}'] == 4
    assert found['gpucnn_requests_total{route="/predict",status="415"}'] == 1
    assert found['gpucnn_requests_total{route="other",status="404"}'] == 2
    assert found["gpucnn_images_total"] == found["gpucnn_batch_images_sum"] == 5
    assert found["gpucnn_queue_images"] == 0
    assert 0 < found["gpucnn_model_seconds_total"] < found["gpucnn_predict_seconds_sum"]
    buckets = [value for name, value in found.items() if name.startswith("gpucnn_predict_seconds_bucket")]
    assert buckets == sorted(buckets)
    assert buckets[-1] == found["gpucnn_predict_seconds_count"] == 5


def test_health_and_readiness(service: Running) -> None:
    assert (service.ask("/health").status, service.ask("/health").json) == (200, {"alive": True})
    assert (service.ask("/ready").status, service.ask("/ready").json) == (200, {"ready": True})
    service.service.stopping = True
    try:
        assert service.ask("/ready").error == (503, "the service is stopping", "ask another one")
        answer = service.ask("/predict", digit(0))
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert service.ask("/health").status == 200
    finally:
        service.service.stopping = False


def test_the_page_tells_all_and_lets_nothing_else_in(service: Running) -> None:
    answer = service.ask("/")
    assert answer.status == 307
    assert answer.headers["location"] == f"http://127.0.0.1:{service.port}/docs"
    answer = service.ask("/docs")
    page = answer.content.decode()
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert (policy["default-src"], policy["connect-src"]) == ("'none'", "'self'")
    for tag in ("style", "script"):
        (own,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(own.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert f"curl --data-binary @image.png http://127.0.0.1:{service.port}/predict" in page
    assert set(re.findall(r"https?://[^/\s\"'&]+", page)) == {f"http://127.0.0.1:{service.port}"}
    assert re.search(r'\b(src|href)="(?!data:,|health|ready|metrics)', page) is None
    assert "style=" not in page
    shown = service.ask("/docs", Host='"><script>alert(1)</script>').content.decode()
    assert "<script>alert" not in shown


def test_the_lines_of_the_page_work(
    service: Running, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    (tmp_path / "image.png").write_bytes(digit(0))
    monkeypatch.chdir(tmp_path)
    page = service.ask("/docs").content.decode()
    (code,) = re.findall(r"<code>(import json.*?)</code>", page, re.DOTALL)
    exec(code.replace("&quot;", '"'))
    assert re.fullmatch(r"{'class': '\d', 'probability': 0\.\d+}\n", capsys.readouterr().out)


def test_it_can_be_mounted_in_another_application(trained: TrainedRun) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    inner = create_app(trained)
    outer = Starlette(routes=[Mount("/digits", inner)], lifespan=inner.router.lifespan_context)
    outer.state.service = inner.state.service
    with running(trained, outer) as service:
        check_same(service.ask("/digits/predict", digit(0)).json["predictions"], trained.predict(digit(0)))
        assert service.ask("/digits/").headers["location"] == f"http://127.0.0.1:{service.port}/digits/docs"
        assert f"http://127.0.0.1:{service.port}/digits/predict" in service.ask("/digits/docs").content.decode()
        assert b'route="/predict",status="200"} 1' in service.ask("/digits/metrics").content
        status, reason, fix = service.ask("/digits/other").error
        assert (status, reason) == (404, "there is no /digits/other")
        assert fix.startswith("ask for one of /digits/predict, /digits/health, ")
        service.end()
        wait_for(lambda: inner.state.service.stopping)


def test_without_onnxruntime_gpucnn_computes_and_says_so(trained: TrainedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with running(trained) as service:
        model = service.service.model
        assert model.name == "gpucnn on cpu"
        (note,) = model.notes
        assert re.fullmatch(
            r"gpucnn computes, which is slower: a faster service needs onnxruntime \(.*\); pip install \"gpucnn\[onnxruntime\]\"",
            note,
        )
        check_same(service.ask("/predict", digit(0)).json["predictions"], trained.predict(digit(0)))


@pytest.mark.parametrize("library", ["onnxruntime", None])
def test_a_model_without_finite_answers_is_not_served(library: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if library is None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with ready_run() as folder:
        spoilt = folder.load(Device())
    next(iter(spoilt.model.parameters())).data[...] = np.nan
    with pytest.raises(
        (StateError, GraphError), match="answers .*are not finite numbers.*; train with a lower --lr, or choose"
    ):
        create_app(spoilt)


@pytest.mark.parametrize("name", ["max_batch", "max_bytes", "max_pixels", "queue"])
def test_limits_are_counts(name: str) -> None:
    with pytest.raises(ArgumentError, match=f"{name} must be an int >= 1, got 0"):
        ServeOptions(**{name: 0})


def test_times_are_times() -> None:
    with pytest.raises(ArgumentError, match=r"wait_ms must be a number >= 0, got -1"):
        ServeOptions(wait_ms=-1)
    with pytest.raises(
        ArgumentError, match=r"max_pixels must be at most 178,956,970, as Pillow reads no more, got 1,000,000,000"
    ):
        ServeOptions(max_pixels=10**9)
    with pytest.raises(ArgumentError, match=r"read_seconds must be above 0: nobody can answer in no time"):
        ServeOptions(read_seconds=0)


def test_a_host_that_is_none_is_told() -> None:
    for host in ("nowhere.invalid", "192.0.2.1"):  # which no name server knows, and no machine has
        with pytest.raises(
            ArgumentError, match=rf"{host} port 0 cannot be had \(.*\); give an address of this machine with --host"
        ):
            bound(host, 0)


def test_a_port_that_is_taken_is_told() -> None:
    with bound("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(
            ArgumentError,
            match=rf"127.0.0.1 port {port} cannot be had \(Address already in use\); choose another with --port",
        ):
            bound("127.0.0.1", port)


def test_without_starlette_it_is_told_what_to_install(trained: TrainedRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "starlette", None)
    with pytest.raises(LibraryError, match=r'a service needs starlette \(.*\); pip install "gpucnn\[serve\]"'):
        create_app(trained)


def test_what_takes_longer_than_the_grace_is_told(
    trained: TrainedRun, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(server_module, "LAST_SECONDS", 0.1)
    with (
        running(trained, grace_seconds=1) as service,
        socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) as slow,
        socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE) as refused,
    ):
        slow.sendall(b"POST /predict HTTP/1.1\r\nhost: here\r\ncontent-length: 9\r\n\r\n")
        refused.sendall(b"POST /predict HTTP/1.1\r\nhost: here\r\ncontent-length: 999999999\r\n\r\n")
        wait_for(lambda: service.service.batcher.arriving == 1)
        assert answered(refused).status == 413
        service.end()
        found = answered(slow)
    assert found.error == (503, "the service is stopping", "ask another one")
    assert found.headers["connection"] == "close"
    assert capfd.readouterr().err == ""


def send_all(client: socket.socket, parts: list[bytes]) -> None:
    for part in parts:
        client.sendall(part)


@pytest.mark.parametrize("path", ["/predict", "/docs"])
def test_headers_without_end_after_a_request_end_the_connection(strict: Running, path: str) -> None:
    """Those after the chunks of a body, and those of a second request while the first is under way."""
    begun = b"0\r\n" if path == "/predict" else b"0\r\n\r\nGET /docs HTTP/1.1\r\n"
    head = f"POST {path} HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n".encode()
    parts = [head + begun, *[b"x: " + b"y" * 60_000 + b"\r\n"] * 1000]
    with (
        socket.create_connection(("127.0.0.1", strict.port), timeout=PATIENCE) as client,
        pytest.raises(ConnectionError),
    ):
        send_all(client, parts)
    wait_for(lambda: strict.service.batcher.arriving == strict.service._held.bytes == 0)
    assert strict.ask("/predict", digit(0)).status == 200
