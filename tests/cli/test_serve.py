"""`gpucnn serve` as a process: what it says, and how it ends under load."""

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from gpucnn.cli.main import main
from gpucnn.play.ready_run import ready_run

pytest.importorskip("uvicorn", reason="needs the extra serve")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run() -> Iterator[Path]:
    with ready_run() as folder:
        yield folder.path


class Process(NamedTuple):
    """A service, and the lines that it printed at its start."""

    process: "subprocess.Popen[str]"
    port: int
    lines: list[str]

    def ended(self) -> tuple[int, str, str]:
        """Its exit status, and what it printed until then."""
        out, error = self.process.communicate(timeout=60)
        return self.process.returncode, out, error


@contextmanager
def started(run: Path, *options: str) -> Iterator[Process]:
    patient = "import gpucnn.serve.server; gpucnn.serve.server.LAST_SECONDS = 60"  # for clients on a slow machine
    main = "import sys; from gpucnn.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", f"{patient}; {main}", "serve", str(run), "--port", "0", *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        address = re.search(r"on http://127\.0\.0\.1:(\d+)\n$", lines[0])
        assert address, (lines, process.poll())
        lines.append(process.stdout.readline())
        try:
            yield Process(process, int(address[1]), lines)
        finally:
            process.kill()


def test_a_second_signal_ends_it_at_once(run: Path) -> None:
    with started(run) as service:
        assert re.fullmatch(
            r"serving \S+ \(last, of model.safetensors\) with (onnxruntime [\d.]+|gpucnn on cpu) on \S+\n",
            service.lines[0],
        )
        slow, other = (socket.create_connection(("127.0.0.1", service.port), timeout=60) for _ in range(2))
        with slow, other:
            slow.sendall(b"POST /predict HTTP/1.1\r\nhost: here\r\ncontent-length: 9\r\n\r\n")
            assert status(other, "/ready") == 200
            service.process.send_signal(signal.SIGINT)
            while (found := status(other, "/ready")) == 200:
                time.sleep(0.01)
            assert found == 503
            assert service.process.poll() is None
            service.process.send_signal(signal.SIGTERM)
            assert service.ended() == (143, "", "")


def status(connection: socket.socket, path: str) -> int:
    connection.sendall(f"GET {path} HTTP/1.1\r\nhost: here\r\n\r\n".encode())
    with http.client.HTTPResponse(connection) as answer:
        answer.begin()
        answer.read()
        return answer.status


def test_without_uvicorn_it_is_told_what_to_install(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve", str(run), "--port", "0"]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(r'gpucnn serve: a service needs uvicorn \(.*\); pip install "gpucnn\[serve\]"\n', printed.err)


def test_a_port_that_is_taken_is_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", str(run), "--port", str(port)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == (
        f"gpucnn serve: 127.0.0.1 port {port} cannot be had (Address already in use); choose another with --port, 0 for any that "
        f"is free\n"
    )
