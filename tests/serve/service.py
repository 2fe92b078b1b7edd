"""`gpucnn serve` in a process of its own, and clients that share no code with it: sockets, and http.client."""

import http.client
import os
import re
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.serve.answer import PATIENCE, Answer, answered


class Service:
    """A started `gpucnn serve RUN`; `log` is what it has printed."""

    def __init__(self, run: Path, *options: str, port: int = 0) -> None:
        self.process = subprocess.Popen(
            self.command(run, port, options),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: list[str] = []
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.append(line)
            if found := re.search(r"http://[\d.]+:(\d+)", line):
                self.port = int(found[1])
                break
        else:
            self.process.stdout.close()
            raise AssertionError(f"the service did not start, and ended with {self.process.wait(PATIENCE)}: {self.log}")
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def log(self) -> str:
        return "".join(self._lines)

    def command(self, run: Path, port: int, options: tuple[str, ...]) -> list[str]:
        return [sys.executable, "-m", "gpucnn", "serve", str(run), "--port", str(port), *options]

    def _read(self) -> None:
        assert self.process.stdout is not None
        self._lines.extend(self.process.stdout)

    def connect(self) -> socket.socket:
        """A connection, for whatever bytes."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        """What a good client gets, on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        try:
            connection.request(method, path, body, headers or {})
            return answered(connection)
        finally:
            connection.close()

    def predict(self, image: bytes, kind: str = "image/png") -> Answer:
        return self.ask("POST", "/predict", image, {"Content-Type": kind})

    def metrics(self) -> dict[str, float]:
        """What /metrics has, without its comments: {'name{label="value"}': number}."""
        lines = [line for line in self.ask("GET", "/metrics").content.decode().splitlines() if line and line[0] != "#"]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def memory(self) -> float:
        """Megabytes that the process has in memory now. Linux."""
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def cpu_seconds(self) -> float:
        """That its threads have computed, up to now. Linux."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def ended(self) -> int:
        """The exit status, waited for."""
        status = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status

    def stop(self) -> int:
        """End it as a batch system does."""
        self.signal(signal.SIGTERM)
        return self.ended()


@contextmanager
def serving(run: Path, *options: str, port: int = 0, kind: type[Service] = Service) -> Iterator[Service]:
    """A service, for a while."""
    service = kind(run, *options, port=port)
    try:
        yield service
    finally:
        service.process.kill()
        service.ended()


def sent(service: Service, *pieces: bytes, then: str = "read", pause: float = 0.0) -> bytes:
    """What comes back for these bytes: an answer, or b"" for none.

    `then`: "read" waits for the answer; "half-close" says before that nothing more will come; "leave" reads nothing and goes away;
    "reset" goes away so that the service sees an error.
    """
    with service.connect() as client:
        try:
            for piece in pieces:
                client.sendall(piece)
                time.sleep(pause)
            if then == "leave":
                return b""
            if then == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return b""
            if then == "half-close":
                client.shutdown(socket.SHUT_WR)
        except OSError:  # it was refused before all was sent
            pass
        found = b""
        try:
            while not is_whole(found) and (chunk := client.recv(65536)):
                found += chunk
        except ConnectionResetError:
            pass
        return found


def is_whole(found: bytes) -> bool:
    """Whether an answer has come to the end that its head tells of."""
    head, separator, body = found.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    return bool(separator) and length is not None and len(body) >= int(length[1])


def request(
    body: bytes = b"", *lines: str, method: str = "POST", path: str = "/predict", length: int | str | None = None
) -> bytes:
    """A request as bytes, which asks for the connection to be closed; `length` is said to be that of its body."""
    said = len(body) if length is None else length
    head = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *lines]
    if said != "":
        head.append(f"Content-Length: {said}")
    return "\r\n".join([*head, "", ""]).encode("latin-1") + body


def status_of(found: bytes) -> int:
    """The status of an answer as it came; 0 where none came."""
    matched = re.match(rb"HTTP/1\.[01] (\d{3}) ", found)
    return int(matched[1]) if matched else 0
