"""Pooling over windows and over whole images, of sequences and images."""

import math
from typing import Any

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import Tensor, as_tensor, no_grad
from gpucnn.backend import Array, xp_of
from gpucnn.checks import Pair, Shape
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.operators.operator import Inputs, Operator
from gpucnn.onnx_model.operators.values import check_made, check_work, integers, needed
from gpucnn.onnx_model.operators.windows import NodeWindow, as_given, as_images, window_of
from gpucnn.text import shape_text


def max_pool(node: OnnxNode, inputs: Inputs) -> Any:
    """`F.max_pool2d`; with the second output, where in the whole array the maxima were. Bytes are pooled as floats."""
    x, were_sequences = as_images(needed(inputs, 0), "MaxPool")
    window, dtype = _window(node, x, were_sequences), x.dtype
    if dtype.kind in "iu":
        x = F.astype(x, "float64" if dtype.itemsize > 2 else "float32")
    size = (x.shape[2], x.shape[3])
    padding, padded = window.padding, x
    if not _is_usual(window):
        if len(node.outputs) > 1 and node.outputs[1]:
            raise ArgumentError("where maxima were is known for padding of at most half of kernel_shape alone")
        padded = F.pad(x, ((0, 0), (0, 0), *padding), value=-math.inf)
        padding = ((0, 0), (0, 0))
    options = (window.kernel, window.strides, padding, window.dilations, window.ceil)
    if len(node.outputs) > 1 and node.outputs[1]:
        output, places = F.max_pool2d(padded, *options, return_indices=True)
        where = Tensor(_in_whole(places.array, size, bool(node.integer("storage_order"))))
        return [_in_dtype(as_given(output, were_sequences), dtype), as_given(where, were_sequences)]
    rows, columns = window.output_size(size)
    output = F.max_pool2d(padded, *options)
    if output.shape[2:] != (rows, columns):
        output = output[:, :, :rows, :columns]
    return _in_dtype(as_given(output, were_sequences), dtype)


def _in_dtype(x: Tensor, dtype: np.dtype) -> Tensor:
    """x as floats are given, or as the bytes that it was; nothing is called where nothing is to be done."""
    return x if x.dtype == dtype else F.astype(x, dtype)


def _in_whole(places: Array, size: Pair, by_columns: bool) -> Array:
    """Indices into planes as indices into the whole array; column by column, if asked for."""
    xp = xp_of(places)
    places = places.astype(np.int64)
    if by_columns:
        places = places % size[1] * size[0] + places // size[1]
    planes = xp.arange(places.shape[0] * places.shape[1], dtype=np.int64).reshape(*places.shape[:2], 1, 1)
    return places + planes * (size[0] * size[1])


def max_unpool(node: OnnxNode, inputs: Inputs) -> Tensor:
    """Maxima where they were, in an array of zeros."""
    x, were_sequences = as_images(needed(inputs, 0), "MaxUnpool")
    places = as_tensor(needed(inputs, 1))
    if places.shape != as_tensor(needed(inputs, 0)).shape:
        raise ShapeError(f"expected indices {shape_text(x.shape)}, one a maximum, got {shape_text(places.shape)}")
    kernel = node.integers("kernel_shape") or ()
    window = window_of(node, kernel, (1, 1), 2 - were_sequences)
    # The indices are those into the smallest array that the maxima can be from; a larger one goes on with zeros.
    smallest = [
        (x.shape[2 + axis] - 1) * window.strides[axis] + window.kernel[axis] - sum(window.padding[axis])
        for axis in (0, 1)
    ]
    shape = integers(node, inputs, 2, "output_shape") or (*x.shape[:2], *smallest[were_sequences:])
    more = [size - least for size, least in zip(shape[2:], smallest[were_sequences:], strict=False)]
    if shape[:2] != x.shape[:2] or len(shape) != 4 - were_sequences or min(smallest) < 1 or min(more) < 0:
        least = shape_text((*x.shape[:2], *smallest[were_sequences:]))
        raise ShapeError(f"expected output_shape of at least {least}, got {shape_text(shape)}")
    check_made((*x.shape[:2], *smallest))
    check_made(shape)
    planes = xp_of(places.array).arange(x.shape[0] * x.shape[1]).reshape(*x.shape[:2], 1, 1)
    own = places.array.reshape(x.shape) - planes * (smallest[0] * smallest[1])
    output = F.max_unpool2d(x, Tensor(own), window.kernel, window.strides, 0, smallest)
    return F.pad(as_given(output, were_sequences), ((0, 0), (0, 0), *((0, size) for size in more)))


def average_pool(node: OnnxNode, inputs: Inputs) -> Tensor:
    """`F.avg_pool2d`; with gaps between the window's elements, sums of a convolution with ones."""
    x, were_sequences = as_images(needed(inputs, 0), "AveragePool")
    window = _window(node, x, were_sequences)
    counts_padding = bool(node.integer("count_include_pad"))
    if _is_usual(window) and window.dilations == (1, 1):
        output = F.avg_pool2d(x, window.kernel, window.strides, window.padding, window.ceil, counts_padding)
        return as_given(output, were_sequences)
    total = _sums(x, window)
    with no_grad():
        inside = np.ones((1, 1, *x.shape[2:]), x.dtype)
        count = _sums(Tensor(inside), window._replace(padding=window.padding))
        if counts_padding:
            padded = np.pad(inside, ((0, 0), (0, 0), *window.padding), constant_values=1)
            own = window._replace(padding=((0, 0), (0, 0)))
            count = _sums(Tensor(padded), own, total.shape[2:])
    return as_given(F.divide(total, np.maximum(count.array, 1)), were_sequences)


def lp_pool(node: OnnxNode, inputs: Inputs) -> Tensor:
    """The p-th root of the sum of |x| ** p over each window."""
    x, were_sequences = as_images(needed(inputs, 0), "LpPool")
    window = _window(node, x, were_sequences)
    power = node.number("p", 2)
    return as_given(root(_sums(_powers(x, power), window), power), were_sequences)


def _powers(x: Tensor, power: float) -> Tensor:
    if power < 1:
        raise ArgumentError(f"p must be at least 1, got {power}")
    return F.power(x, int(power)) if power % 2 == 0 else F.power(F.abs(x), power)


def root(total: Tensor, power: float) -> Tensor:
    """total ** (1 / power); the gradient at 0 is 0."""
    if power == 1:
        return total
    above = total.array > 0
    return F.where(above, F.power(F.where(above, total, 1.0), 1 / power), 0.0)


def global_average_pool(node: OnnxNode, inputs: Inputs) -> Tensor:
    """The mean of each plane."""
    x = as_tensor(needed(inputs, 0))
    return F.mean(x, _positions(x), keepdims=True)


def global_max_pool(node: OnnxNode, inputs: Inputs) -> Tensor:
    """The maximum of each plane."""
    x = as_tensor(needed(inputs, 0))
    return F.max(x, _positions(x), keepdims=True)


def global_lp_pool(node: OnnxNode, inputs: Inputs) -> Tensor:
    """`lp_pool` of each plane as a whole."""
    x, power = as_tensor(needed(inputs, 0)), node.number("p", 2)
    return root(F.sum(_powers(x, power), _positions(x), keepdims=True), power)


def _positions(x: Tensor) -> Shape:
    """All axes behind batch and channels."""
    if x.ndim < 3 or 0 in x.shape[2:]:
        raise ShapeError(f"expected images (N, C, positions, ...), got {shape_text(x.shape)}")
    return tuple(range(2, x.ndim))


def _window(node: OnnxNode, x: Tensor, were_sequences: bool) -> NodeWindow:
    kernel = node.integers("kernel_shape") or ()
    size = (x.shape[2], x.shape[3])
    window = window_of(node, kernel, size, 2 - were_sequences)
    check_made((*x.shape[:2], *(size[axis] + sum(window.padding[axis]) for axis in (0, 1))))
    check_work(*check_made((*x.shape[:2], *window.output_size(size))), *window.kernel)
    return window


def _is_usual(window: NodeWindow) -> bool:
    """Whether `F.max_pool2d` takes the padding."""
    return all(2 * max(window.padding[axis]) <= window.kernel[axis] for axis in (0, 1))


def _sums(x: Tensor, window: NodeWindow, output_size: Any = None) -> Tensor:
    """The sum over every window, padding being zeros: a convolution with ones, channel by channel."""
    channels, size = x.shape[1], (x.shape[2], x.shape[3])
    rows, columns = window.output_size(size) if output_size is None else output_size
    padding = []
    for axis, count in enumerate((rows, columns)):  # with ceil_mode the last window may reach beyond the padding
        before, after = window.padding[axis]
        reach = (count - 1) * window.strides[axis] + window.extent[axis] - size[axis] - before
        padding.append((before, max(after, reach)))
    ones = np.ones((channels, 1, *window.kernel), x.dtype)
    total = F.conv2d(x, ones, None, window.strides, (padding[0], padding[1]), window.dilations, channels)
    return total[:, :, :rows, :columns] if total.shape[2:] != (rows, columns) else total


OPERATORS = {
    "MaxPool": Operator(max_pool, (1, 8, 10, 11, 12, 22)),
    "MaxUnpool": Operator(max_unpool, (9, 11, 22)),
    "AveragePool": Operator(average_pool, (1, 7, 10, 11, 19, 22)),
    "LpPool": Operator(lp_pool, (1, 2, 11, 18, 22)),
    "GlobalAveragePool": Operator(global_average_pool, (1, 22)),
    "GlobalMaxPool": Operator(global_max_pool, (1, 22)),
    "GlobalLpPool": Operator(global_lp_pool, (1, 2, 22)),
}
