"""Whether saved arrays can be a model's parameters and buffers: their names, shapes and dtypes fit, and their values are finite."""

from collections.abc import Mapping, Set
from typing import Any, NamedTuple

import numpy as np

from gpucnn.autograd import Tensor
from gpucnn.backend import Array, as_array, current, device_of, xp_of
from gpucnn.errors import DTypeError, StateError
from gpucnn.layers.parameter import Parameter
from gpucnn.text import shape_text

MOST_NAMED = 4
"""The problems that a message lists."""

IGNORED_STATE = "num_batches_tracked"
"""A counter of PyTorch's batch norms, which its momentum makes no use of: state from there loads without it."""

ORIGINS = {
    "module": "torch.nn.DataParallel or DistributedDataParallel",
    "_orig_mod": "torch.compile",
    "model": "a LightningModule",
}
"""Whose model it was, by the name that stands before."""


class StateKeys(NamedTuple):
    """The paths that a model and a state do not share, under PyTorch's names for them."""

    missing_keys: list[str]
    """Of the model's, those that the state lacks."""
    unexpected_keys: list[str]
    """Of the state's, those that the model has no place for."""

    @classmethod
    def of(cls, own: Mapping[str, Any], state: Mapping[str, Any]) -> "StateKeys":
        """Those of a model with `own` parameters and buffers; counters of PyTorch's batch norms do not count."""
        unexpected = (path for path in state if path not in own and path.rpartition(".")[2] != IGNORED_STATE)
        return cls([path for path in own if path not in state], list(unexpected))


def fitting_arrays(
    model: str, own: Mapping[str, Parameter], state: Mapping[str, Any], strict: bool = True
) -> dict[str, Array]:
    """The arrays of `state` by path, each in the dtype of the parameter or buffer of `own` that it is for.

    StateError, which names the class `model`, if one is missing or unknown, or of another shape or kind of dtype. Not
    `strict`: missing and unknown ones are left, but for a state of which nothing has a place.
    """
    keys = StateKeys.of(own, state)
    foreign = bool(keys.unexpected_keys) and len(keys.missing_keys) == len(own)
    problems = [f"{path} is missing" for path in keys.missing_keys if strict or foreign]
    unknown = set(keys.unexpected_keys if strict or foreign else ())
    arrays: dict[str, Array] = {}
    for path, value in state.items():
        if path not in own:
            problems += [f"{path} is unknown"] if path in unknown else []
            continue
        dtype, expected = own[path].dtype, own[path].shape
        try:
            # What the dtype cannot hold becomes infinite, and is told by whoever checks for that.
            with np.errstate(over="ignore", invalid="ignore"):
                array = value.array if isinstance(value, Tensor) else as_array(value, dtype)
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
            f"these parameters do not fit {model}: {_listed(problems)}; "
            f"{foreign_names_fix(state, own.keys()) or 'build the model with the arguments it was saved with'}"
        )
    return arrays


def foreign_names_fix(state: Mapping[str, Any], names: Set[str]) -> str:
    """What makes `state` fit a model whose parameters have these `names`, as messages say it; "" if nothing plain does.

    It is a prefix that all names have, or a checkpoint in which the state is one entry of several.
    """
    for key, value in state.items():
        if isinstance(value, Mapping) and (not names.isdisjoint(value) or _prefix(value, names)):
            return f"they are in one entry of a checkpoint: give state[{key!r}]"
    prefix = _prefix(state, names)
    if not prefix:
        return ""
    makers = " and ".join(ORIGINS[part] for part in prefix.split(".") if part in ORIGINS)
    return (
        f'every name begins with "{prefix}"{f", as {makers} puts it there" if makers else ""}: take it off, '
        f"{{name.removeprefix({prefix!r}): value for name, value in state.items()}}"
    )


def _prefix(state: Mapping[str, Any], names: Set[str]) -> str:
    """What all keys of `state` begin with, ending in a dot, if one of `names` comes after it; else ""."""
    keys = list(map(str, state))
    parts = keys[0].split(".") if keys else []
    for count in range(1, len(parts)):
        prefix = f"{'.'.join(parts[:count])}."
        if all(key.startswith(prefix) for key in keys) and any(key.removeprefix(prefix) in names for key in keys):
            return prefix
    return ""


def not_finite(arrays: Mapping[str, Array]) -> list[str]:
    """A line for each array with NaN or infinite values: its name, and how many there are."""
    found = []
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            continue
        with current(device_of(array)):
            xp = xp_of(array)
            if bool(xp.isfinite(array).all()):
                continue
            nan, infinite = int(xp.isnan(array).sum()), int(xp.isinf(array).sum())
        kinds = [f"{count:,} {kind}" for count, kind in ((nan, "NaN"), (infinite, "infinite")) if count]
        found.append(f"{name} has {' and '.join(kinds)} of {array.size:,} values in {array.dtype}")
    return found


def refuse_not_finite(owner: str, arrays: Mapping[str, Array]) -> None:
    """StateError, which calls what they are for `owner`, if there are values that are not finite."""
    if problems := not_finite(arrays):
        raise StateError(
            f"the weights for {owner} are spoilt: {_listed(problems)}; load a file that was saved before "
            f"they became so, e.g. an earlier checkpoint, and train from there with a lower learning rate"
        )


def _listed(problems: list[str]) -> str:
    more = f"; and {len(problems) - MOST_NAMED} more" if len(problems) > MOST_NAMED else ""
    return f"{'; '.join(problems[:MOST_NAMED])}{more}"
