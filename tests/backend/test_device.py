"""Devices by name, and what is said when there is no GPU. Each case runs in a process of its own, with its own CuPy."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gpucnn.backend import Device, choose_device, device_of, to_device, to_host, xp_of
from gpucnn.errors import ArgumentError

ROOT = Path(__file__).parents[2]
TRAIN = ["-m", "gpucnn", "train", "--model", "mlp", "--epochs", "1", "--out", "run"]


def run_python(arguments: list[str], folder: Path, cupy: str | None) -> "subprocess.CompletedProcess[str]":
    """Python in `folder`, with a module cupy of the given source before all others on its path."""
    modules = folder / "modules"
    modules.mkdir(exist_ok=True)
    if cupy is not None:
        (modules / "cupy.py").write_text(cupy)
    path = os.pathsep.join([str(modules), str(ROOT)])
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )


BROKEN = {
    "SystemExit": ("raise SystemExit('boom')", "import cupy raised SystemExit: boom"),
    "ImportError": ("import no_such_library", "import cupy raised ModuleNotFoundError: No module named 'no_such_library'"),
    "no driver": (
        "class cuda:\n class runtime:\n  @staticmethod\n  def getDeviceCount(): raise RuntimeError('cudaErrorInsufficientDriver')",
        "CuPy finds no working NVIDIA driver (RuntimeError: cudaErrorInsufficientDriver); fix: install the NVIDIA driver",
    ),
    "no device": (
        "class cuda:\n class runtime:\n  @staticmethod\n  def getDeviceCount(): return 0",
        "the NVIDIA driver lists no GPU; fix: check nvidia-smi",
    ),
    "no compiler": (
        ("class cuda:\n class runtime:\n  @staticmethod\n  def getDeviceCount(): return 2\n"
        "def ones(*a, **k): raise OSError('libnvrtc.so.13 not found')"),
        "CuPy sees 2 GPU(s) but cannot compute (OSError: libnvrtc.so.13 not found); fix: pip install \"cupy-cuda13x[ctk]\"",
    ),
}  # fmt: skip


@pytest.mark.sample(2)
@pytest.mark.parametrize("case", BROKEN)
def test_with_a_broken_cupy_the_cpu_trains_and_cuda_says_why(case: str, tmp_path: Path) -> None:
    source, cause = BROKEN[case]
    cpu = run_python([*TRAIN, "--device", "auto"], tmp_path, source)
    assert (cpu.returncode, cpu.stderr) == (0, "")
    first = " ".join(cpu.stdout.partition("\ndata: ")[0].split())  # which may be more than one line
    assert first.startswith("device: cpu (no GPU: ")
    assert cause.partition("; fix")[0].removeprefix("import cupy raised ") in first
    assert "test accuracy" in cpu.stdout

    cuda = run_python([*TRAIN, "--device", "cuda"], tmp_path, source)
    assert cuda.returncode == 1
    assert cuda.stderr.count("\n") == 1
    assert cuda.stderr.startswith('gpucnn train: device "cuda" cannot be used: ')
    assert cause in cuda.stderr
    assert "; fix: " in cuda.stderr


def test_without_cupy_the_fix_is_to_install_it(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['cupy'] = None\nfrom gpucnn.cli.main import main\nraise SystemExit(main(sys.argv[1:]))"
    )
    cuda = run_python(["-c", code, "train", "--device", "cuda:1"], tmp_path, None)
    assert cuda.returncode == 1
    assert 'device "cuda:1" cannot be used: CuPy is not installed; fix: pip install "gpucnn[cuda13]"' in cuda.stderr


def test_import_loads_numpy_alone_and_asks_no_gpu(tmp_path: Path) -> None:
    code = (
        "import os, sys, gpucnn\n"
        "assert 'llvmlite' not in sys.modules and 'threadpoolctl' not in sys.modules\n"
        "os.environ['GPUCNN_CPU'] = 'numpy'\n"
        "gpucnn.models.LeNet5()(__import__('numpy').zeros((1, 1, 32, 32)))\n"
        "extra = {'cupy', 'safetensors', 'tqdm', 'PIL', 'matplotlib', 'llvmlite', 'argparse', 'jinja2', 'IPython', 'xml', 'http',\n"
        "    'ssl', 'email', 'html'} & set(sys.modules)\n"
        "assert not extra, extra"
    )
    result = run_python(["-c", code], tmp_path, "raise AttributeError('imported')")
    assert (result.returncode, result.stderr) == (0, "")


def test_import_alone_does_not_load_numpy_random(tmp_path: Path) -> None:
    result = run_python(["-c", "import sys, gpucnn; assert 'numpy.random' not in sys.modules"], tmp_path, None)
    assert (result.returncode, result.stderr) == (0, "")


def test_what_training_needs_is_imported_when_it_is_looked_at(tmp_path: Path) -> None:
    code = (
        "import sys, gpucnn\n"
        "late = ('data', 'models', 'optim', 'training')\n"
        "assert not {f'gpucnn.{name}' for name in late} & set(sys.modules)\n"
        "assert set(late) <= set(dir(gpucnn))\n"
        "assert all(getattr(gpucnn, name).__name__ == f'gpucnn.{name}' for name in late)\n"
        "try: gpucnn.nothing\n"
        'except AttributeError as error: assert str(error) == "gpucnn has no nothing"\n'
        "else: raise AssertionError\n"
    )
    result = run_python(["-c", code], tmp_path, None)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda:x", "CPU", "", "cuda:-1", "cuda:1:2"])
def test_an_unknown_name_is_refused(name: str) -> None:
    with pytest.raises(ArgumentError, match=r'unknown device .* expected "auto", "cpu", "cuda" or "cuda:N"'):
        choose_device(name)


def test_names() -> None:
    assert str(choose_device("cpu").device) == "cpu"
    assert str(Device("cuda", 1)) == "cuda:1"
    assert str(choose_device("cpu")) == "device: cpu (asked for)"
    assert choose_device(Device()).device == Device("cpu")


def test_host_arrays() -> None:
    array = np.ones(3)
    assert xp_of(array, np.float32(1)) is np
    assert device_of(array) == Device("cpu")
    assert to_device(array, Device("cpu")) is array
    assert to_host(array) is array
    with pytest.raises(TypeError, match="expected a numpy or cupy array, got list"):
        xp_of([1])
    with pytest.raises(TypeError, match="at least one"):
        xp_of()
