"""The array module of given arrays: numpy for host arrays, cupy for device arrays."""

import sys
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from gpucnn.errors import DeviceError

Array: TypeAlias = Any
"""A numpy.ndarray or a cupy.ndarray. CuPy has no types without a GPU wheel, so checkers see `Any`."""


def xp_of(*arrays: Array) -> ModuleType:
    """The module, numpy or cupy, that all `arrays` belong to.

    Raises DeviceError if they are of both modules, TypeError if one is no array at all.
    """
    module: ModuleType | None = None
    for array in arrays:
        own = np if isinstance(array, np.ndarray | np.generic) else _foreign_module(array)
        if module is not None and own is not module:
            raise DeviceError(
                f"arrays of {module.__name__} and {own.__name__} met in one operation; "
                f'bring them together first, e.g. Tensor.to("cuda") or model.to("cpu")'
            )
        module = own
    if module is None:
        raise TypeError("xp_of needs at least one array")
    return module


def _foreign_module(array: Array) -> ModuleType:
    name = type(array).__module__.partition(".")[0]
    module = sys.modules.get(name)
    if name != "cupy" or module is None:
        raise TypeError(f"expected a numpy or cupy array, got {type(array).__name__}")
    return module
