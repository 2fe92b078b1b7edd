"""A service that really runs, in a thread, and a client that shares no code with it."""

import http.client
import io
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from gpucnn.runs.trained_run import TrainedRun
from gpucnn.serve import ServeOptions, create_app
from gpucnn.serve.app import Service
from gpucnn.serve.server import bound, server_of
from tests.serve.answer import PATIENCE, Answer, answered

if TYPE_CHECKING:
    from starlette.applications import Starlette


class Running(NamedTuple):
    """A service at a port of this machine."""

    port: int
    service: Service
    end: Callable[[], None]
    """Ask it to end, as a signal does."""

    def ask(self, path: str, body: Any = None, method: str | None = None, **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            names = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.request(method or ("GET" if body is None else "POST"), path, body, names)
            return answered(connection)
        finally:
            connection.close()


@contextmanager
def running(trained: TrainedRun, app: "Starlette | None" = None, **limits: Any) -> Iterator[Running]:
    """Inside, a service answers."""
    options = ServeOptions(**limits)
    app = app or create_app(trained, options)
    with bound("127.0.0.1", 0) as listening:
        server = server_of(app, options)
        thread = threading.Thread(target=server.run, args=([listening],))
        port = listening.getsockname()[1]
        thread.start()
        try:
            yield Running(port, app.state.service, lambda: server.handle_exit(signal.SIGTERM, None))
        finally:
            server.should_exit = True
            thread.join(PATIENCE)
            assert not thread.is_alive()


def image(seed: int, size: int = 8, mode: str = "L") -> Image.Image:
    """An image of coarse squares, which no two seeds share."""
    channels = len(mode)
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, channels), np.uint8)
    fine = coarse.repeat(size // 4, axis=0).repeat(size // 4, axis=1)
    return Image.fromarray(fine[:, :, 0] if channels == 1 else fine, mode)


def written(shown: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """As a file."""
    stream = io.BytesIO()
    shown.save(stream, kind, **options)
    return stream.getvalue()


def form(*files: tuple[str, bytes], boundary: str = "edge") -> bytes:
    """A body of multipart/form-data."""
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n\r\n'.encode() + content
        for name, content in files
    ]
    return b"\r\n".join([*parts, f"--{boundary}--\r\n".encode()])


FORM = "multipart/form-data; boundary=edge"
