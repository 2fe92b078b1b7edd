"""The nodes of a graph as they are computed one after the other: what each is called with, and which values end with it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from gpucnn.layers import Layer
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.node_layer import NodeLayer


class Step(NamedTuple):
    """One node, as it is computed in a forward pass."""

    node: OnnxNode
    layer: Layer | None
    """That which computes it; None for one without parameters of its own."""
    taken: tuple[str, ...]
    """The names of the values that it is called with."""
    forgotten: tuple[str, ...]
    """Names of values that nothing needs after it."""


def steps_of(nodes: Sequence[OnnxNode], layers: Mapping[OnnxNode, Layer], kept: set[str]) -> list[Step]:
    """The steps of the nodes, some of which are `layers`. Values that are `kept` do not end."""
    steps, known = [], set(kept)
    for node in reversed(nodes):  # which values end with a node is known from what comes after it
        layer = layers.get(node)
        ending = dict.fromkeys(name for name in (*node.inputs, *node.outputs) if name and name not in known)
        known.update(ending)
        steps.append(Step(node, layer, _taken(node, layer), tuple(ending)))
    return steps[::-1]


def _taken(node: OnnxNode, layer: Layer | None) -> tuple[str, ...]:
    if layer is None:
        return node.inputs
    if not isinstance(layer, NodeLayer):  # dropout, whose ratio it has
        return node.inputs[:1]
    return tuple(name for position, name in enumerate(node.inputs) if name and position not in layer.weight_names)
