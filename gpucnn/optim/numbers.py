"""Numbers of the host that a device works with."""

from collections.abc import Callable, Sequence

import numpy as np

from gpucnn.backend import Array, Device, fed, recording


class Numbers:
    """Some numbers as an array on a device, in a dtype. Those that are there already are not sent again."""

    def __init__(self, device: Device, dtype: np.dtype) -> None:
        self._device, self._dtype = device, dtype
        self._sent = np.empty(0)
        self._array: Array | None = None

    def __call__(self, numbers: Callable[[], Sequence[float]]) -> Array:
        """`numbers()` there; in a step that is recorded they are asked for, and sent, before each replay."""

        def values() -> np.ndarray:
            return np.array(numbers(), self._dtype)

        if recording():
            return fed(values, self._device)
        fresh = values()
        if self._array is None or not np.array_equal(fresh, self._sent):
            self._array, self._sent = fed(lambda: fresh, self._device), fresh
        return self._array
