"""Calls of gpucnn's functions as code that calls those of `numpy_file`, or NumPy's."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.backend import to_host
from gpucnn.checks import as_pair
from gpucnn.errors import GraphError
from gpucnn.export.numpy_code import Code, CodeWriter, Expression
from gpucnn.export.numpy_steps import Arguments
from gpucnn.functions.broadcasting import as_axes
from gpucnn.functions.padding import CROPS_FIRST, MODES
from gpucnn.functions.pooling import pooling_window
from gpucnn.geometry import Window
from gpucnn.kernels.pooling.plain import Pooling, counts
from gpucnn.layers.graph import Batch, Constant, GraphNode, Repeated, Saved
from gpucnn.text import printed

Write: TypeAlias = Callable[[GraphNode, CodeWriter], Expression]


def _plainly(**defaults: Any) -> Write:
    """A function of `numpy_file` that takes the arguments of ours; those that are as `defaults` has them are left out."""

    def write(node: GraphNode, writer: CodeWriter) -> Expression:
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


def _conv2d(node: GraphNode, writer: CodeWriter) -> Expression:
    given = node.arguments
    kernel = writer.sizes_of(given["weight"])[2:]
    window = Window.of(kernel, given["stride"], given["padding"], given["dilation"])
    operands = [given["x"], given["weight"], *([] if given["bias"] is None else [given["bias"]])]
    return writer.call("conv2d", *operands, **_window(window), groups=_unless(given["groups"], 1))


def _conv_transpose2d(node: GraphNode, writer: CodeWriter) -> Expression:
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


def _max_pool2d(node: GraphNode, writer: CodeWriter) -> Expression:
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


def _avg_pool2d(node: GraphNode, writer: CodeWriter) -> Expression:
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


def _adaptive(node: GraphNode, writer: CodeWriter) -> Expression:
    x = node.arguments["x"]
    old, new = writer.sizes_of(x)[2:], node.sizes[2:]
    if new == (1, 1):
        return writer.method(x, "mean" if "avg" in node.function else "max", (2, 3), keepdims=True)
    if all(before % after == 0 for before, after in zip(old, new, strict=True)):
        size = tuple(before // after for before, after in zip(old, new, strict=True))
        return writer.call(node.function.removeprefix("adaptive_"), x, _pair(size), _pair(size))
    return writer.call(node.function, x, new)


def _batch_norm(node: GraphNode, writer: CodeWriter) -> Expression:
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


def _layer_norm(node: GraphNode, writer: CodeWriter) -> Expression:
    given = node.arguments
    shape = given["normalized_shape"]
    axes = len(shape) if isinstance(shape, tuple) else 1
    options = {"axes": _unless(axes, 1), "eps": _unless(given["eps"], 1e-5)}
    return _affine("layer_norm", [given["x"]], node, writer, options)


def _group_norm(node: GraphNode, writer: CodeWriter) -> Expression:
    given = node.arguments
    groups = given["num_groups"] if node.function == "group_norm" else writer.sizes_of(given["x"])[1]
    return _affine("group_norm", [given["x"], groups], node, writer, {"eps": _unless(given["eps"], 1e-5)})


def _affine(name: str, operands: list[Any], node: GraphNode, writer: CodeWriter, options: Arguments) -> Expression:
    weight, bias = node.arguments["weight"], node.arguments["bias"]
    if weight is not None:
        return writer.call(name, *operands, weight, *([] if bias is None else [bias]), **options)
    return writer.call(name, *operands, bias=bias, **options)


def _linear(node: GraphNode, writer: CodeWriter) -> Expression:
    values = [value for value in node.arguments.values() if value is not None]
    return writer.call("linear", *values)


def _operator(sign: str) -> Write:
    def write(node: GraphNode, writer: CodeWriter) -> Expression:
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


def _negative(node: GraphNode, writer: CodeWriter) -> Expression:
    return Expression(f"-{writer.text(node.arguments['x'], within=True)}", is_operation=True)


def _of_numpy(node: GraphNode, writer: CodeWriter) -> Expression:
    """A function of NumPy that takes the same arguments."""
    return writer.call(f"np.{node.function}", *_of_one_dtype(node))


def _softmax(node: GraphNode, writer: CodeWriter) -> Expression:
    x = node.arguments["x"]
    axes = as_axes(node.function, len(writer.sizes_of(x)), node.arguments["axis"])
    return writer.call(node.function, x, axis=_unless(axes[0] if len(axes) == 1 else axes, 1))


def _reduction(node: GraphNode, writer: CodeWriter) -> Expression:
    given = node.arguments
    axes = as_axes(node.function, len(writer.sizes_of(given["x"])), given["axis"])
    axis = axes[0] if len(axes) == 1 else axes
    correction = given.get("correction", 0)
    return writer.method(
        given["x"], node.function, axis, keepdims=given["keepdims"] or None, ddof=_unless(correction, 0)
    )


def _position(node: GraphNode, writer: CodeWriter) -> Expression:
    given = node.arguments
    return writer.method(given["x"], node.function, given["axis"], keepdims=given["keepdims"] or None)


def _reshape(node: GraphNode, writer: CodeWriter) -> Expression:
    """To the sizes, of which the one that depends on the batch is what is left."""
    moving = [place for place, size in enumerate(node.sizes) if isinstance(size, Batch)]
    if len(moving) > 1 and Batch(None) in node.sizes:
        raise refused(node, "makes no shape of which two sizes depend on the number of images", "let one of them be -1")
    sizes = [-1 if [place] == moving else size for place, size in enumerate(node.sizes)]
    x = node.arguments["x"]
    if len(moving) <= 1 and tuple(node.sizes) == tuple(writer.sizes_of(x)):
        return Expression(writer.text(x))
    return writer.method(x, "reshape", *sizes)


def _transpose(node: GraphNode, writer: CodeWriter) -> Expression:
    x, axes = node.arguments["x"], node.arguments["axes"]
    ndim = len(writer.sizes_of(x))
    return writer.method(x, "transpose", *(range(ndim - 1, -1, -1) if axes is None else (axis % ndim for axis in axes)))


def _concatenate(node: GraphNode, writer: CodeWriter) -> Expression:
    tensors = f"[{', '.join(writer.text(one) for one in node.arguments['tensors'])}]"
    return Expression(f"np.{node.function}", (tensors, f"axis={node.arguments['axis']}"))


def _getitem(node: GraphNode, writer: CodeWriter) -> Expression:
    index = node.arguments["index"]
    parts = index if isinstance(index, tuple) else (index,)
    return Expression(
        f"{writer.text(node.arguments['x'], within=True)}[{', '.join(_index_text(part, writer) for part in parts)}]"
    )


def _index_text(part: Any, writer: CodeWriter) -> str:
    if part is ...:
        return "..."
    if isinstance(part, slice):
        start, stop, step = ("" if one is None else writer.text(one) for one in (part.start, part.stop, part.step))
        return f"{start}:{stop}" + (f":{step}" if step else "")
    return writer.text(part)


def _pad(node: GraphNode, writer: CodeWriter) -> Expression:
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


def _interpolate(node: GraphNode, writer: CodeWriter) -> Expression:
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


def _as_it_is(node: GraphNode, writer: CodeWriter) -> Expression:
    return Expression(writer.text(node.arguments["x"]))


def _astype(node: GraphNode, writer: CodeWriter) -> Expression:
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


def refused(node: GraphNode, what: str, fix: str) -> GraphError:
    """That a call cannot be written."""
    return GraphError(f"{node.path or 'the model'}: a predictor of NumPy alone {what}; {fix}")
