"""`gpucnn play`, without a browser: what it says, what it opens, and how it ends."""

import functools
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import webbrowser
from pathlib import Path

import pytest

from gpucnn.cli import play
from gpucnn.cli.main import main
from gpucnn.play import browser_graph
from gpucnn.play.ready_run import NAME
from gpucnn.play.server import PageServer
from tests.cli.processes import PATIENCE

ROOT = Path(__file__).parents[2]


@pytest.fixture
def ended_at_once(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ctrl-C comes as soon as the page is served; what a browser was asked to open."""

    def interrupted(server: PageServer) -> None:
        raise KeyboardInterrupt

    opened: list[str] = []
    monkeypatch.setattr(PageServer, "serve_forever", interrupted)
    monkeypatch.setattr(webbrowser, "open", opened.append)
    return opened


def test_a_user_s_process_serves_and_ends_politely() -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "gpucnn", "play", "--no-browser"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a shell may have let us ignore it
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        address = re.fullmatch(r"(http://127\.0\.0\.1:\d+/)  \(Ctrl-C ends it\)\n", process.stdout.readline())
        assert address
        with urllib.request.urlopen(address[1], timeout=PATIENCE) as answer:
            assert b"<title>gpucnn play</title>" in answer.read()
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0
        assert process.stdout.read() == "\nended\n"
        assert re.fullmatch(
            r"(gpucnn play: port \d+ is taken, so the page is at another one\n)?", process.stderr.read()
        )


def test_a_browser_is_opened_unless_it_shall_not(ended_at_once: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["play", "--no-browser"]) == 0
    assert ended_at_once == []
    assert main(["play"]) == 0
    address = capsys.readouterr().out.splitlines()[-3].split(" ")[0]
    until = time.monotonic() + PATIENCE
    while not ended_at_once and time.monotonic() < until:
        time.sleep(0.01)
    assert ended_at_once == [address]


def test_a_taken_port_is_told(
    ended_at_once: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for module in ("gpucnn.play.server.PORT", "gpucnn.cli.play.PORT"):
            monkeypatch.setattr(module, port)
        assert main(["play", "--no-browser"]) == 0
        printed = capsys.readouterr()
        assert printed.err == f"gpucnn play: port {port} is taken, so the page is at another one\n"
        assert f":{port}/" not in printed.out
        assert main(["play", "--no-browser", "--port", str(port)]) == 1
        assert capsys.readouterr().err.startswith(f"gpucnn play: port {port} cannot be had (")


def test_an_export_tells_its_size_and_warns_of_a_large_one(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(play, "LARGE", 100_000.0)
    assert main(["play", "--export", "out"]) == 0
    printed = capsys.readouterr()
    size = sum(path.stat().st_size for path in Path("out").iterdir()) / 1e6
    assert (
        printed.out
        == f"out/index.html: {size:.1f} MB in 13 files; open it in a browser, here or on any machine it is copied to\n"
    )
    assert (
        printed.err
        == f"gpucnn play: the page has {size:.0f} MB, most of it weights: a browser takes a while to load it\n"
    )


def test_a_run_without_its_data_is_shown_and_told_of(in_tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = Path(shutil.copytree(Path(play.__file__).parents[1] / "play" / NAME, "run"))
    config = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps({**config, "class_names": [f"number {digit}" for digit in range(10)]}))
    assert main(["play", "run", "--export", "out"]) == 0
    assert capsys.readouterr().err.startswith(
        "gpucnn play: no test images to choose from (run: trained on the classes "
    )


def test_a_function_that_the_browser_does_not_know_ends_the_command(
    in_tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = [name for name in browser_graph.known_functions() if name != "max_pool2d"]
    monkeypatch.setattr(browser_graph, "known_functions", lambda: tuple(known))
    assert main(["play", "--export", "out"]) == 1
    assert capsys.readouterr().err.startswith("gpucnn play: pool1: network.js does not know max_pool2d; add it to ")
    assert not Path("out").exists()
