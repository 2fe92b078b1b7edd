"""The backends that tests run on: one test body, every backend."""

import functools
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np

from gpucnn import Tensor
from gpucnn.backend import Array, beside, choose_device, to_device, to_host
from gpucnn.backend.cuda import find_problem, use_in_place_of_cupy
from gpucnn.kernels import ways
from gpucnn.testing.cupy_stand_in import CupyStandIn
from gpucnn.testing.emulator import Emulator, compiler

ON_CPU = ("plain", "numpy", "jit")
NAMES = (*ON_CPU, "emulated", "cupy")


class Backend:
    """One way to compute: "plain" on the CPU, as it is written to be read, "numpy" there in fast ways, "jit" in compiled loops;
    "cupy" on a GPU, "emulated" its way on a CPU.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def on_cpu(self) -> bool:
        """Whether its arrays are NumPy's."""
        return self.name in ON_CPU

    @property
    def device_name(self) -> str:
        """What `to` takes."""
        return "cpu" if self.on_cpu else "cuda"

    def missing(self) -> str | None:
        """Why the backend cannot run here; None if it can."""
        if self.name == "emulated":
            return None if compiler() else "emulated kernels need g++ (Debian: apt-get install g++)"
        if self.name == "jit":
            return ways.missing() or None
        problem = find_problem() if self.name == "cupy" else None
        return problem and f"no GPU: {problem.cause}"

    def active(self) -> AbstractContextManager[None]:
        """Inside, its device works."""
        if self.on_cpu:
            return ways.use(self.name)
        return use_in_place_of_cupy(emulated_cupy()) if self.name == "emulated" else nullcontext()

    def array(self, host: Any) -> Array:
        """A C-contiguous copy of a host array on the backend."""
        return to_device(np.array(host, order="C"), choose_device(self.device_name).device)

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        """A poisoned array: what is not written shows."""
        return self.array(np.full(shape, np.nan if np.dtype(dtype).kind == "f" else -77, dtype))

    def strided(self, host: np.ndarray) -> Array:
        """Equal values in an array of the backend that is contiguous in no order."""
        if host.ndim == 0:
            return self.array(host)
        holder = self.array(np.full((*(2 * size for size in host.shape[:-1]), 3 * host.shape[-1]), np.nan, host.dtype))
        view = holder[tuple(slice(None, None, -2) for _ in host.shape[:-1])][..., 1::3]
        with beside(view):
            view[...] = self.array(host)
        return view

    def fortran(self, host: np.ndarray) -> Array:
        """Equal values, the first axis varying fastest."""
        return self.array(host.transpose()).transpose()

    def tensor(self, host: Any, requires_grad: bool = False) -> Tensor:
        """A tensor on the backend."""
        return Tensor(self.array(host), requires_grad)


@functools.cache
def emulated_cupy() -> CupyStandIn:
    """One stand-in for all tests, so that each kernel is built once."""
    return CupyStandIn(Emulator("check"))


@functools.cache
def fast_cupy() -> CupyStandIn:
    """One that looks for neither races nor accesses out of bounds."""
    return CupyStandIn(Emulator("fast"))


host = to_host
"""An array of any backend on the host."""
