"""The cache of compiled modules, seen by processes that share it."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gpucnn.testing.emulator import Emulator

PROGRAM = """
import numpy as np
from gpucnn.testing.emulator import Emulator
source = 'extern "C" __global__ void answer(int* x) { x[threadIdx.x] = 42; }'
x = np.zeros(3, np.int32)
Emulator("fast").module(source).function("answer")((1,), (3,), (x,))
print(x.tolist())
"""


class Processes:
    """Runs a program that compiles one kernel, with a compiler that writes down what it is called for."""

    def __init__(self, folder: Path) -> None:
        self.cache = folder / "cache"
        self.log = folder / "calls"
        compiler = folder / "bin" / "g++"
        compiler.parent.mkdir()
        compiler.write_text(f'#!/bin/sh\necho "$@" >> {self.log}\nPATH="{os.environ["PATH"]}" exec g++ "$@"\n')
        compiler.chmod(0o755)
        self.environment = os.environ | {"CXX": str(compiler), "GPUCNN_EMULATOR_CACHE": str(self.cache)}

    def start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self) -> int:
        """How often it called the compiler, beyond asking for its version."""
        self.log.write_text("")
        output, _ = self.start().communicate()
        assert output == "[42, 42, 42]\n"
        return sum(call != "--version" for call in self.log.read_text().splitlines())


@pytest.fixture
def processes(tmp_path: Path) -> Processes:
    return Processes(tmp_path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def garble(path: Path) -> None:
    path.write_text("{")


DAMAGES: list[tuple[str, Callable[[Path], None]]] = [
    ("kernels-*.so", cut),
    ("kernels-*.so", Path.unlink),
    ("kernels-*.json", garble),
    ("runtime-*.so", cut),
]


def test_a_second_process_compiles_nothing(processes: Processes) -> None:
    assert processes.run() > 0
    assert processes.run() == 0
    for pattern, damage in DAMAGES:
        [path] = processes.cache.glob(pattern)
        damage(path)
        assert processes.run() > 0, (pattern, damage)
        assert processes.run() == 0, (pattern, damage)
    assert {path.suffix for path in processes.cache.iterdir()} == {".so", ".json"}


@pytest.mark.sample(0)
def test_processes_may_fill_a_cache_at_once(processes: Processes) -> None:
    started = [processes.start() for _ in range(3)]
    assert [process.communicate()[0] for process in started] == ["[42, 42, 42]\n"] * 3


def test_a_folder_that_cannot_be_written(processes: Processes) -> None:
    blocked = processes.cache
    blocked.write_text("a file where the folder should be")
    assert processes.run() > 0
    assert blocked.read_text() == "a file where the folder should be"


@pytest.mark.sample(0)
def test_builds_can_be_repeated_bit_by_bit(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    source = 'extern "C" __global__ void zero(int* x) { __shared__ int y[4]; y[0] = 0; x[0] = y[0]; }'
    for mode in ("fast", "check"):
        contents = []
        for folder in ("one", "another"):
            monkeypatch.setenv("GPUCNN_EMULATOR_CACHE", str(tmp_path / folder))
            Emulator(mode).module(source)
            contents.append({path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()})
        assert contents[0] == contents[1]
