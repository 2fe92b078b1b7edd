"""The memory of the stand-in's devices: what is allocated, what is left, and what happens when nothing is."""

import gc
import threading

import numpy as np

NO_LIMIT = 1 << 40
"""The memory of a device that has no limit, in bytes."""

_UNIT = 512


class OutOfMemoryError(MemoryError):
    """`cupy.cuda.memory.OutOfMemoryError`."""

    def __init__(self, size: int, total: int) -> None:
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes).")


class CurrentDevice(threading.local):
    """The current device, of which each thread has its own, and those that `with` statements go back to."""

    index = 0

    def __init__(self) -> None:
        self.before: list[int] = []


class MemoryPool:
    """`cupy.cuda.MemoryPool`, for all devices; the public methods are about the current one.

    Like CuPy's it keeps what arrays give back until memory runs out or `free_all_blocks` is called, and counts in units
    of 512 bytes. Unlike CuPy's it fits any array into any gap.
    """

    def __init__(self, devices: int, capacity: int, current: CurrentDevice) -> None:
        self._capacity, self._current = capacity, current
        self._used, self._held = [0] * devices, [0] * devices

    def used_bytes(self) -> int:
        """What living arrays take."""
        return self._used[self._current.index]

    def total_bytes(self) -> int:
        """What the pool has taken from the device."""
        return self._held[self._current.index]

    def free_bytes(self) -> int:
        """What the pool could give without asking the device."""
        return self.total_bytes() - self.used_bytes()

    def free_all_blocks(self) -> None:
        """Give back to the device what no array takes."""
        self._held[self._current.index] = self._used[self._current.index]

    def _allocate(self, size: int) -> "Allocation":
        """Memory of the current device. Raises OutOfMemoryError if it has too little."""
        device = self._current.index
        size = -(-size // _UNIT) * _UNIT
        if self._used[device] + size > self._capacity:
            gc.collect()
            self.free_all_blocks()
            if self._used[device] + size > self._capacity:
                raise OutOfMemoryError(size, self._held[device])
        self._used[device] += size
        self._held[device] = max(self._held[device], self._used[device])
        return Allocation(self, size, device)

    def _release(self, block: "Allocation") -> None:
        self._used[block.device] -= block.size

    def _device_memory(self) -> tuple[int, int]:
        """The free and the total bytes of the current device, as its driver counts them."""
        return self._capacity - self.total_bytes(), self._capacity


class Allocation:
    """One allocation. An array and its views share it, so that it is given back when the last of them goes.

    `owner` is the host array whose memory it stands for.
    """

    __slots__ = ("_pool", "device", "owner", "size")

    def __init__(self, pool: MemoryPool, size: int, device: int) -> None:
        self._pool, self.size, self.device = pool, size, device
        self.owner: np.ndarray | None = None

    def __del__(self) -> None:
        self._pool._release(self)
