"""A model's graph as lines of Python, one statement after the other, which call the functions of `numpy_file`."""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.backend import to_host
from gpucnn.checks import Shape, as_pair
from gpucnn.errors import GraphError
from gpucnn.export.onnx_nodes import REFUSED
from gpucnn.functions.broadcasting import as_axes
from gpucnn.functions.padding import CROPS_FIRST, MODES
from gpucnn.functions.pooling import pooling_window
from gpucnn.functions.sequence import adaptive_length, pool1d_window, sequence_window
from gpucnn.geometry import Window
from gpucnn.kernels.pooling.plain import Pooling, counts
from gpucnn.layers.graph import IMAGES, Batch, Constant, GraphNode, Input, ModelGraph, Repeated, Saved
from gpucnn.text import printed

COLUMNS = 88
"""What a line may take, as formatters have it unless they are told otherwise."""

NAMES = ("x", "y", "z", "u", "v")
"""What arrays are called that are needed at the same time; then "x1", "x2"."""

Arguments: TypeAlias = dict[str, Any]


def quoted(text: str) -> str:
    """A text as code, in the quotation marks that formatters choose."""
    mark = '"' if text.count('"') <= text.count("'") else "'"
    return mark + "".join(f"\\{mark}" if letter == mark else repr(letter)[1:-1] for letter in text) + mark


class Expression(NamedTuple):
    """A call, with its arguments as texts, or without them a text that stands for itself."""

    text: str
    """Of what is called, or of all of it."""
    arguments: tuple[str, ...] | None = None
    is_operation: bool = False
    """Whether it needs parentheses within another one."""
    part: str = ""
    """What is taken of the call's result, e.g. "[:, :, 0]"."""

    def on_one_line(self) -> str:
        """The whole, however long it is."""
        return self.text if self.arguments is None else f"{self.text}({', '.join(self.arguments)}){self.part}"

    def lines(self, start: str) -> list[str]:
        """The statement that begins with `start`, one argument a line where it is long."""
        if self.arguments is None or len(start + self.on_one_line()) <= COLUMNS:
            return [start + self.on_one_line()]
        indent = start[: len(start) - len(start.lstrip())]
        return [f"{start}{self.text}(", *(f"{indent}    {one}," for one in self.arguments), f"{indent}){self.part}"]


@dataclass(frozen=True)
class Code:
    """An argument that is code already."""

    text: str


class Network(NamedTuple):
    """What a graph computes, as code."""

    lines: list[str]
    """Of the body of a function of `x`, the images, which has the arrays in a dict `w`."""
    arrays: dict[str, np.ndarray]
    """What `w` has: parameters and buffers by their paths, and other arrays of numbers."""


def numpy_network(graph: ModelGraph) -> Network:
    """The code of a `graph_of_any_batch`. GraphError, which names layer, function and fix, for what has no counterpart here."""
    return _Writer(graph).network()


class _Writer:
    def __init__(self, graph: ModelGraph) -> None:
        self.graph, self.arrays = graph, dict[str, np.ndarray]()
        self.constants: dict[tuple[str, Shape, bytes], str] = {}
        self.steps = graph.nodes
        self.steps = _simple_steps(graph.nodes, self.sizes_of)
        uses = [one for step in self.steps for one in step.inputs]
        self.users = {
            number: [place for place, step in enumerate(self.steps) if number in step.inputs] for number in uses
        }
        self.count = {number: uses.count(number) for number in uses}
        self.names: dict[int, str] = {IMAGES: "x"}
        self.inlined: dict[int, Expression] = {}
        self.needs_batch = False

    def network(self) -> Network:
        lines: list[str] = []
        section = ""
        for number, step in enumerate(self.steps):
            expression = self.expression(number)
            if self.goes_into_the_next(number, expression):
                self.inlined[number] = expression
                continue
            own = step.path if self.has_parts(step.path) else step.path.rpartition(".")[0]
            if own != section:
                lines.extend(["", f"    # {printed(own)}"] if own else [""])
                section = own
            name = self.name_for(number)
            if expression.on_one_line() != name:
                lines.extend(expression.lines(f"    {name} = "))
        if lines and not lines[0]:
            del lines[0]
        if self.needs_batch:
            lines.insert(0, "    batch = len(x)")
        lines.append(f"    return {self.names[len(self.steps) - 1] if self.steps else 'x'}")
        return Network(lines, self.arrays)

    def has_parts(self, path: str) -> bool:
        """Whether layers are called within the one at `path`."""
        return any(step.path.startswith(f"{path}.") for step in self.steps)

    def expression(self, number: int) -> Expression:
        """What a step computes, in which the names of others stand, or what they compute."""
        step = self.steps[number]
        if step.function not in WRITERS:
            raise _refused(step, f"has no {step.function}", REFUSED.get(step.function, "add it to WRITERS"))
        return WRITERS[step.function](step, self)

    def goes_into_the_next(self, number: int, expression: Expression) -> bool:
        """Whether the next step takes this one's result, and nobody else does, and both make one line that is easy to read."""
        if number + 1 >= len(self.steps) or self.users.get(number) != [number + 1] or self.count[number] != 1:
            return False
        after = self.steps[number + 1]
        if after.function not in WRAPPING or number in self.inlined:
            return False
        if after.function == self.steps[number].function:
            return False
        self.inlined[number] = expression
        try:
            return len(f"    x = {self.expression(number + 1).on_one_line()}") <= COLUMNS
        finally:
            del self.inlined[number]

    def name_for(self, number: int) -> str:
        """A name that no array has which is still needed; it is the number's from here on."""
        needed = {name for one, name in self.names.items() if max(self._last_users(one), default=-1) > number}
        extra = (f"x{count}" for count in range(1, len(self.steps) + 1))
        name = next(name for name in (*NAMES, *extra) if name not in needed)
        self.names = {one: known for one, known in self.names.items() if known != name}
        self.names[number] = name
        return name

    def _last_users(self, number: int) -> list[int]:
        """The statements that take a step's result, in which a step that goes into another is part of that."""
        found = []
        for user in self.users.get(number, []):
            while user in self.inlined:
                user += 1
            found.append(user)
        return found

    def text(self, value: Any, within: bool = False) -> str:
        """An argument as code; `within` an operation in parentheses where it needs them."""
        if isinstance(value, Input):
            if value.number in self.inlined:
                expression = self.inlined[value.number]
                return f"({expression.text})" if within and expression.is_operation else expression.on_one_line()
            return self.names[value.number]
        if isinstance(value, Code):
            return value.text
        if isinstance(value, Saved):
            return self.array(value.path, to_host(self.graph.saved[value.path]))
        if isinstance(value, Constant):
            if value.array.ndim == 0 and value.array.dtype.kind in "fiu" and math.isfinite(value.array):
                return repr(value.array.item())
            return self.array(self.name_of(value.array), value.array)
        if isinstance(value, Repeated):
            return f"np.broadcast_to({self.text(Constant(value.array))}, {self.text(value.sizes)})"
        if isinstance(value, Batch):
            self.needs_batch = True
            return "batch" if value.times == 1 else f"{value.times} * batch"
        if isinstance(value, tuple):
            items = [self.text(one) for one in value]
            return f"({', '.join(items)}{',' * (len(items) == 1)})"
        if isinstance(value, float) and not math.isfinite(value):
            return {math.inf: "np.inf", -math.inf: "-np.inf"}.get(value, "np.nan")
        return quoted(value) if isinstance(value, str) else repr(value)

    def array(self, name: str, array: np.ndarray) -> str:
        """An array that the file of weights is to have under a name."""
        name = printed(name)  # a file .npz takes no other
        self.arrays[name] = array
        return f"w[{quoted(name)}]"

    def name_of(self, constant: np.ndarray) -> str:
        """Of an array of numbers that belong to no layer: one that no layer's has; equal ones have the same."""
        content = (str(constant.dtype), constant.shape, constant.tobytes())
        if content not in self.constants:
            names = (f"constant {count}" for count in itertools.count())
            taken = {*self.graph.saved, *self.constants.values()}
            self.constants[content] = next(name for name in names if name not in taken)
        return self.constants[content]

    def sizes_of(self, value: Any) -> tuple[Any, ...]:
        if isinstance(value, Input):
            return (Batch(1), *self.graph.images.shape[1:]) if value.number < 0 else self.steps[value.number].sizes
        if isinstance(value, Repeated):
            return value.sizes
        found: Shape = self.graph.saved[value.path].shape if isinstance(value, Saved) else value.array.shape
        return found

    def call(self, name: str, *values: Any, **options: Any) -> Expression:
        """A call with these arguments; those by name that are not None."""
        named = [f"{key}={self.text(value)}" for key, value in options.items() if value is not None]
        return Expression(name, (*(self.text(value) for value in values), *named))

    def method(self, value: Any, name: str, *values: Any, **options: Any) -> Expression:
        """A call of a method of an array."""
        return self.call(f"{self.text(value, within=True)}.{name}", *values, **options)


Write: TypeAlias = Callable[[GraphNode, _Writer], Expression]


def _simple_steps(nodes: list[GraphNode], sizes_of: Callable[[Any], tuple[Any, ...]]) -> list[GraphNode]:
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


def _plainly(**defaults: Any) -> Write:
    """A function of `numpy_file` that takes the arguments of ours; those that are as `defaults` has them are left out."""

    def write(node: GraphNode, writer: _Writer) -> Expression:
        values = [value for name, value in node.arguments.items() if name not in defaults]
        options = {name: node.arguments[name] for name, default in defaults.items() if node.arguments[name] != default}
        return writer.call(node.function, *values, **options)

    return write


def _window(window: Window, **more: Any) -> Arguments:
    """Where windows lie, in the shortest words; what is usual is left out."""
    (top, bottom), (left, right) = window.padding
    padding = top if top == bottom == left == right else window.padding
    return {
        "stride": None if window.stride == (1, 1) else _pair(window.stride),
        "padding": None if padding == 0 else padding,
        "dilation": None if window.dilation == (1, 1) else _pair(window.dilation),
        **more,
    }


def _pair(sizes: tuple[int, int]) -> Any:
    return sizes[0] if sizes[0] == sizes[1] else tuple(sizes)


def _conv2d(node: GraphNode, writer: _Writer) -> Expression:
    given = node.arguments
    kernel = writer.sizes_of(given["weight"])[2:]
    window = Window.of(kernel, given["stride"], given["padding"], given["dilation"])
    operands = [given["x"], given["weight"], *([] if given["bias"] is None else [given["bias"]])]
    return writer.call("conv2d", *operands, **_window(window), groups=_unless(given["groups"], 1))


def _conv_transpose2d(node: GraphNode, writer: _Writer) -> Expression:
    """With what the output is padded by at the end taken off what is cut off there."""
    given = node.arguments
    kernel = writer.sizes_of(given["weight"])[2:]
    window = Window.of(kernel, given["stride"], given["padding"], given["dilation"])
    extra = as_pair(given["output_padding"], "output_padding", 0)
    (top, bottom), (left, right) = window.padding
    window = window._replace(padding=((top, bottom - extra[0]), (left, right - extra[1])))
    operands = [given["x"], given["weight"], *([] if given["bias"] is None else [given["bias"]])]
    return writer.call("conv_transpose2d", *operands, **_window(window), groups=_unless(given["groups"], 1))


def _unless(value: Any, usual: Any) -> Any:
    return None if value == usual else value


def _reaching(window: Window, image: Any) -> Window:
    """A window in ceil mode as one that is padded so far, and without what no window reaches."""
    output = window.output_size(image)
    sides = []
    for axis in (0, 1):
        before, _ = window.padding[axis]
        needed = (output[axis] - 1) * window.stride[axis] + window.extent[axis] - before - image[axis]
        sides.append((before, max(needed, window.padding[axis][1] if not window.ceil_mode else 0)))
    return window._replace(padding=(sides[0], sides[1]), ceil_mode=False)


def _max_pool2d(node: GraphNode, writer: _Writer) -> Expression:
    given = node.arguments
    image = writer.sizes_of(given["x"])[2:]
    window = _reaching(_pooling(node), image)
    options = {**_window(window), "stride": None}
    return writer.call("max_pool2d", given["x"], _pair(window.kernel), _pair(window.stride), **options)


def _pooling(node: GraphNode) -> Window:
    given = node.arguments
    return pooling_window(
        node.function,
        given["kernel_size"],
        given["stride"],
        given["padding"],
        given.get("dilation", 1),
        given["ceil_mode"],
    )


def _avg_pool2d(node: GraphNode, writer: _Writer) -> Expression:
    given = node.arguments
    sizes = writer.sizes_of(given["x"])
    window = _pooling(node)
    task = Pooling((1, 1, *sizes[2:]), window)._replace(count_include_pad=given["count_include_pad"])
    count: Any = given["divisor_override"]
    if count is None:
        found = np.broadcast_to(counts(task, np, writer.graph.images.dtype), task.output_shape)
        count = None if (found == math.prod(window.kernel)).all() else Constant(found[0, 0].copy())
    reaching = _reaching(window, sizes[2:])
    options = {**_window(reaching, count=count), "stride": None}
    return writer.call("avg_pool2d", given["x"], _pair(window.kernel), _pair(window.stride), **options)


def _adaptive(node: GraphNode, writer: _Writer) -> Expression:
    x = node.arguments["x"]
    old, new = writer.sizes_of(x)[2:], node.sizes[2:]
    if new == (1, 1):
        return writer.method(x, "mean" if "avg" in node.function else "max", (2, 3), keepdims=True)
    if all(before % after == 0 for before, after in zip(old, new, strict=True)):
        size = tuple(before // after for before, after in zip(old, new, strict=True))
        return writer.call(node.function.removeprefix("adaptive_"), x, _pair(size), _pair(size))
    return writer.call(node.function, x, new)


def _batch_norm(node: GraphNode, writer: _Writer) -> Expression:
    """By the layer's path, where the arrays are those of one layer under their usual names; else with all of them."""
    given = node.arguments
    parts = {name: given[name] for name in ("running_mean", "running_var", "weight", "bias")}
    if given["training"]:  # with the statistics of the images at hand
        x, ndim = writer.text(given["x"], within=True), len(node.sizes)
        axes = (0, *range(2, ndim)) if ndim > 2 else 0
        parts |= {"running_mean": Code(f"{x}.mean({axes})"), "running_var": Code(f"{x}.var({axes})")}
    path = parts["running_mean"].path.removesuffix(".running_mean") if isinstance(parts["running_mean"], Saved) else ""
    eps = _unless(given["eps"], 1e-5)
    if parts != {name: part and Saved(f"{path}.{name}") for name, part in parts.items()}:
        parts |= {
            name: Constant(np.asarray(getattr(part, "array", part), node.output.dtype))
            for name, part in parts.items()
            if isinstance(part, Constant | tuple)
        }
        return writer.call("normalized", given["x"], *parts.values(), eps=eps)
    for part in parts.values():
        writer.text(part)
    return writer.call("batch_norm", given["x"], Code("w"), printed(path), eps=eps)


def _layer_norm(node: GraphNode, writer: _Writer) -> Expression:
    given = node.arguments
    shape = given["normalized_shape"]
    axes = len(shape) if isinstance(shape, tuple) else 1
    options = {"axes": _unless(axes, 1), "eps": _unless(given["eps"], 1e-5)}
    return _affine("layer_norm", [given["x"]], node, writer, options)


def _group_norm(node: GraphNode, writer: _Writer) -> Expression:
    given = node.arguments
    groups = given["num_groups"] if node.function == "group_norm" else writer.sizes_of(given["x"])[1]
    return _affine("group_norm", [given["x"], groups], node, writer, {"eps": _unless(given["eps"], 1e-5)})


def _affine(name: str, operands: list[Any], node: GraphNode, writer: _Writer, options: Arguments) -> Expression:
    weight, bias = node.arguments["weight"], node.arguments["bias"]
    if weight is not None:
        return writer.call(name, *operands, weight, *([] if bias is None else [bias]), **options)
    return writer.call(name, *operands, bias=bias, **options)


def _linear(node: GraphNode, writer: _Writer) -> Expression:
    values = [value for value in node.arguments.values() if value is not None]
    return writer.call("linear", *values)


def _operator(sign: str) -> Write:
    def write(node: GraphNode, writer: _Writer) -> Expression:
        a, b = (writer.text(value, within=True) for value in _of_one_dtype(node))
        return Expression(f"{a} {sign} {b}", is_operation=True)

    return write


def _of_one_dtype(node: GraphNode) -> list[Any]:
    """The arguments, of which arrays of numbers that are no tensors are of the output's dtype, as gpucnn makes them."""

    def converted(value: Any) -> Any:
        if isinstance(value, Constant | Repeated) and value.array.dtype.kind in "fiu":
            return replace(value, array=value.array.astype(node.output.dtype))
        return value

    return [converted(value) for value in node.arguments.values()]


def _negative(node: GraphNode, writer: _Writer) -> Expression:
    return Expression(f"-{writer.text(node.arguments['x'], within=True)}", is_operation=True)


def _of_numpy(node: GraphNode, writer: _Writer) -> Expression:
    """A function of NumPy that takes the same arguments."""
    return writer.call(f"np.{node.function}", *_of_one_dtype(node))


def _softmax(node: GraphNode, writer: _Writer) -> Expression:
    x = node.arguments["x"]
    axes = as_axes(node.function, len(writer.sizes_of(x)), node.arguments["axis"])
    return writer.call(node.function, x, axis=_unless(axes[0] if len(axes) == 1 else axes, 1))


def _reduction(node: GraphNode, writer: _Writer) -> Expression:
    given = node.arguments
    axes = as_axes(node.function, len(writer.sizes_of(given["x"])), given["axis"])
    axis = axes[0] if len(axes) == 1 else axes
    correction = given.get("correction", 0)
    return writer.method(
        given["x"], node.function, axis, keepdims=given["keepdims"] or None, ddof=_unless(correction, 0)
    )


def _position(node: GraphNode, writer: _Writer) -> Expression:
    given = node.arguments
    return writer.method(given["x"], node.function, given["axis"], keepdims=given["keepdims"] or None)


def _reshape(node: GraphNode, writer: _Writer) -> Expression:
    """To the sizes, of which the one that depends on the batch is what is left."""
    moving = [place for place, size in enumerate(node.sizes) if isinstance(size, Batch)]
    if len(moving) > 1 and Batch(None) in node.sizes:
        raise _refused(
            node, "makes no shape of which two sizes depend on the number of images", "let one of them be -1"
        )
    sizes = [-1 if [place] == moving else size for place, size in enumerate(node.sizes)]
    x = node.arguments["x"]
    if len(moving) <= 1 and tuple(node.sizes) == tuple(writer.sizes_of(x)):
        return Expression(writer.text(x))
    return writer.method(x, "reshape", *sizes)


def _transpose(node: GraphNode, writer: _Writer) -> Expression:
    x, axes = node.arguments["x"], node.arguments["axes"]
    ndim = len(writer.sizes_of(x))
    return writer.method(x, "transpose", *(range(ndim - 1, -1, -1) if axes is None else (axis % ndim for axis in axes)))


def _concatenate(node: GraphNode, writer: _Writer) -> Expression:
    tensors = f"[{', '.join(writer.text(one) for one in node.arguments['tensors'])}]"
    return Expression(f"np.{node.function}", (tensors, f"axis={node.arguments['axis']}"))


def _getitem(node: GraphNode, writer: _Writer) -> Expression:
    index = node.arguments["index"]
    parts = index if isinstance(index, tuple) else (index,)
    return Expression(
        f"{writer.text(node.arguments['x'], within=True)}[{', '.join(_index_text(part, writer) for part in parts)}]"
    )


def _index_text(part: Any, writer: _Writer) -> str:
    if part is ...:
        return "..."
    if isinstance(part, slice):
        start, stop, step = ("" if one is None else writer.text(one) for one in (part.start, part.stop, part.step))
        return f"{start}:{stop}" + (f":{step}" if step else "")
    return writer.text(part)


def _pad(node: GraphNode, writer: _Writer) -> Expression:
    given = node.arguments
    pairs, mode = given["padding"], MODES[given["mode"]]
    borders = tuple((max(before, 0), max(after, 0)) for before, after in pairs)
    cuts = [slice(-before if before < 0 else None, after if after < 0 else None) for before, after in pairs]
    cut = f"[{', '.join(_index_text(one, writer) for one in cuts)}]" if any(min(pair) < 0 for pair in pairs) else ""
    is_first = given["mode"] in CROPS_FIRST
    inner = writer.text(given["x"], within=bool(cut)) + (cut if is_first else "")
    options = [] if mode == "constant" else [f'mode="{mode}"']
    if mode == "constant" and given["value"] != 0:
        options.append(f"constant_values={writer.text(given['value'])}")
    return Expression("np.pad", (inner, writer.text(borders), *options), part="" if is_first else cut)


def _interpolate(node: GraphNode, writer: _Writer) -> Expression:
    """Elements repeated, or products with matrices for rows and columns, which resizing ones and zeros gives."""
    given = node.arguments
    x = writer.text(given["x"], within=True)
    old: list[Any] = list(writer.sizes_of(given["x"])[2:])
    new: list[Any] = list(node.sizes[2:])
    times = [after // before for before, after in zip(old, new, strict=True)]
    if given["mode"] == "nearest" and new == [size * many for size, many in zip(old, times, strict=True)]:
        return Expression(x + "".join(f".repeat({many}, {axis})" for axis, many in enumerate(times, 2) if many > 1))
    matrices = [_resizing_matrix(given, place, old[place], new[place], len(old)) for place in range(len(old))]
    columns = f"{x} @ {writer.text(Constant(matrices[-1].astype(node.output.dtype)))}"
    if len(matrices) == 1:
        return Expression(columns, is_operation=True)
    rows = Constant(np.ascontiguousarray(matrices[0].T, node.output.dtype))
    return Expression(f"{writer.text(rows)} @ {columns}", is_operation=True)


def _resizing_matrix(given: Arguments, place: int, before: int, after: int, axes: int) -> np.ndarray:
    """What each element along an axis gives to each new one, (before, after)."""
    ones = np.eye(before).reshape(before, 1, *(before if axis == place else 1 for axis in range(axes)))
    options = {name: value for name, value in given.items() if name not in ("x", "size", "scale_factor")}
    factors = given["scale_factor"]
    if factors is None:
        options["size"] = [after if axis == place else 1 for axis in range(axes)]
    else:
        factor = factors[place] if isinstance(factors, tuple) else factors
        options["scale_factor"] = [factor if axis == place else 1 for axis in range(axes)]
    found: np.ndarray = to_host(F.interpolate(Tensor(ones), **options).array)
    return found.reshape(before, after)


def _as_it_is(node: GraphNode, writer: _Writer) -> Expression:
    return Expression(writer.text(node.arguments["x"]))


def _astype(node: GraphNode, writer: _Writer) -> Expression:
    return writer.method(node.arguments["x"], "astype", str(node.arguments["dtype"]))


WRITERS: dict[str, Write] = {
    "conv2d": _conv2d,
    "conv_transpose2d": _conv_transpose2d,
    "linear": _linear,
    "max_pool2d": _max_pool2d,
    "avg_pool2d": _avg_pool2d,
    **dict.fromkeys(("adaptive_avg_pool2d", "adaptive_max_pool2d"), _adaptive),
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    **dict.fromkeys(("group_norm", "instance_norm"), _group_norm),
    "local_response_norm": _plainly(alpha=1e-4, beta=0.75, k=1.0),
    **dict.fromkeys(
        ("relu", "relu6", "hardsigmoid", "hardswish", "sigmoid", "silu", "mish", "selu", "prelu"), _plainly()
    ),
    "leaky_relu": _plainly(negative_slope=0.01),
    "softplus": _plainly(beta=1.0, threshold=20.0),
    "elu": _plainly(alpha=1.0),
    "gelu": _plainly(approximate="none"),
    **dict.fromkeys(("softmax", "log_softmax"), _softmax),
    "add": _operator("+"),
    "subtract": _operator("-"),
    "multiply": _operator("*"),
    "divide": _operator("/"),
    "power": _operator("**"),
    "matmul": _operator("@"),
    "negative": _negative,
    **dict.fromkeys(("abs", "exp", "log", "maximum", "minimum", "sqrt", "tanh", "where", "clip"), _of_numpy),
    **dict.fromkeys(("sum", "mean", "max", "min", "var"), _reduction),
    **dict.fromkeys(("argmax", "argmin"), _position),
    **dict.fromkeys(("reshape", "flatten", "squeeze", "expand_dims"), _reshape),
    "transpose": _transpose,
    **dict.fromkeys(("concatenate", "stack"), _concatenate),
    "getitem": _getitem,
    "interpolate": _interpolate,
    "pad": _pad,
    "astype": _astype,
    **dict.fromkeys(("clone", "dropout", "dropout2d", "stochastic_depth"), _as_it_is),
}
"""How a call of each function of `gpucnn.functions` is written."""

WRAPPING = frozenset(
    ("relu", "relu6", "hardsigmoid", "hardswish", "sigmoid", "silu", "mish", "selu", "leaky_relu", "elu", "gelu", "add")
)
"""Functions that are written around what the step before computes, where both fit a line."""


def _refused(node: GraphNode, what: str, fix: str) -> GraphError:
    return GraphError(f"{node.path or 'the model'}: a predictor of NumPy alone {what}; {fix}")
