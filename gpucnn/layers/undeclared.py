"""State that a forward pass changes, and that nobody was told of."""

import pickle
import random
import warnings
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from gpucnn.autograd import Tensor
from gpucnn.backend import to_host
from gpucnn.layers.parameter import Parameter

if TYPE_CHECKING:
    from gpucnn.layers.layer import Layer

MUTABLE = (list, dict, set, deque, bytearray, np.random.Generator, np.random.RandomState, random.Random)
"""What can change without being assigned; arrays and tensors, too."""


@contextmanager
def telling_of_undeclared_state(layer: "Layer") -> Iterator[None]:
    """Around a first forward pass: warn of lists, arrays, generators and the like that it changes, within `layer`.

    Numbers that `forward` assigns are noticed by the layer itself; a layer that declares a `forward_state` has said what
    matters.
    """
    before = _contents(layer)
    yield
    after = _contents(layer)
    for (owner, name), content in before.items():
        if after.get((owner, name), content) != content and not owner._told_of_state:
            object.__setattr__(owner, "_told_of_state", True)
            warnings.warn(
                f"{owner.label}: a forward pass changes self.{name}, a {content[0]}, which is not saved with the layer: a resumed "
                f"run, and what computes a pass again, would go on with other values than a run that never stopped; declare it "
                f"in forward_state() and set_forward_state(state), make an array a layers.Buffer, or draw with a counter, as "
                f"layers.Dropout does",
                stacklevel=2,
            )


def _contents(layer: "Layer") -> "dict[tuple[Layer, str], tuple[str, bytes]]":
    """Type and bytes of each attribute that can change unseen, of all within `layer` that declare nothing."""
    found = {}
    for _, one in layer._layers(""):
        if one.declares_forward_state:
            continue
        for name, value in vars(one).items():
            if name != "_forward_hooks" and (content := _content(value)) is not None:
                found[one, name] = content
    return found


def _content(value: Any) -> tuple[str, bytes] | None:
    """None for what cannot change unseen, or cannot be looked at."""
    is_array = hasattr(value, "dtype") and hasattr(value, "shape") and not isinstance(value, np.generic)
    if not (is_array or isinstance(value, MUTABLE)) or isinstance(value, Parameter):
        return None
    try:
        held = to_host(value.data if isinstance(value, Tensor) else value) if is_array else value
        return type(value).__name__, pickle.dumps(held)
    except Exception:  # of whatever is in it
        return None
