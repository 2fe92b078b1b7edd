"""Memory that ran out, and that of a GPU: how much is free, what can be given back, and what an allocation that failed was after."""

import gc
import re
from typing import Any

from gpucnn.backend import cuda
from gpucnn.backend.device import Device
from gpucnn.errors import OutOfMemoryError

_dropped: list[tuple[Any, Any]] = []
"""Pools from which nobody allocates any more, and whose arrays are not all gone, each with CuPy's device."""

_SAYS_SO = re.compile("out of memory|ErrorMemoryAllocation|ERROR_OUT_OF_MEMORY|STATUS_ALLOC_FAILED")


def is_out_of_memory(error: Exception) -> bool:
    """Whether `error` says that memory did not suffice: Python's, CuPy's, or one of CUDA's own libraries."""
    cuda_library = type(error).__module__.partition(".")[0] in ("cupy", "cupy_backends")
    return isinstance(error, MemoryError) or (cuda_library and _SAYS_SO.search(str(error)) is not None)


def named(owner: str, error: MemoryError) -> OutOfMemoryError:
    """`error` as our own, which names `owner`: itself if it is ours already."""
    if isinstance(error, OutOfMemoryError):
        return error
    cause = str(error) or "there is no more"
    return OutOfMemoryError(f"{owner}: out of memory: {cause}; make the batch, the images or the layer smaller")


def free_bytes(device: Device) -> int:
    """How many bytes can still be allocated on a GPU: what the driver has, and what CuPy's pool keeps for later."""
    cupy = cuda.cupy()
    with cupy.cuda.Device(device.index):
        free, _ = cupy.cuda.runtime.memGetInfo()
        return int(free) + int(cupy.get_default_memory_pool().free_bytes())


def release(device: Device) -> None:
    """Give the driver back what CuPy's pools keep for later, and what only reference cycles hold. Nothing on a CPU."""
    if device.kind == "cpu":
        return
    gc.collect()
    cupy = cuda.cupy()
    with cupy.cuda.Device(device.index):
        cupy.get_default_memory_pool().free_all_blocks()
    _give_back()


def drop(pool: Any, there: Any) -> None:
    """Give the driver back the memory of a pool of one's own on CuPy's device `there`: now, or in a later `release` what
    living arrays take.

    CuPy loses what a pool keeps for later if the pool itself goes.
    """
    _dropped.append((there, pool))
    _give_back()


def _give_back() -> None:
    for entry in list(_dropped):
        there, pool = entry
        with there:
            pool.free_all_blocks()
            if pool.total_bytes() == 0:
                _dropped.remove(entry)


def bytes_asked(error: Exception) -> int | None:
    """How many bytes an allocation that failed was to have, as CuPy's message tells; None if it does not."""
    found = re.search(r"allocating ([\d,]+) bytes", str(error))
    return int(found[1].replace(",", "")) if found else None
