"""Every kernel keeps its contract, in both dtypes and, on the emulator, in whatever order its threads run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpucnn
from gpucnn.kernels import launch
from gpucnn.kernels.kernel import KERNELS, NARROW, WIDE, IndexType, Kernel, Variant, divisor_of
from tests.backends import Backend, host
from tests.kernels.contracts import CONTRACTS


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("file_name", CONTRACTS)
def test_contract(backend: Backend, file_name: str, dtype: type) -> None:
    CONTRACTS[file_name](backend, dtype)


@pytest.mark.sample(6)
@pytest.mark.parametrize("file_name", CONTRACTS)
def test_contract_in_other_orders(gpu: Backend, order: str, file_name: str) -> None:
    """In float32 alone: the source is the same in every dtype, and with it what threads may do before others."""
    CONTRACTS[file_name](gpu, np.float32)


class Watching:
    """A runner that notes which kernels it runs."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def run(self, kernel: Kernel, variant: Variant, blocks: int, arguments: tuple[Any, ...]) -> None:
        self.names.add(kernel.name)
        launch.cupy_runner.run(kernel, variant, blocks, arguments)


@pytest.mark.sample(6)
@pytest.mark.parametrize("file_name", CONTRACTS)
def test_a_contract_launches_every_kernel_of_its_file(file_name: str) -> None:
    backend, runner = Backend("emulated"), Watching()
    if missing := backend.missing():
        pytest.skip(missing)
    with backend.active(), launch.use_runner(runner):
        CONTRACTS[file_name](backend, np.float32)
    own = {kernel.name for kernel in KERNELS.values() if kernel.source.name == file_name}
    assert own <= runner.names


class BothIndices:
    """A runner that runs each kernel on copies with `I` of 32 and of 64 bits, compares all that they wrote, and then runs it."""

    def __init__(self) -> None:
        self.kernels: set[str] = set()

    def run(self, kernel: Kernel, variant: Variant, blocks: int, arguments: tuple[Any, ...]) -> None:
        assert variant.index_type is NARROW
        narrow, wide = (self._written(kernel, variant, index, blocks, arguments) for index in (NARROW, WIDE))
        for name, array in narrow.items():
            assert array.tobytes() == wide[name].tobytes(), f"{kernel.name}: {name}"
        self.kernels.add(kernel.name)
        launch.cupy_runner.run(kernel, variant, blocks, arguments)

    @staticmethod
    def _written(
        kernel: Kernel, variant: Variant, index: IndexType, blocks: int, arguments: tuple[Any, ...]
    ) -> dict[str, np.ndarray]:
        copies: dict[int, Any] = {}  # one array may be two arguments
        given: list[Any] = []
        for parameter, argument in zip(kernel.arguments, arguments, strict=True):
            if parameter.pointer and argument is not None:
                given.append(copies.setdefault(id(argument), argument.copy()))
            elif parameter.type == "Divisor":
                given.append(divisor_of(int(argument["value"]), index))
            else:
                given.append(index.integer(argument) if parameter.type == "I" else argument)
        launch.cupy_runner.run(kernel, variant._replace(index_type=index), blocks, tuple(given))
        pairs = zip(kernel.arguments, given, strict=True)
        return {own.name: host(array) for own, array in pairs if own.pointer and not own.const and array is not None}


@pytest.mark.sample(4)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("file_name", CONTRACTS)
def test_indices_of_32_and_64_bits_give_the_same_bits(file_name: str, dtype: type) -> None:
    backend, runner = Backend("emulated"), BothIndices()
    if missing := backend.missing():
        pytest.skip(missing)
    with backend.active(), launch.use_runner(runner):
        CONTRACTS[file_name](backend, dtype)
    assert runner.kernels >= {kernel.name for kernel in KERNELS.values() if kernel.source.name == file_name}


def test_every_cu_file_has_a_contract() -> None:
    assert set(CONTRACTS) == {path.name for path in Path(gpucnn.__file__).parent.rglob("kernels/**/*.cu")}
