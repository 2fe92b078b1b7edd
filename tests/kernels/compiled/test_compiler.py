"""Machine code in files: made once, read by the next process, made anew when a file is damaged or fits no more."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from gpucnn.kernels.compiler import builder, loop, machine_code, processor
from gpucnn.kernels.elementwise import compiled as elementwise_loops

pytestmark = pytest.mark.usefixtures("needs_llvmlite")

ROOT = Path(__file__).parents[3]
COUNTING = """
import sys
import numpy as np
from gpucnn.kernels.compiler import builder
from gpucnn.kernels.compiler import loop
from gpucnn.kernels.compiler import machine_code
from gpucnn.kernels.compiler import processor
from gpucnn.kernels.elementwise import compiled as elementwise_loops
made = []
original = machine_code._machine_code
machine_code._machine_code = lambda text: made.append(text) or original(text)
for positions in (5, 40):
    sums = np.zeros(3, np.float32)
    loop.run(elementwise_loops.plane_sums_loop(positions, False), 3, [np.ones((3, positions), np.float32), sums])
    assert sums.tolist() == [positions] * 3
print(len(made))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the processes of a test keep their code."""
    return tmp_path / "cache" / "jit"


def start(folder: Path, script: str = COUNTING, **environment: str) -> "subprocess.Popen[str]":
    variables = {**os.environ, "GPUCNN_CACHE_DIR": str(folder.parent), **environment}
    command = [sys.executable, "-c", script]
    return subprocess.Popen(command, cwd=ROOT, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def made_by(process: "subprocess.Popen[str]") -> int:
    """How many kernels a fresh process had to compile; it checks itself that they work."""
    output, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, "")
    return int(output)


def test_a_fresh_process_reads_what_another_one_made(folder: Path) -> None:
    assert made_by(start(folder)) == 2
    files = sorted(folder.iterdir())
    assert [(path.suffix, len(path.stem)) for path in files] == [(".o", 64)] * 2
    for path in files:
        content = path.read_bytes()
        assert hashlib.sha256(content[32:]).digest() == content[:32]
    times = [path.stat().st_mtime_ns for path in files]
    assert made_by(start(folder)) == 0
    assert [path.stat().st_mtime_ns for path in files] == times


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda content: b"",
    "shorter than its checksum": lambda content: content[:20],
    "checksum alone": lambda content: content[:32],
    "truncated": lambda content: content[:-1],
    "longer": lambda content: content + b"\0",
    "one bit of code": lambda content: content[:200] + bytes([content[200] ^ 1]) + content[201:],
    "one bit of checksum": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "another file": lambda content: b"nothing of the kind" * 99,
}


@pytest.mark.sample(0)
def test_damaged_files_are_made_anew(folder: Path) -> None:
    assert made_by(start(folder)) == 2
    good = {path: path.read_bytes() for path in folder.iterdir()}
    for name, change in DAMAGE.items():
        for path, content in good.items():
            path.write_bytes(change(content))
        assert made_by(start(folder)) == 2, name
        assert {path: path.read_bytes() for path in folder.iterdir()} == good, name


def test_only_the_damaged_file_is_made_anew(folder: Path) -> None:
    assert made_by(start(folder)) == 2
    one, _ = sorted(folder.iterdir())
    one.unlink()
    assert made_by(start(folder)) == 1


def test_a_folder_in_a_files_place_only_costs_time(folder: Path) -> None:
    assert made_by(start(folder)) == 2
    for path in list(folder.iterdir()):
        path.unlink()
        path.mkdir()
    before = sorted(folder.iterdir())
    assert [made_by(start(folder)) for _ in range(2)] == [2, 2]
    assert sorted(folder.iterdir()) == before


def test_a_cache_that_cannot_be_written_only_costs_time(folder: Path) -> None:
    folder.parent.write_text("a file where the folder should be")
    assert [made_by(start(folder)) for _ in range(2)] == [2, 2]
    assert folder.parent.is_file()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_only_costs_time(folder: Path) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o500)
    assert [made_by(start(folder)) for _ in range(2)] == [2, 2]
    assert list(folder.iterdir()) == []


def test_a_user_without_a_home_only_costs_time(folder: Path) -> None:
    nobody = "import pathlib\ndef fail(): raise RuntimeError('Could not determine home directory.')\n"
    script = f"{nobody}pathlib.Path.home = fail\n{COUNTING}"
    variables = {"XDG_CACHE_HOME": "", "GPUCNN_CACHE_DIR": ""}
    assert [made_by(start(folder, script, **variables)) for _ in range(2)] == [2, 2]


def test_processes_that_start_at_once(folder: Path) -> None:
    """Each makes what it does not find, and a file is never seen half written."""
    processes = [start(folder) for _ in range(4)]
    assert all(0 <= made_by(process) <= 2 for process in processes)
    assert [path.suffix for path in folder.iterdir()] == [".o", ".o"]
    assert made_by(start(folder)) == 0


def test_every_thing_that_code_depends_on_is_in_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Another processor, llvmlite or source, another kernel or size: another file, and another symbol."""
    monkeypatch.setenv("GPUCNN_CACHE_DIR", str(tmp_path))
    machine, versions = processor.processor(), machine_code._versions()

    def symbol_for(machine: Any = machine, versions: Any = versions, sizes: tuple[Any, ...] = (5, False)) -> str:
        seen: list[str] = []

        def load(code: bytes, symbol: str) -> int:
            seen.append(symbol)
            return 0

        def write(machine: Any) -> Any:
            written = builder.Builder("some_kernel", ["first"], machine.lanes)
            return written.finish()

        with mock.patch.multiple(
            machine_code,
            processor=lambda: machine,
            _versions=lambda: versions,
            _load=load,
            _machine_code=lambda _: b"code",
        ):
            machine_code.compiled("some_kernel", sizes, write)
        return seen[0]

    symbols = [
        symbol_for(),
        symbol_for(machine._replace(triple="other")),
        symbol_for(machine._replace(processor="other")),
        symbol_for(machine._replace(features="+none")),
        symbol_for(machine._replace(lanes=machine.lanes // 2)),
        *(symbol_for(versions=(*versions[:k], "other", *versions[k + 1 :])) for k in range(len(versions))),
        symbol_for(sizes=(5, True)),
        symbol_for(sizes=(6, False)),
    ]
    assert symbol_for() == symbols[0]
    assert len(set(symbols)) == len(symbols) == len(list(tmp_path.glob("jit/*.o"))) == 10


def test_another_source_is_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    llvmlite = pytest.importorskip("llvmlite")
    versions = machine_code._versions.__wrapped__
    before = versions()
    assert before[0] == llvmlite.__version__
    original = Path.read_bytes
    for name in ("compiled_by_rows", "builder", "geometry"):
        changed = f"{name}.py"
        monkeypatch.setattr(
            Path, "read_bytes", lambda path, changed=changed: original(path) + b"#" * (path.name == changed)
        )
        assert versions()[:2] == before[:2]
        assert versions()[2] != before[2], changed


def test_what_llvm_refuses_comes_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A builder that writes nonsense is a bug of ours: it must not end in a file of the cache."""
    monkeypatch.setenv("GPUCNN_CACHE_DIR", str(tmp_path))

    def write(machine: Any) -> Any:
        written = builder.Builder("nonsense", ["first"], machine.lanes)
        written.splat(1.0) + written.splat(1.0, 1)
        return written.finish()

    with pytest.raises((RuntimeError, ValueError)):
        machine_code.compiled("nonsense", (), write)
    assert list(tmp_path.rglob("*.o")) == []


def test_machines_without_known_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    binding = pytest.importorskip("llvmlite").binding
    own = binding.get_host_cpu_features()

    def lanes(*features: str) -> int | None:
        found = type(own)(dict.fromkeys(features, True))
        monkeypatch.setattr(binding, "get_host_cpu_features", lambda: found)
        machine = processor.supported_processor.__wrapped__()
        return None if machine is None else int(machine.lanes)

    assert lanes("avx512f", "avx512vl", "fma") == 16
    assert lanes("avx512f", "fma") == 8
    assert lanes("avx2", "fma") == 8
    assert lanes("neon") == 4
    assert lanes("sse2") is None


@pytest.mark.parametrize("triple", ["arm64-apple-darwin23.6.0", "aarch64-unknown-linux-gnu"])
def test_arm_has_vectors_though_llvm_may_not_know(monkeypatch: pytest.MonkeyPatch, triple: str) -> None:
    """On macOS LLVM's map of features is empty, on Linux where /proc/cpuinfo cannot be read, too."""
    binding = pytest.importorskip("llvmlite").binding
    features = type(binding.get_host_cpu_features())
    for name, answer in (
        ("get_host_cpu_features", features),
        ("get_process_triple", lambda: triple),
        ("get_host_cpu_name", lambda: "apple-m1"),
    ):
        monkeypatch.setattr(binding, name, answer)
    machine = processor.supported_processor.__wrapped__()
    assert machine == processor.Processor(triple, "apple-m1", "+neon", 4)


def test_code_loaded_once_serves_every_call() -> None:
    sums = np.zeros(1, np.float32)
    kernel = elementwise_loops.plane_sums_loop(3, False)
    loop.run(kernel, 1, [np.ones((1, 3), np.float32), sums])
    with mock.patch.object(machine_code, "_load", side_effect=AssertionError):
        loop.run(kernel, 1, [np.full((1, 3), 2, np.float32), sums])
    assert sums == 6
