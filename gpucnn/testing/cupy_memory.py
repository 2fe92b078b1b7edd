"""The memory of the stand-in's devices: what is allocated, what is left, and what happens when nothing is."""

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

NO_LIMIT = 1 << 40
"""The memory of a device that has no limit, in bytes."""

_UNIT = 512


class OutOfMemoryError(MemoryError):
    """`cupy.cuda.memory.OutOfMemoryError`."""

    def __init__(self, size: int, total: int) -> None:
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes).")


class CUDARuntimeError(RuntimeError):
    """`cupy.cuda.runtime.CUDARuntimeError`."""


class Current(threading.local):
    """What is current, of which each thread has its own: the device, by its index, a stream of each device, the allocator.

    What `with` statements go back to is kept, too.
    """

    index = 0
    allocator: "Callable[[int], Allocation] | None" = None

    def __init__(self) -> None:
        self.before: list[int] = []
        self.streams: dict[int, Any] = {}
        self.streams_before: list[tuple[int, Any]] = []


class DeviceMemory:
    """The memory of each device, and how much of it pools have taken."""

    def __init__(self, devices: int, capacity: int, current: Current) -> None:
        self.capacity, self.current = capacity, current
        self.taken = [0] * devices

    def free_and_total(self) -> tuple[int, int]:
        """The free and the total bytes of the current device, as its driver counts them."""
        return self.capacity - self.taken[self.current.index], self.capacity


class MemoryPool:
    """`cupy.cuda.MemoryPool`, for all devices; the public methods are about the current one.

    Like CuPy's it keeps what arrays give back until memory runs out or `free_all_blocks` is called, and counts in units
    of 512 bytes; and what it keeps when it goes itself is lost. Unlike CuPy's it fits any array into any gap.
    """

    _memory: DeviceMemory

    def __init__(self, allocator: None = None) -> None:
        self._books = Books(self._memory)

    def __del__(self) -> None:
        self._books.closed = True

    def used_bytes(self) -> int:
        """What living arrays take."""
        return self._books.used[self._memory.current.index]

    def total_bytes(self) -> int:
        """What the pool has taken from the device."""
        return self._books.held[self._memory.current.index]

    def free_bytes(self) -> int:
        """What the pool could give without asking the device."""
        return self.total_bytes() - self.used_bytes()

    def free_all_blocks(self, stream: Any = None) -> None:
        """Give back to the device what no array takes."""
        self._books.hold(self._memory.current.index, self.used_bytes())

    def malloc(self, size: int) -> "Allocation":
        """Memory of the current device. Raises OutOfMemoryError if it has too little."""
        device, size = self._memory.current.index, -(-size // _UNIT) * _UNIT
        if not self._books.take(device, size):
            gc.collect()
            self.free_all_blocks()
            if not self._books.take(device, size):
                raise OutOfMemoryError(size, self.total_bytes())
        return Allocation(self._books, size, device)


class Books:
    """What a pool has given to arrays, and what it has taken from each device. They outlive it as long as an array does.

    `closed`: the pool is gone.
    """

    def __init__(self, memory: DeviceMemory) -> None:
        self._memory = memory
        self.used, self.held = [0] * len(memory.taken), [0] * len(memory.taken)
        self.closed = False

    def take(self, device: int, size: int) -> bool:
        """Whether there was room for an array of so many bytes; then it has them."""
        held = max(self.held[device], self.used[device] + size)
        if self._memory.taken[device] - self.held[device] + held > self._memory.capacity:
            return False
        self.used[device] += size
        self.hold(device, held)
        return True

    def hold(self, device: int, size: int) -> None:
        """From now on the pool has so many bytes of the device."""
        self._memory.taken[device] += size - self.held[device]
        self.held[device] = size

    def release(self, device: int, size: int) -> None:
        """An array is gone."""
        self.used[device] -= size
        if self.closed:
            self.hold(device, self.held[device] - size)


class Allocation:
    """One allocation. An array and its views share it, so that it is given back when the last of them goes.

    `owner` is the host array whose memory it stands for, `books` those of the pool that it comes from.
    """

    __slots__ = ("__weakref__", "_owner", "books", "device", "end", "size", "start")

    def __init__(self, books: Books, size: int, device: int) -> None:
        self.books, self.size, self.device = books, size, device
        self._owner: np.ndarray | None = None

    @property
    def owner(self) -> np.ndarray | None:
        return self._owner

    @owner.setter
    def owner(self, array: np.ndarray) -> None:
        self._owner = array
        self.start, self.end = _reach(array)
        living[id(self)] = self

    def __del__(self) -> None:
        self.books.release(self.device, self.size)


class Memory:
    """`cupy.cuda.Memory`: bytes of the current device, of no pool, and on top of what a stand-in's devices have."""

    _cupy: ClassVar[Any]

    def __init__(self, size: int) -> None:
        self.size, self.device_id = size, int(self._cupy._current.index)
        self._bytes = np.empty(size, np.uint8)
        self.ptr, self.end = _reach(self._bytes)
        living[id(self)] = self

    @property
    def start(self) -> int:
        return self.ptr

    @property
    def device(self) -> int:
        return self.device_id


living: "weakref.WeakValueDictionary[int, Allocation | Memory]" = weakref.WeakValueDictionary()
"""All of them that are there: from `start` to `end`, addresses of the host, on `device`."""


def block_at(address: int) -> "Allocation | Memory | None":
    """What is living at an address. Other threads may take and give back memory meanwhile: `values()` would stumble over that."""
    blocks = (reference() for reference in living.valuerefs())
    return next((block for block in blocks if block is not None and block.start <= address < block.end), None)


def _reach(array: np.ndarray) -> tuple[int, int]:
    """The addresses of an array's memory, from its first byte to behind its last."""
    start: int = array.__array_interface__["data"][0]
    return start, start + array.nbytes
