"""What of a file's arrays is learnt, what is a running statistic, and what stays as it is; and what can be computed beforehand."""

from collections.abc import Mapping, Sequence

import numpy as np

from gpucnn.layers import Buffer, Parameter
from gpucnn.onnx_model.graph import OnnxGraph
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.node_layer import computed
from gpucnn.onnx_model.operators import OPERATORS
from gpucnn.onnx_model.operators.values import are_known, folding

MOST_FOLDED_IN_ALL = 1 << 26
"""Elements of all that is computed beforehand."""


def with_constants(graph: OnnxGraph) -> tuple[dict[str, np.ndarray], list[OnnxNode]]:
    """The file's arrays with those of its nodes Constant, and the other nodes.

    An array behind an Identity is one of its own, too: PyTorch writes equal weights of two layers once, and so names the second.
    """
    arrays, nodes = dict(graph.arrays), []
    for node in graph.nodes:
        if node.operator == "Constant":
            arrays[node.outputs[0]] = np.asarray(computed(node, [], None)[0])
        elif node.operator == "Identity" and node.inputs[0] in arrays:
            arrays[node.outputs[0]] = arrays[node.inputs[0]]
        else:
            nodes.append(node)
    return arrays, nodes


def members_of(nodes: Sequence[OnnxNode], arrays: Mapping[str, np.ndarray]) -> dict[str, Parameter]:
    """The parameters and buffers among the arrays, by name: floats that operators take in a place where they have weights."""
    learnt, tracked = set(), set()
    for node in reversed(nodes):
        operator = OPERATORS[node.operator]
        named = dict(enumerate(node.inputs))
        learnt.update(named.get(position, "") for position in operator.learns)
        tracked.update(named.get(position, "") for position in operator.tracks)
        if learnt.intersection(node.outputs):
            learnt.update(named.get(position, "") for position in operator.passes)
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
    left, made = [], 0
    for node in nodes:
        if not all(name in values for name in node.inputs if name) or made > MOST_FOLDED_IN_ALL:
            left.append(node)
            continue
        with folding():
            results = computed(node, [values[name] if name else None for name in node.inputs], None)
        if not are_known(results):
            left.append(node)
            continue
        arrays_made = [np.asarray(one) for one in results if isinstance(one, np.ndarray)]
        made += sum(one.size for one in arrays_made)
        values.update(zip(node.outputs, arrays_made, strict=False))
    values.pop("", None)
    return values, left
