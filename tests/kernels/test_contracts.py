"""Every kernel keeps its contract, in both dtypes and, on the emulator, in whatever order its threads run."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import gpucnn
from gpucnn.kernels import launch
from tests.backends import Backend
from tests.kernels.contracts import CONTRACTS


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("file_name", CONTRACTS)
def test_contract(backend: Backend, file_name: str, dtype: type) -> None:
    CONTRACTS[file_name](backend, dtype)


@pytest.mark.parametrize("file_name", CONTRACTS)
def test_contract_in_other_orders(gpu: Backend, order: str, file_name: str) -> None:
    """In float32 alone: the source is the same in every dtype, and with it what threads may do before others."""
    CONTRACTS[file_name](gpu, np.float32)


class Watching:
    """A runner that notes which kernels it runs."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def run(self, kernel: launch.Kernel, variant: launch.Variant, blocks: int, arguments: tuple[Any, ...]) -> None:
        self.names.add(kernel.name)
        launch.cupy_runner.run(kernel, variant, blocks, arguments)


@pytest.mark.parametrize("file_name", CONTRACTS)
def test_a_contract_launches_every_kernel_of_its_file(file_name: str) -> None:
    backend, runner = Backend("emulated"), Watching()
    if missing := backend.missing():
        pytest.skip(missing)
    with backend.active(), launch.use_runner(runner):
        CONTRACTS[file_name](backend, np.float32)
    own = {kernel.name for kernel in launch.KERNELS.values() if kernel.source.name == file_name}
    assert own <= runner.names


def test_every_cu_file_has_a_contract() -> None:
    assert set(CONTRACTS) == {path.name for path in Path(gpucnn.__file__).parent.rglob("kernels/**/*.cu")}
