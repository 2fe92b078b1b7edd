"""Where a file's weights stand in the tree of layers: what a weight is called in the file is its path, if it can be one."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from gpucnn.layers import Dropout, Layer, Parameter
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.node_layer import LAYERS, NodeLayer, node_layer
from gpucnn.onnx_model.operators import OPERATORS

Path = tuple[str, ...]

DEEPEST = 20
"""Layers in layers: a name of more parts is one part."""


class Part(Layer):
    """Layers and weights whose names in the file begin alike."""


class WeightTree:
    """Puts weights, and layers for the nodes that use them, into a model.

    - A name with dots, such as "features.0.weight", is a path. The node that alone uses the weights in "features.0" is a layer there, and so are several that are alike.
    - Other names, such as "onnx::Conv_41", say nothing: the path is that of the node, "/features/features.0/Conv", and the weight's role.
    """

    def __init__(
        self,
        model: Layer,
        nodes: Sequence[OnnxNode],
        members: Mapping[str, Parameter],
        constants: Mapping[str, np.ndarray],
        outputs: Sequence[str],
    ) -> None:
        self.model, self.nodes, self.members, self.constants = model, nodes, members, constants
        self._used = {*outputs, *(name for node in nodes for name in node.inputs)}
        self.layers: dict[int, Layer] = {}
        """By the numbers of nodes."""
        self._counts: dict[tuple[Layer, str], int] = {}
        """How many names alike a layer has."""
        self.places: dict[str, tuple[Layer, str]] = {}
        """Of each weight, by its name in the file, the layer that has it, and the attribute there."""
        self._paths = {name: _path_of(name) for name in members}
        self._users: dict[Path, set[int]] = {}
        """The nodes that use weights of a layer, by its path."""
        for number, node in enumerate(nodes):
            for name in node.inputs:
                if name in members and (path := self._paths[name]):
                    self._users.setdefault(path[:-1], set()).add(number)
        self._around = {path[:end] for path in self._users for end in range(len(path))}
        """The paths of layers with others inside."""

    def grow(self) -> None:
        """Put everything in its place."""
        for number, node in enumerate(self.nodes):
            if node.operator in LAYERS and self._has_own(node):
                self._place_layer(number, node)
            elif node.operator == "Dropout" and (ratio := self._ratio(node)) is not None:
                self.layers[number] = Dropout(ratio)
                self._put(_node_path(node), self.layers[number])
        for node in self.nodes:
            roles = {**OPERATORS[node.operator].learns, **OPERATORS[node.operator].tracks}
            for position, name in enumerate(node.inputs):
                if name in self.members and name not in self.places:
                    path = self._paths[name] or (*_node_path(node), roles.get(position, "weight"))
                    self.places[name] = self._put(path, self.members[name])
        for name, member in vars(self.model).items():
            if isinstance(member, Layer | Parameter):
                setattr(self.model, name, member)  # which tells all within where they stand
                return

    def _ratio(self, node: OnnxNode) -> float | None:
        """Of a dropout that can be a layer; None where the file does not tell it, or its mask is used."""
        if self._used.intersection(node.outputs[1:]):
            return None
        given = np.asarray(node.number("ratio", 0.5))
        if len(node.inputs) > 1 and node.inputs[1]:
            given = self.constants.get(node.inputs[1], np.zeros(0))
        return float(given.reshape(-1)[0]) if given.size == 1 and 0 <= given.reshape(-1)[0] < 1 else None

    def _has_own(self, node: OnnxNode) -> bool:
        """Whether a node's weights, and not all of its inputs, are the model's; and only its first output is used."""
        own = [name in self.members for name in node.inputs if name]
        return any(own) and node.inputs[0] not in self.members and not self._used.intersection(node.outputs[1:])

    def _place_layer(self, number: int, node: OnnxNode) -> None:
        roles = {**OPERATORS[node.operator].learns, **OPERATORS[node.operator].tracks}
        own = {position: name for position, name in enumerate(node.inputs) if name in self.members}
        parents = {path[:-1] for name in own.values() if (path := self._paths[name])}
        parent: Path = next(iter(parents), ())
        users = self._users[parent] if parent else {number}
        inside = parent and parent in self._around
        if len(parents) > 1 or inside or not all(_are_alike(node, self.nodes[one]) for one in users):
            return
        if (twin := self.layers.get(min(users))) is not None:
            self.layers[number] = twin
            return
        names = {}
        layer = node_layer(node)
        for position, name in own.items():
            path = self._paths[name]
            attribute = path[-1] if path and name not in self.places else roles.get(position, "weight")
            names[position] = self._set(layer, attribute, self.members[name])
            self.places.setdefault(name, (layer, names[position]))
        layer.weight_names = names
        self._put(parent or _node_path(node), layer)
        self.layers[number] = layer

    def _put(self, path: Path, member: Layer | Parameter) -> tuple[Layer, str]:
        """Set an attribute of the model, or of a layer within. The layer, and the attribute's name."""
        place = self.model
        for name in path[:-1]:
            inner = vars(place).get(_safe(name))
            if not isinstance(inner, Layer):
                inner = Part()
                self._set(place, name, inner)
            place = inner
        return place, self._set(place, path[-1], member)

    def _set(self, place: Layer, name: str, member: Layer | Parameter) -> str:
        """Set an attribute under a name like `name` that the layer does not have yet; that name."""
        name = _safe(name)
        free, count = name, self._counts.get((place, name), 1)
        while free in vars(place):
            count += 1
            free = f"{name}_{count}"
        self._counts[place, name] = count
        object.__setattr__(place, free, member)  # without a look at the whole tree each time: `grow` has it once
        return free


def _safe(name: str) -> str:
    """The name as that of an attribute that no layer has otherwise, of letters, digits and _ alone: it is printed, and written into programs."""
    name = re.sub(r"\W", "_", name)
    return f"{name}_" if not name or name.startswith("_") or hasattr(NodeLayer, name) or name in _TAKEN else name


_TAKEN = frozenset({"opset", "metadata", "class_names", "input_shape", "onnx_node", "weight_names"})


def _are_alike(node: OnnxNode, other: OnnxNode) -> bool:
    """Whether two nodes do the same to what they take first: one layer that is used twice."""
    return (node.operator, node.inputs[1:], node.attributes) == (other.operator, other.inputs[1:], other.attributes)


def _path_of(name: str) -> Path | None:
    """The path that a weight's name is; None for one that says nothing."""
    parts = tuple(name.split("."))
    says_nothing = re.search(r"[:/\s]", name) or name.isdigit() or not all(parts) or len(parts) > DEEPEST
    return None if says_nothing else parts


def _node_path(node: OnnxNode) -> Path:
    """The path of a node's layer: of "/layer1/layer1.0/conv1/Conv", as PyTorch calls it, layer1.0.conv1; else its name."""
    steps = [step for step in node.name.split("/") if step]
    if steps and not re.fullmatch(r"node \d+", node.name):
        if len(steps) > 1 and re.fullmatch(rf"{node.operator}(_\d+)?", steps[-1]):
            steps.pop()
        path: list[str] = []
        for step in steps:
            path = _continued(path, step)
        if len(path) <= DEEPEST and all(path):
            return tuple(path)
    return (re.sub(r"[.\s/]", "_", node.name.replace("node", node.operator, 1)),)


def _continued(path: list[str], step: str) -> list[str]:
    """A path and a step into it, whose name may begin with that of the step before: "layer1", "layer1.0"."""
    parts = step.split(".")
    for start in range(len(path)):
        if path[start:] == parts[: len(path) - start]:
            return path[:start] + parts
    return path + parts
