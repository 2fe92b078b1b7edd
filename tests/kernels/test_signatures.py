"""What launch checks arguments against is what the compiled function takes: names, order, const, types, in every dtype."""

from pathlib import Path

import numpy as np
import pytest

from gpucnn.kernels import launch
from gpucnn.testing.emulator import Emulator
from tests.backends import Backend
from tests.kernels.contracts import CONTRACTS

FOLDER = Path(launch.__file__).parent
KERNELS = [kernel for kernel in launch.KERNELS.values() if kernel.source.parent == FOLDER]


def c_type(parameter: launch.Parameter, dtype: np.dtype) -> str:
    storage, arithmetic = launch.TYPE_NAMES[dtype]
    name = {"T": storage, "A": arithmetic}.get(parameter.type, parameter.type)
    return f"{'const ' if parameter.const else ''}{name}{'*' if parameter.pointer else ''}"


@pytest.mark.parametrize("dtype", launch.TYPE_NAMES, ids=str)
@pytest.mark.parametrize("kernel", KERNELS, ids=lambda kernel: kernel.name)
def test_the_compiled_function_takes_what_its_kernel_says(kernel: launch.Kernel, dtype: np.dtype) -> None:
    if missing := Backend("emulated").missing():
        pytest.skip(missing)
    module = Emulator("check").module(launch.source_text(kernel.source, dtype))
    said = tuple((parameter.name, c_type(parameter, dtype)) for parameter in kernel.parameters)
    assert module.function(kernel.name).signature == said


def test_a_const_of_a_number_is_seen_too() -> None:
    if missing := Backend("emulated").missing():
        pytest.skip(missing)
    source = 'extern "C" __global__ void swapped(int size, const float* x, float* y, unsigned long long seed) {}'
    said = (("size", "int"), ("x", "const float*"), ("y", "float*"), ("seed", "unsigned long long"))
    assert Emulator("check").module(source).function("swapped").signature == said


def test_every_file_is_among_them() -> None:
    assert {kernel.source.name for kernel in KERNELS} == set(CONTRACTS)
