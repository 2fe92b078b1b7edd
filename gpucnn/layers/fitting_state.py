"""Whether saved arrays fit the parameters and buffers of a model, and what is said if they do not."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from gpucnn.autograd import Tensor
from gpucnn.backend import Array, as_array, current, device_of
from gpucnn.errors import DTypeError, StateError
from gpucnn.layers.foreign_state import foreign_names_fix
from gpucnn.layers.parameter import Parameter
from gpucnn.text import shape_text

IGNORED_STATE = "num_batches_tracked"
"""A counter of PyTorch's batch norms, which its momentum makes no use of: state from there loads without it."""


def fitting_arrays(model: str, own: Mapping[str, Parameter], state: Mapping[str, Any]) -> dict[str, Array]:
    """The arrays of `state` by path, each in the dtype of the parameter or buffer of `own` that it is for.

    StateError, which names the class `model`, if one is missing, unknown, or of another shape or kind of dtype.
    """
    problems = [f"{path} is missing" for path in own if path not in state]
    arrays: dict[str, Array] = {}
    for path, value in state.items():
        if path not in own:
            if path.rpartition(".")[2] != IGNORED_STATE:
                problems.append(f"{path} is unknown")
            continue
        dtype, expected = own[path].dtype, own[path].shape
        try:
            # What the dtype cannot hold becomes infinite, and is told by whoever checks for that.
            with np.errstate(over="ignore", invalid="ignore"):
                array = value.data if isinstance(value, Tensor) else as_array(value, dtype)
                with current(device_of(array)):
                    arrays[path] = array.astype(dtype, copy=False)
        except DTypeError as error:
            problems.append(f"{path}: {error}")
            continue
        if array.dtype.kind == "f" and dtype.kind != "f":
            problems.append(f"{path} has {array.dtype} values, expected {dtype}")
        if arrays[path].shape != expected:
            problems.append(f"{path} has shape {shape_text(arrays[path].shape)}, expected {shape_text(expected)}")
    if problems:
        raise StateError(
            f"these parameters do not fit {model}: {'; '.join(problems[:4])}"
            f"{f'; and {len(problems) - 4} more' if len(problems) > 4 else ''}; "
            f"{foreign_names_fix(state, own.keys()) or 'build the model with the arguments it was saved with'}"
        )
    return arrays
