"""The receptive field of a layer: which part of the image each of its units sees.

It is found from the calls of functions that a forward pass makes, so that paths side by side, as in a ResNet, count as well.
Of every array on the way it is known which of its axes are rows and columns of a map, and which rows and columns of the image
each of these sees. Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import Operand, Tensor, enable_grad, no_grad
from gpucnn.autograd.calls import FunctionCall, noting_calls
from gpucnn.checks import Shape, as_items
from gpucnn.errors import ArgumentError, GraphError
from gpucnn.explain.given import as_image, as_layer, as_model
from gpucnn.explain.layer_calls import maps_of, noting_layers
from gpucnn.functions.pooling import pooling_window
from gpucnn.geometry import Window
from gpucnn.layers import Layer, Parameter
from gpucnn.layers.forward_state import evaluating

ROWS, COLUMNS, OTHER = "rows", "columns", "other"

Axes: TypeAlias = tuple[tuple[tuple[str, int], ...], ...]
"""What each axis of an array is: parts, each of a kind and a size; several where axes were joined, none for a size of 1."""


class Box(NamedTuple):
    """A part of an image: rows from `top` to below `bottom`, columns from `left` to below `right`."""

    top: int
    left: int
    bottom: int
    right: int

    def of(self, image: Any) -> Any:
        """That part of an image (..., H, W), an array or tensor."""
        return image[..., self.top : self.bottom, self.left : self.right]


class _Reach(NamedTuple):
    """What the elements of an array see of the image."""

    axes: Axes
    rows: np.ndarray
    """int64 (2, h): for each row, from which to below which one of the image. Of an array without rows, (2, 1)."""
    columns: np.ndarray

    @property
    def is_images(self) -> bool:
        """Whether the axes are (N, C, rows, columns)."""
        kinds = [{kind for kind, _ in axis} for axis in self.axes]
        return len(kinds) == 4 and all(
            kind <= allowed for kind, allowed in zip(kinds, ({OTHER}, {OTHER}, {ROWS}, {COLUMNS}), strict=True)
        )


class _Given(NamedTuple):
    """An argument that depends on the image."""

    name: str
    shape: Shape
    reach: _Reach


def receptive_field(model: Layer, image: Operand, layer: str | Layer) -> np.ndarray:
    """What each unit of a layer sees of an image: int64 (h, w, 4), its box (top, left, bottom, right), the ends left out.

    It is the smallest box with all pixels that the unit depends on, without what lies outside of the image. Where a function
    moves rows or columns about in another way than windows do, it is all that the function sees.

    - `image`: (C, H, W) or (1, C, H, W); its size counts alone. `layer`: a path or a layer of the model, which gives maps. Of
      one that is called several times the last call counts.

    Raises ArgumentError for a layer that gives no maps, ShapeError for what is not one image, GraphError where the model
    computes with other than the functions of `gpucnn.functions`. The model is left as it was.
    """
    owner = "receptive_field"
    model = as_model(owner, model)
    chosen = as_layer(owner, model, layer)
    x = as_image(owner, model, image)
    x.requires_grad = True  # what depends on the image can be told by that
    with enable_grad(), evaluating(model), noting_layers([chosen]) as layer_calls, noting_calls() as calls:
        model(x)
    output = maps_of(owner, chosen, layer_calls)
    reaches: dict[int, _Reach | None] = {id(x.array): _images(x.shape)}
    for call in calls:
        if id(output.array) in reaches:  # whatever comes after it
            break
        inputs = _inputs(call, reaches)
        for one in call.output if isinstance(call.output, list | tuple) else (call.output,):
            if isinstance(one, Tensor):
                reaches[id(one.array)] = _output(call, inputs, one.shape)
    if id(output.array) not in reaches:
        raise GraphError(
            f"{owner}: {chosen.label} computes with other than the functions of gpucnn.functions; write it with those"
        )
    reach = reaches[id(output.array)]
    if reach is None:
        raise ArgumentError(f"{owner}: what {chosen.label} gives does not depend on the image")
    height, width = output.shape[2:]
    boxes = np.empty((height, width, 4), np.int64)
    boxes[..., 0::2] = (reach.rows if reach.is_images else _whole(reach.rows)).T[:, None]
    boxes[..., 1::2] = (reach.columns if reach.is_images else _whole(reach.columns)).T[None]
    return boxes


def _inputs(call: FunctionCall, reaches: dict[int, _Reach | None]) -> list[_Given]:
    """The tensors among the arguments that depend on the image."""
    found = []
    for name, value in call.arguments.items():
        for tensor in value if isinstance(value, list | tuple) else (value,):
            if not isinstance(tensor, Tensor):
                continue
            reach = reaches.get(id(tensor.array))
            if reach is not None:
                found.append(_Given(name, tensor.shape, reach))
            elif id(tensor.array) not in reaches and tensor.node is not None and not isinstance(tensor, Parameter):
                raise GraphError(
                    f"{call.owner or 'the model'}: {call.name} is given what was computed with other than the functions of "
                    f"gpucnn.functions, and nobody knows what that sees; write it with those"
                )
    return found


def _output(call: FunctionCall, inputs: list[_Given], shape: Shape) -> _Reach | None:
    """What an output of the call sees; None where no input depends on the image."""
    if not inputs:
        return None
    found = RULES[call.name](call, inputs, shape) if call.name in RULES else None
    return found or _everything(inputs, shape)


def _images(shape: Shape) -> _Reach:
    """Images, whose rows and columns see themselves."""
    own = (np.array([np.arange(size), np.arange(1, size + 1)]) for size in shape[2:])
    return _Reach(_image_axes(shape), *own)


def _image_axes(shape: Shape) -> Axes:
    return tuple(
        ((kind, size),) if size > 1 else () for kind, size in zip((OTHER, OTHER, ROWS, COLUMNS), shape, strict=True)
    )


def _whole(seen: np.ndarray) -> np.ndarray:
    """All that is seen together: (2, 1)."""
    return np.array([[seen[0].min()], [seen[1].max()]])


def _everything(inputs: Sequence[_Given], shape: Shape) -> _Reach:
    """Every element sees what any of the inputs does."""
    rows, columns = (
        np.concatenate([getattr(one.reach, name) for one in inputs], axis=1) for name in ("rows", "columns")
    )
    return _Reach(tuple(((OTHER, size),) if size > 1 else () for size in shape), _whole(rows), _whole(columns))


def _nothing(count: int) -> np.ndarray:
    """(2, count) of what sees nothing yet: whatever it is joined with counts."""
    return np.array([[np.iinfo(np.int64).max] * count, [0] * count], np.int64)


def _add(seen: np.ndarray, places: Any, others: np.ndarray) -> None:
    """From now on `seen[:, places]` see what the others see, too."""
    seen[0, places] = np.minimum(seen[0, places], others[0])
    seen[1, places] = np.maximum(seen[1, places], others[1])


def _together(several: Sequence[np.ndarray]) -> np.ndarray:
    """What is seen in each place by all of them, those of one place everywhere."""
    seen = _nothing(max(one.shape[1] for one in several))
    for one in several:
        _add(seen, slice(None), one)
    return seen


Rule: TypeAlias = Callable[[FunctionCall, list[_Given], Shape], _Reach | None]
"""What the output of a call sees, of this shape; None where nothing more is known than what the inputs see together."""


def _pointwise(call: FunctionCall, inputs: list[_Given], shape: Shape) -> _Reach | None:
    """An element sees what those in its place see, of all inputs, which may be broadcast."""
    axes = next((one.reach.axes for one in inputs if one.shape == shape), None)
    if axes is None:
        return None
    for one in inputs:
        if any(own not in ((), there) for own, there in zip(reversed(one.reach.axes), reversed(axes), strict=False)):
            return None
    return _Reach(axes, _together([one.reach.rows for one in inputs]), _together([one.reach.columns for one in inputs]))


def _batch_norm(call: FunctionCall, inputs: list[_Given], shape: Shape) -> _Reach | None:
    """Pointwise with running statistics; those of the images see everything."""
    return (
        None
        if call.arguments["training"] or call.arguments["running_mean"] is None
        else _pointwise(call, inputs, shape)
    )


def _convolution(call: FunctionCall, inputs: list[_Given], shape: Shape) -> _Reach | None:
    given = call.arguments
    kernel = given["weight"].shape[2:]
    return _windows(inputs, shape, Window.of(kernel, given["stride"], given["padding"], given["dilation"]))


def _pooling(call: FunctionCall, inputs: list[_Given], shape: Shape) -> _Reach | None:
    given = call.arguments
    options = given["padding"], given.get("dilation", 1), given["ceil_mode"]
    return _windows(inputs, shape, pooling_window(call.name, given["kernel_size"], given["stride"], *options))


def _windows(inputs: list[_Given], shape: Shape, window: Window) -> _Reach | None:
    """A window sees what the pixels under its taps see."""
    (_, before, reach), *others = inputs
    if others or not reach.is_images:
        return None
    rows, columns = _nothing(shape[2]), _nothing(shape[3])
    for tap in window.taps((before[2], before[3]), (shape[2], shape[3])):
        _add(rows, tap.outputs[0], reach.rows[:, tap.inputs[0]])
        _add(columns, tap.outputs[1], reach.columns[:, tap.inputs[1]])
    return _Reach(_image_axes(shape), rows, columns)


def _transposed(call: FunctionCall, inputs: list[_Given], shape: Shape) -> _Reach | None:
    """The other way round: a pixel is put to where a window's taps are."""
    (_, before, reach), *others = inputs
    given = call.arguments
    if others or not reach.is_images:
        return None
    window = Window.of(given["weight"].shape[2:], given["stride"], given["padding"], given["dilation"])
    rows, columns = _nothing(shape[2]), _nothing(shape[3])
    for tap in window.taps((shape[2], shape[3]), (before[2], before[3])):
        _add(rows, tap.inputs[0], reach.rows[:, tap.outputs[0]])
        _add(columns, tap.inputs[1], reach.columns[:, tap.outputs[1]])
    return _Reach(_image_axes(shape), rows, columns)


def _tried(call: FunctionCall, inputs: list[_Given], shape: Shape) -> _Reach | None:
    """What changes where a row, or a column, of zeros becomes ones: of functions that treat rows alike, and columns."""
    (name, before, reach), *others = inputs
    if others or not reach.is_images or len(shape) != 4:
        return None
    found = []
    for axis, seen in ((2, reach.rows), (3, reach.columns)):
        result = _nothing(shape[axis])
        # One channel will do, where none are chosen.
        image = np.zeros((1, before[1] if call.name == "getitem" else 1, *before[2:]), np.float32)
        zeros = _again(call, name, image)
        for place in range(before[axis]):
            image[...] = 0
            image[(slice(None),) * axis + (place,)] = 1
            changed = (_again(call, name, image) != zeros).any(axis=tuple({0, 1, 2, 3} - {axis}))
            _add(result, changed, seen[:, place : place + 1])
        found.append(result)
    return _Reach(_image_axes(shape), *found)


def _again(call: FunctionCall, name: str, image: np.ndarray) -> np.ndarray:
    with no_grad():
        result = getattr(F, call.name)(**{**call.arguments, name: Tensor(image.copy())})
    array: np.ndarray = (result[0] if isinstance(result, tuple) else result).array
    return array


def _joined(call: FunctionCall, inputs: list[_Given], shape: Shape) -> _Reach | None:
    """Side by side along an axis that is neither rows nor columns: each place sees what those in it see."""
    axis = call.arguments["axis"] % len(shape)
    axes = list(inputs[0].reach.axes)
    axes[axis] = ((OTHER, shape[axis]),)
    for one in inputs:
        own = one.reach.axes
        if any(kind != OTHER for kind, _ in own[axis]) or [*own[:axis], *own[axis + 1 :]] != [
            *axes[:axis],
            *axes[axis + 1 :],
        ]:
            return None
    return _Reach(
        tuple(axes), _together([one.reach.rows for one in inputs]), _together([one.reach.columns for one in inputs])
    )


def _reshaped(call: FunctionCall, inputs: list[_Given], shape: Shape) -> _Reach | None:
    """The same elements in the same order; None where rows or columns would be cut into parts."""
    reach = inputs[0].reach
    parts = [part for axis in reach.axes for part in axis]
    axes = []
    for size in shape:
        axis: list[tuple[str, int]] = []
        while size > 1:
            if not parts:
                return None
            kind, count = parts.pop(0)
            if size % count == 0:
                axis.append((kind, count))
                size //= count
            elif kind == OTHER and count % size == 0:
                axis.append((kind, size))
                parts.insert(0, (kind, count // size))
                size = 1
            else:
                return None
        axes.append(tuple(axis))
    return reach._replace(axes=tuple(axes))


def _permuted(call: FunctionCall, inputs: list[_Given], shape: Shape) -> _Reach | None:
    reach = inputs[0].reach
    order = call.arguments["axes"]
    places = range(len(shape))[::-1] if order is None else [axis % len(shape) for axis in order]
    return reach._replace(axes=tuple(reach.axes[place] for place in places))


def _mixing(axes_of: Callable[[dict[str, Any], int], Sequence[int]]) -> Rule:
    """The rule of functions that mix all along some axes, and nothing along others."""

    def rule(call: FunctionCall, inputs: list[_Given], shape: Shape) -> _Reach | None:
        (_, before, reach), *others = inputs
        if others:
            return None
        mixed = {axis % len(before) for axis in axes_of(call.arguments, len(before))}
        sizes = (
            [1 if axis in mixed else size for axis, size in enumerate(before)] if len(shape) < len(before) else shape
        )
        axes: list[tuple[tuple[str, int], ...]] = []
        seen = {ROWS: reach.rows, COLUMNS: reach.columns}
        for axis, (parts, size) in enumerate(zip(reach.axes, sizes, strict=True)):
            if axis not in mixed:
                axes.append(parts)
                continue
            kinds = [kind for kind, _ in parts]
            kind = kinds[0] if len(kinds) == 1 else OTHER
            axes.append(((kind, size),) if size > 1 else ())
            for one in {ROWS, COLUMNS} & {*kinds}:
                seen[one] = np.repeat(_whole(seen[one]), size if one == kind else 1, axis=1)
        if len(shape) < len(before):
            axes = [parts for axis, parts in enumerate(axes) if axis not in mixed]
        return _Reach(tuple(axes), seen[ROWS], seen[COLUMNS])

    return rule


def _given_axes(arguments: dict[str, Any], ndim: int) -> Sequence[int]:
    axis = arguments["axis"]
    if axis is None:
        return range(ndim)
    return axis if isinstance(axis, list | tuple) else (axis,)


RULES: dict[str, Rule] = {
    **dict.fromkeys(
        (
            "relu", "relu6", "leaky_relu", "prelu", "hardsigmoid", "hardswish", "sigmoid", "tanh", "softplus", "elu", "selu", "gelu",
            "silu", "mish", "add", "subtract", "multiply", "divide", "maximum", "minimum", "where", "clip", "negative", "abs",
            "power", "sqrt", "exp", "log", "astype", "clone", "dropout", "dropout2d", "stochastic_depth", "local_response_norm",
        ),
        _pointwise,
    ),
    "batch_norm": _batch_norm,
    "conv2d": _convolution,
    "conv_transpose2d": _transposed,
    **dict.fromkeys(("max_pool2d", "avg_pool2d"), _pooling),
    **dict.fromkeys(("adaptive_avg_pool2d", "adaptive_max_pool2d", "interpolate", "pad", "getitem"), _tried),
    "concatenate": _joined,
    **dict.fromkeys(("reshape", "flatten", "squeeze", "expand_dims"), _reshaped),
    "transpose": _permuted,
    "linear": _mixing(lambda given, ndim: (ndim - 1,)),
    "layer_norm": _mixing(lambda given, ndim: range(ndim)[-len(as_items(given["normalized_shape"]) or (0,)) :]),
    **dict.fromkeys(("softmax", "log_softmax", "sum", "mean", "var", "max", "min"), _mixing(_given_axes)),
}  # fmt: skip
"""What is known of functions by name. The others see all that is in their inputs."""
