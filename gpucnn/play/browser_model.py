"""A trained model as network.js takes it: the calls of its functions, its weights, and what belongs to them, for JSON."""

import base64
import functools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from gpucnn.backend import Array, own_package, to_host
from gpucnn.checks import Shape, as_items
from gpucnn.data.catalog import is_light_on_dark
from gpucnn.errors import GraphError
from gpucnn.functions.broadcasting import as_axes
from gpucnn.functions.pooling import pooling_window
from gpucnn.geometry import Window
from gpucnn.layers import Layer
from gpucnn.layers.graph import Constant, GraphNode, Input, Saved, model_graph
from gpucnn.runs.folder import RunFolder
from gpucnn.runs.list import list_runs
from gpucnn.runs.trained_run import TrainedRun
from gpucnn.text import names_text
from gpucnn.training.best_epoch import judged_by

ENGINE = Path(__file__).parent / "network.js"
"""What runs the model in a browser. Its table FUNCTIONS says which functions it knows."""

Arguments: TypeAlias = dict[str, Any]


def browser_model(trained: TrainedRun) -> dict[str, Any]:
    """All that a page needs to show images to a trained model, ready for JSON.

    - `nodes`, `arrays`, `input_shape`: see `browser_graph`.
    - `class_names`, and `preprocess`, the fields of the run's `Preprocess`; `is_light_on_dark`, whether its data are known to be.
    - `name` of the model, `parameters`, how many numbers it has learnt, and `facts`: of which `run`, on which `data`, over how
      many `epochs`, which `weights`, and their `accuracy` on images of the part `accuracy_of`, None where that is not known.

    Raises GraphError for a model that no graph can follow, or with a function that the browser does not know.
    """
    side = trained.preprocess.image_size
    create = trained.config.get("create")
    return {
        **browser_graph(trained.model, (1, trained.preprocess.channels, side, side)),
        "name": str(create.get("name")) if isinstance(create, dict) else type(trained.model).__name__,
        "parameters": sum(parameter.size for parameter in trained.model.parameters()),
        "class_names": list(trained.class_names),
        "preprocess": asdict(trained.preprocess),
        "is_light_on_dark": is_light_on_dark(str(trained.config.get("data"))),
        "facts": _facts(trained),
    }


def browser_graph(model: Layer, shape: Shape) -> dict[str, Any]:
    """What a model computes of one image of `shape` (1, C, H, W), as network.js takes it.

    - `nodes`: the calls of functions in their order, each with `function`, `path` of the layer, `inputs` and `shape` as in a
      `GraphNode`, `arguments`, and whether what comes out `is_map`, (1, C, H, W). Of the arguments {"input": 3} is what a node
      gave, -1 the image, and {"array": "conv1.weight"} is one of `arrays`; windows, axes and indices are written out.
    - `arrays`: by name `shape` and `base64`, little-endian float32. Half of the bytes would do for a glance, but not for the
      answers of gpucnn to their last digits, nor for sums that can be checked by hand.

    Raises GraphError, which names layer, function and fix.
    """
    dtype = next((parameter.dtype for parameter in model.parameters()), np.float32)
    graph = model_graph(model, np.zeros(shape, dtype))
    saved = {path: member.array for path, member in [*model.named_parameters(), *model.named_buffers()]}
    arrays: dict[str, Array] = {}
    nodes = []
    for node in graph.nodes:
        if node.function not in known_functions():
            raise GraphError(
                f"{_place(node)}: network.js does not know {node.function}; known are {names_text(known_functions(), 99)}: "
                f"add it to FUNCTIONS there, or build the model with one of these"
            )
        shapes = _shapes(node, [other.shape for other in graph.nodes], saved, shape)
        written = WRITTEN_OUT[node.function](node.arguments, shapes) if node.function in WRITTEN_OUT else node.arguments
        nodes.append(
            {
                "function": node.function,
                "path": node.path,
                "inputs": list(node.inputs),
                "arguments": {name: _argument(value, saved, arrays, node) for name, value in written.items()},
                "shape": list(node.shape),
                "is_map": len(node.shape) == 4,
            }
        )
    for node, entry in zip(graph.nodes, nodes, strict=True):  # channels last are rows of numbers, not maps
        if node.function == "transpose" and len(node.shape) == 4:
            entry["is_map"] = entry["arguments"]["axes"] != [0, 2, 3, 1]
            for one in node.inputs:
                if entry["arguments"]["axes"] == [0, 3, 1, 2] and one >= 0:
                    nodes[one]["is_map"] = False
    return {
        "input_shape": list(shape),
        "nodes": nodes,
        "arrays": {name: _written(array) for name, array in arrays.items()},
    }


def json_for_script(value: Any) -> str:
    """`value` as JSON that may stand in a script, in a file or a page: no text in it can end the script, or its line."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII alone
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@functools.cache
def known_functions() -> tuple[str, ...]:
    """The functions that network.js knows: those of its table FUNCTIONS."""
    text = own_package.read(ENGINE).decode()
    listed = re.search(r"^for \(const name of \[(.*)\]\) {\n  FUNCTIONS\[name\]", text, re.MULTILINE)
    names = [] if listed is None else re.findall(r'"(\w+)"', listed[1])
    return tuple(sorted([*re.findall(r"^FUNCTIONS\.(\w+) = ", text, re.MULTILINE), *names]))


def _conv2d(given: Arguments, shapes: dict[str, Shape]) -> Arguments:
    window = Window.of(shapes["weight"][2:], given["stride"], given["padding"], given["dilation"])
    return {**given, **_sides(window)}


def _pooling(given: Arguments, shapes: dict[str, Shape]) -> Arguments:
    window = pooling_window(
        "pooling",
        given["kernel_size"],
        given["stride"],
        given["padding"],
        given.get("dilation", 1),
        given["ceil_mode"],
    )
    return {**given, "kernel_size": window.kernel, **_sides(window)}


def _sides(window: Window) -> Arguments:
    return {"stride": window.stride, "padding": window.padding, "dilation": window.dilation}


def _axes(given: Arguments, shapes: dict[str, Shape]) -> Arguments:
    return {**given, "axis": as_axes("axis", len(shapes["x"]), given["axis"])}


def _transpose(given: Arguments, shapes: dict[str, Shape]) -> Arguments:
    ndim = len(shapes["x"])
    axes = range(ndim - 1, -1, -1) if given["axes"] is None else as_axes("axes", ndim, given["axes"])
    return {"x": given["x"], "axes": tuple(axes)}


def _concatenate(given: Arguments, shapes: dict[str, Shape]) -> Arguments:
    return {**given, "axis": given["axis"] % len(shapes["tensors"])}


def _getitem(given: Arguments, shapes: dict[str, Shape]) -> Arguments:
    """Where the first element is in the array, written out flat, and how far apart neighbours along each axis are."""
    index = given["index"] if isinstance(given["index"], tuple) else (given["index"],)
    if any(isinstance(part, Constant | Input | Saved | tuple) for part in index):
        return given  # left for `_argument` to refuse
    places = np.arange(np.prod(shapes["x"], dtype=int)).reshape(shapes["x"])
    part = places[index]
    steps = [step // places.itemsize for step in part.strides]
    return {"x": given["x"], "start": int(part.flat[0]), "steps": tuple(steps)}


def _only_x(given: Arguments, shapes: dict[str, Shape]) -> Arguments:
    return {"x": given["x"]}


def _normalized(given: Arguments, shapes: dict[str, Shape]) -> Arguments:
    sizes = as_items(given["normalized_shape"])
    return {**given, "normalized_shape": (given["normalized_shape"],) if sizes is None else sizes}


WRITTEN_OUT: dict[str, Callable[[Arguments, dict[str, Shape]], Arguments]] = {
    "conv2d": _conv2d,
    "conv_transpose2d": _conv2d,
    "max_pool2d": _pooling,
    "avg_pool2d": _pooling,
    "mean": _axes,
    "sum": _axes,
    "softmax": _axes,
    "transpose": _transpose,
    "concatenate": _concatenate,
    "getitem": _getitem,
    "layer_norm": _normalized,
    **dict.fromkeys(
        ("reshape", "flatten", "squeeze", "expand_dims", "dropout", "dropout2d", "stochastic_depth"), _only_x
    ),
}
"""What becomes of a function's arguments where gpucnn takes several forms of them and network.js one."""


def _shapes(node: GraphNode, shapes: Sequence[Shape], saved: dict[str, Array], images: Shape) -> dict[str, Shape]:
    """The shapes of a node's arguments that are arrays, by name; of several in one argument that of the first."""
    found: dict[str, Shape] = {}
    for name, value in node.arguments.items():
        first = value[0] if isinstance(value, tuple) and value else value
        if isinstance(first, Input):
            found[name] = images if first.number < 0 else shapes[first.number]
        elif isinstance(first, Saved):
            found[name] = saved[first.path].shape
        elif isinstance(first, Constant):
            found[name] = first.array.shape
    return found


def _argument(value: Any, saved: dict[str, Array], arrays: dict[str, Array], node: GraphNode) -> Any:
    """An argument for JSON; what it names goes into `arrays`. GraphError for what network.js does not take."""
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
        return [_argument(one, saved, arrays, node) for one in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    what = f"an array of {value.array.dtype}" if isinstance(value, Constant) else f"a {type(value).__name__}"
    raise GraphError(
        f"{_place(node)}: network.js cannot take {what} as an argument of {node.function}; build the model without it, e.g. "
        f"with slices in place of indices"
    )


def _written(array: Array) -> dict[str, Any]:
    data = np.ascontiguousarray(to_host(array), "<f4")
    return {"shape": list(array.shape), "base64": base64.b64encode(data.tobytes()).decode()}


def _place(node: GraphNode) -> str:
    return node.path or "the model"


def _facts(trained: TrainedRun) -> dict[str, Any]:
    row, folder = trained.weights.row, trained.weights.file.parent
    entry = list_runs(folder)[0]
    is_result = row or RunFolder(folder).weights().name == trained.weights.name
    part = judged_by(row) if row else "test"
    return {
        "run": folder.name,
        "data": str(trained.config.get("data")),
        "epochs": entry.epochs,
        "weights": str(trained.weights),
        "accuracy": row.get(f"{part}_accuracy") if row else entry.accuracy if is_result else None,
        "accuracy_of": part,
    }
