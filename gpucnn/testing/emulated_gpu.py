"""The GPU path without a GPU: the stand-in for CuPy on arrays, the CUDA emulator on kernels."""

from collections.abc import Iterator
from contextlib import contextmanager

from gpucnn.backend.cuda import use_in_place_of_cupy
from gpucnn.testing.cupy_stand_in import CupyStandIn
from gpucnn.testing.emulator import Emulator


@contextmanager
def emulated_gpu(
    mode: str = "check", order: str = "forward", devices: int = 2, memory_bytes: int | None = None
) -> Iterator[CupyStandIn]:
    """Inside, "cuda" works: arrays there are the stand-in's, and kernels run on the emulator. Gives the stand-in.

    - `mode`, `order`: how the emulator runs kernels, see `Emulator`. `devices`: how many GPUs there seem to be.
    - `memory_bytes`: the memory of each, without limit if None.

    Raises KernelError where a kernel does what a GPU does not forgive, DeviceError, at the first launch, without g++.
    """
    stand_in = CupyStandIn(Emulator(mode, order), devices, memory_bytes)
    with use_in_place_of_cupy(stand_in):
        yield stand_in
