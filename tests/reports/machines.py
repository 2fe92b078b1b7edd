"""Reports of machines, systems and threads: BLAS outside the first thread, Windows, macOS, packages in a zip, two GPUs."""

import contextvars
import ctypes
import errno
import os
import subprocess
import sys
import threading
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest

import gpucnn
from gpucnn import Tensor, atomic_file, layers, text
from gpucnn import functions as F
from gpucnn.backend import blas
from gpucnn.backend.cuda import use_in_place_of_cupy
from gpucnn.backend.threads import VARIABLE, parallel
from gpucnn.benchmark.machine import keep_freed_memory
from gpucnn.errors import ArgumentError, DeviceError, RunError
from gpucnn.testing.cupy_stand_in import CupyStandIn
from tests.reports.report import Report


def _numbers() -> set[int]:
    """How many threads NumPy's BLAS has, as threadpoolctl reads it."""
    from threadpoolctl import threadpool_info

    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def _in_executor(folder: Path) -> None:
    before = _numbers()

    def inside(_: int) -> set[int]:
        with blas.one_blas_thread():
            return _numbers()

    with ThreadPoolExecutor(2) as executor:
        assert all(found <= {1} for found in executor.map(inside, range(4)))
    assert _numbers() == before


def _forked_worker(folder: Path) -> None:
    if not hasattr(os, "fork"):
        return
    libraries = blas._libraries()
    before = [library.get_num_threads() for library in libraries]
    with blas.one_blas_thread():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12: this process may have threads
            child = os.fork()
        if child == 0:
            os._exit([library.get_num_threads() for library in libraries] != before)
        assert os.waitpid(child, 0)[1] == 0
    assert [library.get_num_threads() for library in libraries] == before


def _context_in_helpers(folder: Path) -> None:
    setting = contextvars.ContextVar("setting", default="none")
    setting.set("mine")
    both, seen = threading.Barrier(2), []

    def look(_: int) -> None:
        both.wait(60)
        seen.append(setting.get())

    with mock.patch.dict(os.environ, {VARIABLE: "2"}):
        parallel(look, 2)
    assert seen == ["mine", "mine"]


def _false_alarms(folder: Path) -> None:
    large = np.full((2, 2), 1e30, np.float32)  # an overflow raises the flags that Accelerate leaves behind
    with mock.patch.object(blas, "has_false_alarms", return_value=True):
        layer = layers.Linear(2, 2)
        layer.weight.assign(large)
        layer(large)
        F.matmul(large, large)


def _no_libc(folder: Path) -> None:
    def load(name: str | None) -> object:
        raise TypeError("LoadLibrary() argument 1 must be str, not None")

    refused = pytest.raises(ArgumentError, match="measure without --keep-memory")
    with mock.patch.object(ctypes, "CDLL", load), refused:
        keep_freed_memory()


def _quotes(folder: Path) -> None:
    with mock.patch.object(text, "WINDOWS", True):
        assert text.quoted(PureWindowsPath(r"runs\lenet5-digits-1")) == r"runs\lenet5-digits-1"
        assert text.quoted(PureWindowsPath(r"C:\my runs\a")) == r'"C:\my runs\a"'


def _held_open(folder: Path) -> None:
    def refuse(path: Path, target: Path) -> None:
        raise PermissionError(errno.EACCES, "Access is denied")

    windows = (mock.patch.object(Path, "replace", refuse), mock.patch.object(atomic_file.time, "sleep"))
    refused = pytest.raises(RunError, match="another program may have it open")
    with windows[0], windows[1], refused, atomic_file.telling_of(folder):
        atomic_file.write_atomically(folder / "last", b"new")


def _full_sync(folder: Path) -> None:
    asked: list[int] = []
    system = SimpleNamespace(F_FULLFSYNC=51, fcntl=lambda handle, what: asked.append(what))
    with mock.patch.object(atomic_file, "fcntl", system):
        atomic_file.write_atomically(folder / "last", b"new")
    assert asked[0] == 51


def _in_a_zip(folder: Path) -> None:
    package = Path(gpucnn.__file__).parent
    with zipfile.ZipFile(folder / "files.zip", "w") as archive:
        for file in package.rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                archive.write(file, Path("gpucnn", file.relative_to(package)))
    code = "from gpucnn.data.digits import read_digits; print(len(read_digits()[0]))"
    environment = {**os.environ, "PYTHONPATH": str(folder / "files.zip")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("1437\n", "")


def _current_device(folder: Path) -> None:
    cupy = CupyStandIn(SimpleNamespace(), devices=2)
    with use_in_place_of_cupy(cupy):
        runtime = cupy.cuda.runtime
        there = Tensor(np.ones((2, 2), np.float32), requires_grad=True).to("cuda:1")
        assert runtime.getDevice() == 0
        (there + there).sum().backward()
        assert runtime.getDevice() == 0


def _two_devices(folder: Path) -> None:
    with use_in_place_of_cupy(CupyStandIn(SimpleNamespace(), devices=2)):
        here, there = (Tensor(np.ones(2, np.float32), requires_grad=True).to(f"cuda:{index}") for index in (0, 1))
        with pytest.raises(DeviceError, match="tensors on cuda:1 and cuda:0 met in one operation"):
            here + there


REPORTS = [
    Report(
        "threadpoolctl's limits in the threads of an executor",
        "NumPy's products take one thread there, too, and the number is as before afterwards",
        "joblib/threadpoolctl#205", _in_executor,
    ),
    Report(
        "a process that forks while BLAS is limited to one thread",
        "the child has the number of threads that the user had, and the parent gets it back",
        "OpenMathLib/OpenBLAS#2270", _forked_worker,
    ),
    Report(
        "numpy.errstate, or another context variable, around a loop of many threads",
        "it holds in every thread of the loop", "", _context_in_helpers,
    ),
    Report(
        "matrix products by Apple's Accelerate",
        "no warning of divisions by zero that did not happen", "numpy/numpy#28687", _false_alarms,
    ),
    Report(
        "products on an M4",
        "likewise", "numpy/numpy#29820", _false_alarms,
    ),
    Report(
        "gpucnn bench --keep-memory on Windows",
        "an error that says what to leave out", "python/cpython#78773", _no_libc,
    ),
    Report(
        "the command that goes on with a run, typed into cmd.exe",
        "the path stands in double quotes, or in none", "", _quotes,
    ),
    Report(
        "a checkpoint that a virus scanner or a viewer has open on Windows",
        "some tries; then an error that names the other program", "nesquena/hermes-webui#5196", _held_open,
    ),
    Report(
        "a power cut on macOS after a file was synced",
        "the disk is asked to empty its own cache", "untitaker/python-atomicwrites#6", _full_sync,
    ),
    Report(
        "a package in a zip, as Spark hands them to its workers",
        "the files beside the code are found", "piskvorky/smart_open#347", _in_a_zip,
    ),
    Report(
        "a tensor moved to a second GPU",
        "the current device stays, and work is done where the arrays are", "cupy/cupy#1389", _current_device,
    ),
    Report(
        "tensors of two GPUs in one operation",
        "an error that names both", "chainer/chainer#4144", _two_devices,
    ),
]  # fmt: skip
