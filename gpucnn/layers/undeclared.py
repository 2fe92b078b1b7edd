"""State that a forward pass changes, and that nobody was told of."""

import io
import itertools
import pickle
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np

from gpucnn.autograd import Tensor
from gpucnn.backend import to_host
from gpucnn.layers.layer import Layer
from gpucnn.layers.parameter import Parameter
from gpucnn.layers.plain_state import PLAIN, is_plain
from gpucnn.layers.unregistered import NOT_LOOKED_INTO

UNCHANGING = (
    *PLAIN, type, ModuleType, FunctionType, BuiltinFunctionType, MethodType, Layer, Parameter,
)  # fmt: skip
"""What is noticed otherwise, or cannot change."""

FIX = (
    "a resumed run, and what computes a pass again, would go on with other values than a run that never stopped; declare it in "
    "forward_state() and set_forward_state(state), make an array a layers.Buffer, or draw with a counter, as layers.Dropout does"
)


@contextmanager
def telling_of_undeclared_state(layer: Layer) -> Iterator[None]:
    """Around a first forward pass: warn of what `noting_undeclared_state` finds within `layer`, once a layer."""
    with noting_undeclared_state(layer) as found:
        yield
    for owner, what in found:
        if not owner._told_of_state:
            object.__setattr__(owner, "_told_of_state", True)
            warnings.warn(f"{owner.label}: a forward pass {what}: {FIX}", stacklevel=3)  # who called the forward pass


@contextmanager
def noting_undeclared_state(layer: Layer) -> Iterator[list[tuple[Layer, str]]]:
    """Around a forward pass: gives a list, to which lists, arrays, generators and other objects that it changes are added at
    the end, as pairs of the layer within `layer` and what its forward pass does.

    Numbers that `forward` assigns are noticed by the layer itself; a layer that declares a `forward_state` has said what
    matters. A global generator that is drawn from is told, too.
    """
    before, drawn_from = _contents(layer), _global_generators()
    found: list[tuple[Layer, str]] = []
    yield found
    after, now = _contents(layer), _global_generators()
    for (owner, name), content in before.items():
        if after.get((owner, name), content) != content:
            found.append((owner, f"changes self.{name}, a {content[0]}, which is not saved with the layer"))
    for owner, name in _left_undeclared(layer):
        declared = f"forward_state(), which {type(owner).__name__} declares, gives neither that name nor its value"
        found.append((owner, f"changes self.{name}, and {declared}"))
    for name, state in drawn_from.items():
        if now[name] != state:
            found.append((layer, f"draws from {name}, whose state is not saved"))


def _left_undeclared(layer: Layer) -> Iterator[tuple[Layer, str]]:
    """Attributes that a forward pass changed in layers whose `forward_state` tells of others alone; one per layer."""
    for _, one in layer._layers(""):
        if not one.declares_forward_state:
            continue
        declared = one.forward_state()
        for name, first in one._changed_by_forward.items():
            value = vars(one).get(name)
            if is_plain(value) and value != first and name not in declared and value not in declared.values():
                yield one, name
                break


def _global_generators() -> dict[str, bytes]:
    """The states of those that a layer might draw from, by name."""
    states = {"np.random": np.random.get_state()}  # noqa: NPY002 (to see whether somebody draws)
    if "random" in sys.modules:  # else nobody has drawn from it
        states["random"] = sys.modules["random"].getstate()
    return {name: pickle.dumps(state) for name, state in states.items()}


def _contents(layer: Layer) -> dict[tuple[Layer, str], tuple[str, bytes]]:
    """Type and content of each attribute that can change without being assigned, within `layer`, where nothing is declared."""
    found = {}
    for _, one in layer._layers(""):
        for name, value in () if one.declares_forward_state else vars(one).items():
            if name not in NOT_LOOKED_INTO and (content := _content(value)) is not None:
                found[one, name] = type(value).__name__, content
    return found


def _content(value: Any) -> bytes | None:
    """None for what cannot change unseen, or cannot be looked at."""
    if isinstance(value, UNCHANGING) or is_plain(value):
        return None
    if isinstance(value, itertools.count):
        return repr(value).encode()
    written = io.BytesIO()
    try:
        _Pickler(written).dump(to_host(value.array) if isinstance(value, Tensor) else value)
    except Exception:  # of whatever is in it
        return None
    return written.getvalue()


class _Pickler(pickle.Pickler):
    """Leaves out layers, which are looked at by themselves, wherever an object knows one."""

    def persistent_id(self, value: Any) -> int | None:
        return id(value) if isinstance(value, Layer | Parameter) else None
