"""What of a file's arrays is learnt, what is a running statistic, and what stays as it is; and what can be computed beforehand."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from gpucnn.layers import Buffer, Parameter
from gpucnn.onnx_model.graph import OnnxGraph
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.node_layer import computed
from gpucnn.onnx_model.operators import OPERATORS, convolution, pooling, products
from gpucnn.onnx_model.operators.values import TooLarge, are_known, folding

MOST_FOLDED_IN_ALL = 1 << 26
"""Elements that all nodes which are computed beforehand take and make."""

SLOW = frozenset({*convolution.OPERATORS, *pooling.OPERATORS, *products.OPERATORS, "LRN"})
"""Operators that take longer than their elements tell: they are not computed beforehand."""

BESIDE = ("Add", "Mul", "Concat")
"""Operators that may take weights, and may take anything else."""

NAMELESS = "constant"
"""How gpucnn's own files begin the names of arrays that are no weights."""


class Unfolded(NamedTuple):
    """A graph in which constants are arrays."""

    arrays: dict[str, np.ndarray]
    nodes: list[OnnxNode]
    stand_ins: set[str]
    """The names of arrays of one and the same number that nodes gave: exporters put them where an operator needs a weight, and there is none."""


def with_constants(graph: OnnxGraph) -> Unfolded:
    """The file's arrays with those of its nodes Constant, and the other nodes.

    An array behind an Identity is one of its own, too: PyTorch writes equal weights of two layers once, and so names the second.
    """
    found = Unfolded(dict(graph.arrays), [], set())
    arrays = found.arrays
    for node in graph.nodes:
        if node.operator == "Constant":
            array = arrays[node.outputs[0]] = np.asarray(computed(node, [], None)[0])
            if array.size and bool((array == array.flat[0]).all()):
                found.stand_ins.add(node.outputs[0])
        elif node.operator == "Identity" and node.inputs[0] in arrays:
            arrays[node.outputs[0]] = arrays[node.inputs[0]]
        else:
            found.nodes.append(node)
    return found


def members_of(graph: Unfolded, of_gpucnn: bool) -> dict[str, Parameter]:
    """The parameters and buffers among the arrays, by name: floats that operators take in a place where they have weights.

    What is added to values, or multiplied with them, is a weight if it is more than one number, and if the values come from other
    weights: what is done to the inputs themselves prepares them. In files of gpucnn, arrays without a name of their own are constants.
    """
    arrays, nodes = graph.arrays, graph.nodes
    weighted: set[str] = set()
    learnt: set[str] = set()
    tracked: set[str] = set()
    for node in nodes:
        if OPERATORS[node.operator].learns and (node.operator not in BESIDE or weighted.intersection(node.inputs)):
            learnt.update(
                node.inputs[position] for position in OPERATORS[node.operator].learns if position < len(node.inputs)
            )
            weighted.update(node.outputs)
        elif weighted.intersection(node.inputs):
            weighted.update(node.outputs)
    beside = {name for node in nodes if node.operator in BESIDE for name in node.inputs}
    for node in reversed(nodes):
        tracked.update(
            node.inputs[position] for position in OPERATORS[node.operator].tracks if position < len(node.inputs)
        )
        if learnt.intersection(node.outputs):
            learnt.update(
                node.inputs[position] for position in OPERATORS[node.operator].passes if position < len(node.inputs)
            )
    if of_gpucnn:
        learnt = {name for name in learnt if not name.startswith(NAMELESS)}
    learnt -= graph.stand_ins | {name for name in beside if name in arrays and arrays[name].size == 1}
    members: dict[str, Parameter] = {}
    for name, array in arrays.items():
        if array.dtype.kind == "f" and name in tracked:
            members[name] = Buffer(array, dtype=array.dtype)
        elif array.dtype.kind == "f" and name in learnt and array.size:
            members[name] = Parameter(array, dtype=array.dtype)
    return members


def folded(arrays: Mapping[str, np.ndarray], nodes: Sequence[OnnxNode]) -> tuple[dict[str, np.ndarray], list[OnnxNode]]:
    """The arrays with all that can be computed of them, and the nodes that are left."""
    values: dict[str, np.ndarray] = dict(arrays)
    left, moved = [], 0
    for node in nodes:
        if node.operator in SLOW or not all(name in values for name in node.inputs if name):
            left.append(node)
            continue
        taken = sum(values[name].size for name in node.inputs if name)
        if moved + taken > MOST_FOLDED_IN_ALL:
            left.append(node)
            continue
        try:
            with folding(), np.errstate(all="ignore"):
                results = computed(node, [values[name] if name else None for name in node.inputs], None)
        except TooLarge:  # a forward pass makes it, if it may
            left.append(node)
            continue
        if not are_known(results):
            left.append(node)
            continue
        arrays_made = [np.asarray(one) for one in results if isinstance(one, np.ndarray)]
        moved += taken + sum(one.size for one in arrays_made)
        values.update(zip(node.outputs, arrays_made, strict=False))
    values.pop("", None)
    return values, left
