"""A model's graph in fewer kinds of steps, each of which is one call of a function of `numpy_file`, or of NumPy."""

from collections.abc import Callable
from typing import Any, TypeAlias

from gpucnn.functions.sequence import adaptive_length, pool1d_window, sequence_window
from gpucnn.geometry import Window
from gpucnn.layers.graph import IMAGES, Constant, GraphNode, Input

Arguments: TypeAlias = dict[str, Any]


def simple_steps(nodes: list[GraphNode], sizes_of: Callable[[Any], tuple[Any, ...]]) -> list[GraphNode]:
    """The nodes, of which some become several: to add and to rectify, and to take sequences for images one pixel high."""
    numbers, steps = {IMAGES: IMAGES}, list[GraphNode]()

    def renumbered(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(renumbered, value))
        return Input(numbers[value.number]) if isinstance(value, Input) else value

    def put(node: GraphNode, function: str, arguments: Arguments, sizes: tuple[Any, ...]) -> Input:
        inputs = tuple(_inputs(arguments))
        steps.append(node._replace(function=function, arguments=arguments, inputs=inputs, sizes=sizes))
        return Input(len(steps) - 1)

    for number, node in enumerate(nodes):
        given = {name: _plain(name, renumbered(value)) for name, value in node.arguments.items()}
        activation, residual = given.pop("activation", None), given.pop("residual", None)
        if node.function in SEQUENCES:
            for name in given.keys() & {"x", "weight"}:
                sizes = sizes_of(node.arguments[name])
                rows = {"x": given[name], "index": (slice(None), slice(None), None)}
                given[name] = put(node, "getitem", rows, (*sizes[:2], 1, *sizes[2:]))
            given |= _of_one_row(node, sizes_of)
            last = put(node, node.function.replace("1d", "2d"), given, (*node.sizes[:2], 1, *node.sizes[2:]))
            last = put(node, "getitem", {"x": last, "index": (slice(None), slice(None), 0)}, node.sizes)
        else:
            last = put(node, node.function, given, node.sizes)
        if residual is not None:
            last = put(node, "add", {"a": last, "b": residual}, node.sizes)
        if activation is not None:
            last = put(node, activation, {"x": last}, node.sizes)
        numbers[number] = last.number
    return steps


def _plain(name: str, value: Any) -> Any:
    """Numbers that gpucnn also takes as an array, such as axes and sizes, as a tuple."""
    return tuple(value.array.ravel().tolist()) if name in NUMBERS and isinstance(value, Constant) else value


NUMBERS = (
    "axis",
    "axes",
    "dilation",
    "kernel_size",
    "output_size",
    "padding",
    "scale_factor",
    "shape",
    "size",
    "stride",
)

SEQUENCES = ("conv1d", "max_pool1d", "avg_pool1d", "adaptive_avg_pool1d", "adaptive_max_pool1d")
"""Functions of sequences (N, C, L), for each of which there is one of images."""


def _of_one_row(node: GraphNode, sizes_of: Callable[[Any], tuple[Any, ...]]) -> Arguments:
    """The sizes among the arguments of a function of sequences, for images that are one pixel high."""
    given, name = {key: _plain(key, value) for key, value in node.arguments.items()}, node.function
    if "output_size" in given:
        return {"output_size": (1, adaptive_length(name, given["output_size"]))}
    if "kernel_size" in given:
        dilation = given.get("dilation", 1)
        window = pool1d_window(
            name, given["kernel_size"], given["stride"], given["padding"], dilation, given["ceil_mode"]
        )
        return {"divisor_override": None, "kernel_size": window.kernel, **_placed(window)}
    window = sequence_window(name, sizes_of(given["weight"])[2], given["stride"], given["padding"], given["dilation"])
    return _placed(window)


def _placed(window: Window) -> Arguments:
    return {"stride": window.stride, "padding": window.padding, "dilation": window.dilation}


def _inputs(value: Any) -> list[int]:
    if isinstance(value, dict | tuple):
        return [one for part in (value.values() if isinstance(value, dict) else value) for one in _inputs(part)]
    return [value.number] if isinstance(value, Input) else []
