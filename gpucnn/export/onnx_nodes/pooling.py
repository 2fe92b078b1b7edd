"""Pooling as ONNX nodes."""

import math
from functools import partial

import numpy as np

from gpucnn.checks import Shape
from gpucnn.export.onnx_call import Call, Nodes
from gpucnn.functions.pooling import pooling_window
from gpucnn.functions.sequence import pool1d_window
from gpucnn.geometry import Window
from gpucnn.kernels.pooling import Pooling, counts


def max_pool(call: Call, window: Window, image_size: Shape, axes: slice) -> str:
    """MaxPool along those of the window's axes."""
    before, after = _sides(window, image_size, call.node.shape[2:], axes)
    kernel, x = list(window.kernel)[axes], call.x
    if any(side >= size for side, size in zip(after, kernel, strict=True)):  # which MaxPool does not take
        pads = [0, 0, *before, 0, 0, *after]
        x, before, after = (
            call.put("Pad", x, call.ints(pads), call.number(-math.inf)),
            [0] * len(before),
            [0] * len(after),
        )
    return call.put(
        "MaxPool",
        x,
        kernel_shape=kernel,
        strides=window.stride[axes],
        pads=before + after,
        dilations=window.dilation[axes] if window.dilation != (1, 1) else None,
    )


def avg_pool(call: Call, window: Window, image_size: Shape, axes: slice) -> str:
    """AveragePool along those of the window's axes, times a factor where windows are divided by something else."""
    divisor, include = call.arguments.get("divisor_override"), bool(call.arguments["count_include_pad"])
    before, after = _sides(window, image_size, call.node.shape[2:], axes)
    pool = partial(call.put, "AveragePool", kernel_shape=window.kernel[axes], strides=window.stride[axes])
    if not window.ceil_mode and divisor is None:
        return pool(call.x, pads=before + after, count_include_pad=int(include))
    # Windows that reach beyond the padding, or have another divisor: sums of zeros and elements, over what they count.
    pads = [0, 0, *before, 0, 0, *after]
    sums = pool(call.put("Pad", call.x, call.ints(pads), call.number(0)))
    task = Pooling((1, 1, *image_size), window, count_include_pad=include)
    divisors = counts(task, np, np.dtype(np.float64)) if divisor is None else np.full((1, 1), divisor, np.float64)
    factors = math.prod(window.kernel) / (divisors if axes.start is None else divisors[0])
    return call.put("Mul", sums, call.graph.array(factors.astype(call.dtype)))


def _sides(window: Window, image_size: Shape, output_size: Shape, axes: slice) -> tuple[list[int], list[int]]:
    """How much padding a pooling needs before and after; in ceil mode until the last window ends, so that floor gives as many."""
    before, after = (list(side) for side in zip(*window.padding, strict=True))
    if window.ceil_mode:
        new = output_size if len(output_size) == 2 else (1, *output_size)
        after = [
            max((new[axis] - 1) * window.stride[axis] + window.extent[axis] - image_size[axis] - before[axis], 0)
            for axis in (0, 1)
        ]
    return before[axes], after[axes]


def _of_images(call: Call, dilation: bool) -> Window:
    given = call.arguments
    sizes = given["kernel_size"], given["stride"], given["padding"], given["dilation"] if dilation else 1
    return pooling_window(call.node.function, *sizes, given["ceil_mode"])


def max_pool2d(call: Call) -> str:
    """MaxPool of images."""
    size = call.spatial
    return max_pool(call, _of_images(call, True).within((size[0], size[1])), size, slice(2))


def avg_pool2d(call: Call) -> str:
    """AveragePool of images."""
    size = call.spatial
    return avg_pool(call, _of_images(call, False).within((size[0], size[1])), size, slice(2))


def max_pool1d(call: Call) -> str:
    """MaxPool of sequences."""
    given, size = call.arguments, (1, call.spatial[0])
    sizes = given["kernel_size"], given["stride"], given["padding"], given["dilation"]
    return max_pool(call, pool1d_window("max_pool1d", *sizes, given["ceil_mode"]).within(size), size, slice(1, 2))


def avg_pool1d(call: Call) -> str:
    """AveragePool of sequences."""
    given, size = call.arguments, (1, call.spatial[0])
    window = pool1d_window("avg_pool1d", given["kernel_size"], given["stride"], given["padding"], 1, given["ceil_mode"])
    return avg_pool(call, window.within(size), size, slice(1, 2))


def adaptive_avg_pool(call: Call) -> str:
    """A pooling, if all cells are equal; else a product with a matrix of averages for each axis."""
    old, new = call.spatial, call.node.shape[2:]
    if set(new) == {1}:
        return call.put("GlobalAveragePool", call.x)
    if all(size % count == 0 for size, count in zip(old, new, strict=True)):
        kernel = [size // count for size, count in zip(old, new, strict=True)]
        return call.put("AveragePool", call.x, kernel_shape=kernel, strides=kernel)
    x = call.x
    for axis, (size, count) in enumerate(zip(old, new, strict=True)):
        matrix = np.zeros((count, size))
        for row, cell in enumerate(_cells(size, count)):
            matrix[row, cell] = 1 / (cell.stop - cell.start)
        x = along_axis(call, x, matrix, is_last=axis == len(old) - 1)
    return x


def along_axis(call: Call, x: str, matrix: np.ndarray, is_last: bool) -> str:
    """The last axis of x, or the one before it, with sums of its elements, weighted by a matrix (new, old)."""
    if is_last:
        return call.put("MatMul", x, call.graph.array(matrix.T.astype(call.dtype)))
    return call.put("MatMul", call.graph.array(matrix.astype(call.dtype)), x)


def adaptive_max_pool(call: Call) -> str:
    """A pooling, if all cells are equal; else each cell's elements looked up, axis by axis, and the largest taken."""
    old, new = call.spatial, call.node.shape[2:]
    if set(new) == {1}:
        return call.put("GlobalMaxPool", call.x)
    if all(size % count == 0 for size, count in zip(old, new, strict=True)):
        kernel = [size // count for size, count in zip(old, new, strict=True)]
        return call.put("MaxPool", call.x, kernel_shape=kernel, strides=kernel)
    x = call.x
    for axis, (size, count) in enumerate(zip(old, new, strict=True), 2):
        cells = _cells(size, count)
        longest = max(cell.stop - cell.start for cell in cells)
        # Shorter cells have their last element several times.
        places = [[min(cell.start + step, cell.stop - 1) for step in range(longest)] for cell in cells]
        looked_up = call.put("Gather", x, call.graph.array(np.array(places, np.int64)), axis=axis)
        x = call.reduced("ReduceMax", looked_up, [axis + 1], keepdims=False)
    return x


def _cells(size: int, count: int) -> list[slice]:
    return [slice(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


NODES: Nodes = {
    "max_pool2d": max_pool2d,
    "avg_pool2d": avg_pool2d,
    "max_pool1d": max_pool1d,
    "avg_pool1d": avg_pool1d,
    **dict.fromkeys(("adaptive_avg_pool2d", "adaptive_avg_pool1d"), adaptive_avg_pool),
    **dict.fromkeys(("adaptive_max_pool2d", "adaptive_max_pool1d"), adaptive_max_pool),
}
