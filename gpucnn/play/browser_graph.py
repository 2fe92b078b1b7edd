"""What a model computes, function by function, with its weights: as network.js takes it, for JSON."""

import base64
import functools
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from gpucnn.backend import Array, own_package, to_host
from gpucnn.checks import Shape, as_items
from gpucnn.errors import GraphError
from gpucnn.functions.broadcasting import as_axes
from gpucnn.functions.pooling import pooling_window
from gpucnn.geometry import Window
from gpucnn.layers import Layer
from gpucnn.layers.graph import Constant, GraphNode, Input, Saved, model_graph
from gpucnn.text import names_text, value_text

ENGINE = Path(__file__).with_name("network.js")
"""What runs the model in a browser. Its table FUNCTIONS says which functions it knows."""

LARGEST_TEXT = 500_000_000
"""Letters that the weights may be: JavaScript has no text of 2^29 or more."""

CHANNELS_LAST, CHANNELS_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)
"""The orders of axes that make rows of channels of maps, and maps of rows of channels."""

Arguments: TypeAlias = dict[str, Any]
ShapeOf: TypeAlias = Callable[[Any], Shape]


def browser_graph(model: Layer, shape: Shape) -> dict[str, Any]:
    """What a model computes of one image of `shape` (1, C, H, W).

    - `nodes`: the calls of functions in their order, each with `function`, `path` of the layer, `inputs` and `shape` as in a
      `GraphNode`, `arguments`, and whether what comes out `is_map`, (1, C, H, W). Of the arguments {"input": 3} is what a node
      gave, -1 the image, and {"array": "conv1.weight"} is one of `arrays`; windows, axes and indices are written out.
    - `arrays`: by name `shape` and `base64`, little-endian float32. Half of the bytes would do for a glance, but not for the
      answers of gpucnn to their last digits, nor for sums that can be checked by hand.
    - `input_shape`: that of the image.

    Raises GraphError, which names layer, function and fix, for a model that no graph can follow, for a function or an argument
    that network.js does not know, and for weights that are too large for a browser.
    """
    dtype = next((parameter.dtype for parameter in model.parameters()), np.float32)
    graph = model_graph(model, np.zeros(shape, dtype))
    saved = {path: member.array for path, member in [*model.named_parameters(), *model.named_buffers()]}
    arrays: dict[str, Array] = {}

    def shape_of(value: Any) -> Shape:
        if isinstance(value, Input):
            return shape if value.number < 0 else graph.nodes[value.number].shape
        found: Shape = saved[value.path].shape if isinstance(value, Saved) else value.array.shape
        return found

    nodes = [
        {
            "function": node.function,
            "path": node.path,
            "inputs": list(node.inputs),
            "arguments": {
                name: _for_json(value, node, saved, arrays) for name, value in _written_out(node, shape_of).items()
            },
            "shape": list(node.shape),
            "is_map": is_map,
        }
        for node, is_map in zip(graph.nodes, _are_maps(graph.nodes), strict=True)
    ]
    letters = sum(-(-4 * array.size // 3) * 4 for array in arrays.values())
    if letters > LARGEST_TEXT:
        raise GraphError(
            f"{model.label}: its weights are {letters / 1e6:,.0f} MB as text, and a browser takes at most "
            f"{LARGEST_TEXT / 1e6:,.0f} MB; choose a smaller model, e.g. resnet18, of which they are 60 MB"
        )
    return {
        "input_shape": list(shape),
        "nodes": nodes,
        "arrays": {name: _as_text(array) for name, array in arrays.items()},
    }


@functools.cache
def known_functions() -> tuple[str, ...]:
    """The functions that network.js knows: those of its table FUNCTIONS."""
    text = own_package.read(ENGINE).decode()
    listed = re.search(r"^for \(const name of \[(.*)\]\) {\n  FUNCTIONS\[name\]", text, re.MULTILINE)
    names = [] if listed is None else re.findall(r'"(\w+)"', listed[1])
    return tuple(sorted([*re.findall(r"^FUNCTIONS\.(\w+) = ", text, re.MULTILINE), *names]))


def _are_maps(nodes: list[GraphNode]) -> list[bool]:
    """Which nodes give maps: arrays of four axes, but for rows of channels, on which layer norms and linear layers work."""
    found = [len(node.shape) == 4 for node in nodes]
    for number, node in enumerate(nodes):
        if node.function == "transpose" and node.arguments["axes"] == CHANNELS_LAST:
            found[number] = False
        if node.function == "transpose" and node.arguments["axes"] == CHANNELS_FIRST:
            for one in node.inputs:
                if one >= 0:
                    found[one] = False
    return found


def _written_out(node: GraphNode, shape_of: ShapeOf) -> Arguments:
    """A node's arguments in the one form that network.js takes, where gpucnn takes several."""
    if node.function not in known_functions():
        raise GraphError(
            f"{_place(node)}: network.js does not know {node.function}; add it to FUNCTIONS there, or build the model of "
            f"what it knows: {names_text(known_functions(), 99)}"
        )
    return WRITTEN_OUT[node.function](node, shape_of) if node.function in WRITTEN_OUT else node.arguments


def _window(node: GraphNode, shape_of: ShapeOf) -> Arguments:
    given = node.arguments
    window = Window.of(shape_of(given["weight"])[2:], given["stride"], given["padding"], given["dilation"])
    return {**given, **_sizes(window)}


def _pooling(node: GraphNode, shape_of: ShapeOf) -> Arguments:
    given = node.arguments
    kernel, stride, dilation = given["kernel_size"], given["stride"], given.get("dilation", 1)
    window = pooling_window(node.function, kernel, stride, given["padding"], dilation, given["ceil_mode"])
    return {**given, "kernel_size": window.kernel, **_sizes(window)}


def _sizes(window: Window) -> Arguments:
    return {"stride": window.stride, "padding": window.padding, "dilation": window.dilation}


def _reduction(node: GraphNode, shape_of: ShapeOf) -> Arguments:
    given = node.arguments
    return {**given, "axis": as_axes(node.function, len(shape_of(given["x"])), given["axis"])}


def _transpose(node: GraphNode, shape_of: ShapeOf) -> Arguments:
    x, axes = node.arguments["x"], node.arguments["axes"]
    ndim = len(shape_of(x))
    return {"x": x, "axes": as_axes(node.function, ndim, range(ndim - 1, -1, -1) if axes is None else axes)}


def _concatenate(node: GraphNode, shape_of: ShapeOf) -> Arguments:
    tensors, axis = node.arguments["tensors"], node.arguments["axis"]
    return {"tensors": tensors, "axis": axis % len(shape_of(tensors[0]))}


def _getitem(node: GraphNode, shape_of: ShapeOf) -> Arguments:
    """Where the first element is in the array, written out flat, and how far apart neighbours along each axis are."""
    x, index = node.arguments["x"], node.arguments["index"]
    index = index if isinstance(index, tuple) else (index,)
    if not all(part is None or part is ... or isinstance(part, int | slice) for part in index):
        raise _refused(node, "an array as an index", "take parts by slices")
    shape = shape_of(x)
    places = np.arange(math.prod(shape)).reshape(shape)
    part = places[index]
    return {"x": x, "start": int(part.flat[0]), "steps": tuple(step // places.itemsize for step in part.strides)}


def _layer_norm(node: GraphNode, shape_of: ShapeOf) -> Arguments:
    given = node.arguments
    sizes = as_items(given["normalized_shape"])
    return {**given, "normalized_shape": (given["normalized_shape"],) if sizes is None else sizes}


def _batch_norm(node: GraphNode, shape_of: ShapeOf) -> Arguments:
    given = node.arguments
    if given["training"]:
        raise _refused(node, "the statistics of a batch", "build the norm with track_running_stats=True")
    return {name: value for name, value in given.items() if name not in ("training", "momentum")}


def _x_alone(node: GraphNode, shape_of: ShapeOf) -> Arguments:
    return {"x": node.arguments["x"]}


WRITTEN_OUT: dict[str, Callable[[GraphNode, ShapeOf], Arguments]] = {
    "conv2d": _window,
    "conv_transpose2d": _window,
    "max_pool2d": _pooling,
    "avg_pool2d": _pooling,
    "mean": _reduction,
    "sum": _reduction,
    "softmax": _reduction,
    "transpose": _transpose,
    "concatenate": _concatenate,
    "getitem": _getitem,
    "layer_norm": _layer_norm,
    "batch_norm": _batch_norm,
    **dict.fromkeys(("reshape", "flatten", "squeeze", "expand_dims"), _x_alone),
    **dict.fromkeys(("dropout", "dropout2d", "stochastic_depth"), _x_alone),
}


def _for_json(value: Any, node: GraphNode, saved: dict[str, Array], arrays: dict[str, Array]) -> Any:
    """An argument for JSON; arrays that it names are added to `arrays`."""
    if isinstance(value, Input):
        return {"input": value.number}
    if isinstance(value, Saved):
        arrays[value.path] = saved[value.path]
        return {"array": value.path}
    if isinstance(value, Constant) and value.array.dtype.kind == "f":
        name = f"constant {len(arrays)}"
        arrays[name] = value.array
        return {"array": name}
    if isinstance(value, tuple | list):
        return [_for_json(one, node, saved, arrays) for one in value]
    if value is None or isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value)):
        return value
    what = f"an array of {value.array.dtype}" if isinstance(value, Constant) else value_text(value)
    raise _refused(node, what, "build the model without it")


def _as_text(array: Array) -> dict[str, Any]:
    numbers = np.ascontiguousarray(to_host(array), "<f4")
    return {"shape": list(array.shape), "base64": base64.b64encode(numbers.tobytes()).decode()}


def _refused(node: GraphNode, what: str, fix: str) -> GraphError:
    return GraphError(f"{_place(node)}: network.js does not take {what} for {node.function}; {fix}")


def _place(node: GraphNode) -> str:
    return node.path or "the model"
