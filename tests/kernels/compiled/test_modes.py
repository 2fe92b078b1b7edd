"""How a process computes on the CPU: what GPUCNN_CPU asks for, what is installed, and what is imported."""

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gpucnn.kernels import ways
from gpucnn.kernels.batch_norm import Gradients, batch_norm, batch_norm_gradients

ROOT = Path(__file__).parents[3]
COMPUTE = """
import numpy as np
from gpucnn import Tensor, functions as F
from gpucnn.errors import GpucnnError
from gpucnn.kernels import ways
x, weight = (Tensor(np.ones(shape, np.float32), requires_grad=True) for shape in ((2, 1, 6, 6), (3, 1, 3, 3)))
try:
    F.max_pool2d(F.relu(F.conv2d(x, weight, padding=1)), 2).sum().backward()
    print(ways.mode(), x.grad.sum(), "llvmlite.binding" in sys.modules)
except GpucnnError as error:
    print(type(error).__name__, error)
"""
HIDDEN = """
import sys
from importlib.machinery import PathFinder
class Hide(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {hidden} else super().find_spec(name, path, target)
sys.meta_path[:] = [Hide if finder is PathFinder else finder for finder in sys.meta_path]
"""
needs_llvmlite = pytest.mark.usefixtures("needs_llvmlite")


def output_of(script: str, cpu: str = "", hidden: tuple[str, ...] = ()) -> str:
    """What a fresh process prints, without the modules that are `hidden`."""
    variables = {**os.environ, ways.VARIABLE: cpu}
    command = [sys.executable, "-W", "error", "-c", HIDDEN.format(hidden=hidden) + script]
    run = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stderr) == (0, "")
    return run.stdout.strip()


@needs_llvmlite
@pytest.mark.parametrize("cpu", ["", "jit"])
def test_compiled_loops_are_taken_where_they_work(cpu: str) -> None:
    assert output_of(COMPUTE, cpu) == "jit 486.0 True"


def test_numpy_is_taken_where_it_is_asked_for() -> None:
    assert output_of(COMPUTE, "numpy").startswith("numpy 486.0")


@pytest.mark.parametrize("cpu", ["nonsense", "JIT", " jit"])
def test_a_mode_that_is_none(cpu: str) -> None:
    expected = (
        f'ArgumentError GPUCNN_CPU must be "plain", "numpy" or "jit", got {cpu!r}; unset it to use the fastest there is'
    )
    assert output_of(COMPUTE, cpu) == expected


@pytest.mark.parametrize("cpu", ["", "numpy"])
def test_everything_works_without_llvmlite(cpu: str) -> None:
    assert output_of(COMPUTE, cpu, ("llvmlite", "threadpoolctl")) == "numpy 486.0 False"


def test_jit_without_llvmlite_says_how_to_get_it() -> None:
    expected = 'ArgumentError GPUCNN_CPU=jit, but llvmlite is not installed: pip install "gpucnn[fast]"'
    assert output_of(COMPUTE, "jit", ("llvmlite",)) == expected


BROKEN = """
import importlib.machinery, types
class Break:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "llvmlite":
            return importlib.machinery.ModuleSpec(name, self)
    def create_module(self, spec):
        return None
    def exec_module(self, module):
        raise OSError("libLLVM.so: cannot open shared object file")
sys.meta_path.insert(0, Break())
"""


def test_a_broken_llvmlite_is_told_of_or_left_alone() -> None:
    reason = (
        "llvmlite does not work (libLLVM.so: cannot open shared object file): pip install --force-reinstall llvmlite"
    )
    assert output_of(BROKEN + COMPUTE) == "numpy 486.0 False"
    assert output_of(BROKEN + COMPUTE, "jit") == f"ArgumentError GPUCNN_CPU=jit, but {reason}"


UNKNOWN = """
from llvmlite import binding
features = type(binding.get_host_cpu_features())({"sse2": True})
binding.get_host_cpu_features = lambda: features
"""


@needs_llvmlite
def test_a_processor_without_known_vectors() -> None:
    assert output_of(UNKNOWN + COMPUTE) == "numpy 486.0 True"
    expected = "ArgumentError GPUCNN_CPU=jit, but this processor has neither AVX-512, AVX2 with FMA nor NEON"
    assert output_of(UNKNOWN + COMPUTE, "jit") == expected


def test_importing_gpucnn_imports_neither_llvmlite_nor_threadpoolctl() -> None:
    names = "{'llvmlite', 'threadpoolctl'}"
    imports = (
        "import gpucnn, gpucnn.models, gpucnn.optim, gpucnn.data, gpucnn.kernels.convolution, gpucnn.kernels.update\n"
    )
    for statement in ("import gpucnn\n", imports):
        script = f"{statement}print({{name.partition('.')[0] for name in sys.modules}} & {names})"
        assert output_of(script) == "set()"


@needs_llvmlite
@pytest.mark.parametrize("relu", [False, True])
def test_the_way_back_goes_with_either_way_there(rng: np.random.Generator, relu: bool) -> None:
    x, gradient = (rng.standard_normal((5, 3, 40)).astype(np.float32) for _ in range(2))
    weight, bias = (rng.standard_normal(3).astype(np.float32) for _ in range(2))
    found = []
    for there, back in itertools.product(ways.MODES, repeat=2):
        own = [np.empty(3, np.float32) for _ in range(2)]
        with ways.use(there):
            output, statistics = batch_norm(x, weight, bias, 1e-5, relu)
        with ways.use(back):
            slopes = batch_norm_gradients(gradient, x, weight, statistics, Gradients(*own), output if relu else None)
        found.append([output, *statistics[:3], slopes, *own])
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            np.testing.assert_allclose(one, same, rtol=1e-4, atol=1e-5)


def test_use_ends_with_its_block() -> None:
    before = ways.mode()
    with ways.use("numpy"):
        assert ways.mode() == "numpy"
    assert ways.mode() == before
    with pytest.raises(KeyError), ways.use("numpy"):
        raise KeyError
    assert ways.mode() == before
