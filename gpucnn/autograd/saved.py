"""What the tape keeps alive until the backward pass, found by looking: no function need tell what it saves."""

import gc
from collections.abc import Iterator
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from gpucnn.autograd.tape import Node
from gpucnn.autograd.tensor import Tensor


def operations(output: Tensor) -> list[Node]:
    """The operations on the tape of `output` in the order in which they were computed, without leaves."""
    found: set[Node] = set()
    waiting = [output.node]
    while waiting:
        node = waiting.pop()
        if node is not None and node.inputs and node not in found:
            found.add(node)
            waiting.extend(node.inputs)
    return sorted(found, key=lambda node: node.number)


def saved_bytes(nodes: list[Node], known: list[np.ndarray]) -> list[int]:
    """For each operation, the bytes of the arrays on the CPU that its backward function is the first to keep alive.

    An array counts with all the memory that it keeps, also where it is a view of a part. Memory that arrays of `known` lie
    in, e.g. parameters and images, does not count.
    """
    seen = {id(_owner(array)) for array in known}
    sizes = []
    for node in nodes:
        owners = {id(owner): owner for owner in map(_owner, _arrays_in(node.backward)) if id(owner) not in seen}
        seen.update(owners)
        sizes.append(sum(owner.nbytes for owner in owners.values()))
    return sizes


def _owner(array: np.ndarray) -> np.ndarray:
    """The array whose memory `array` is a view of, or itself."""
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array


def _arrays_in(function: Any) -> Iterator[np.ndarray]:
    """The arrays that can be reached from `function` through its variables and whatever they hold, except for the tape."""
    reached: dict[int, Any] = {}
    waiting = [function]
    while waiting:
        value = waiting.pop()
        if id(value) in reached or isinstance(value, Node | type | ModuleType):
            continue
        reached[id(value)] = value  # kept, so that no other object gets its id
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, FunctionType):  # not what its module holds, which it refers to as well
            waiting += [value.__closure__, value.__defaults__, value.__kwdefaults__]
        else:
            waiting += gc.get_referents(value)
