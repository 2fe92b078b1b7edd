"""From decoded images of any size to what a model takes, as ONNX nodes: `data.read_image` and `data.Preprocess`, to the bit."""

import numpy as np

from gpucnn.data import Preprocess
from gpucnn.export.onnx_graph import OnnxGraph
from gpucnn.kernels.preprocess import resizing

RED, GREEN, BLUE = 19595, 38470, 7471
"""Shares of brightness, of 2^16, as Pillow has them: ITU-R 601-2."""
UNIT = 2**22
"""What Pillow's shares of pixels are whole numbers of."""
DIGITS = np.array([2**16, 2**8, 1], np.int32)
"""A share is three digits of 8 bits, so that products of bytes are enough."""


def add_pixels(graph: OnnxGraph, images: str, preprocess: Preprocess) -> str:
    """The nodes from `images`, bytes (N, H, W, 1 or 3), grey or RGB, to float32 (N, C, S, S), the model's input; its name.

    Heights and widths are known when the graph runs: shares of pixels are computed from them then.

    Source: Pillow's `Image.resize`, `ImageOps.fit` and `Image.convert`.
    """
    sizes = graph.put("Shape", [images])
    height, width = (
        graph.put("Gather", [sizes, graph.array(np.array(axis, np.int64))], axis=0) for axis in (1, 2)
    )
    pixels = graph.put("Expand", [images, graph.array(np.array([1, 1, 1, 3], np.int64))])
    if preprocess.channels == 1:
        pixels = _grey(graph, pixels)
    pixels = graph.put("Transpose", [pixels], perm=[0, 3, 1, 2])
    size = preprocess.native_size
    for length, other in ((width, height), (height, width)):  # each way along the last axis
        if preprocess.fit == "crop":
            shares = _shares(graph, length, graph.put("Min", [length, other]), None, size)
        else:
            shares = _shares(graph, length, length, width, size)
        pixels = graph.put("Transpose", [_resampled(graph, pixels, shares, size)], perm=[0, 1, 3, 2])
    return _prepared(graph, _scaled(graph, pixels, preprocess.full_scale), preprocess)


def _grey(graph: OnnxGraph, pixels: str) -> str:
    """RGB bytes (N, H, W, 3) as grey ones (N, H, W, 1)."""
    weighted = graph.put(
        "Mul", [graph.put("Cast", [pixels], to=_type(np.int32)), graph.array(np.array([RED, GREEN, BLUE], np.int32))]
    )
    total = graph.put("ReduceSum", [weighted, graph.array(np.array([-1], np.int64))], keepdims=1)
    return _rounded(graph, total, 2**16)


def _shares(graph: OnnxGraph, length: str, extent: str, width: str | None, size: int) -> str:
    """Which share each of `length` pixels has in each of `size` new ones, digit by digit: bytes (length, 3 size).

    - `extent`: how many of the pixels, in their middle, the new ones are made of; beyond them pixels count that are near enough.
    - `width`: of the image; one that becomes narrower is averaged over boxes, else over triangles. None: triangles always.
    """

    def number(value: float) -> str:
        return graph.array(np.array(value, np.float64))

    def put(op: str, *inputs: str) -> str:
        return graph.put(op, list(inputs))

    many, used = (graph.put("Cast", [name], to=_type(np.float64)) for name in (length, extent))
    first = put("Mul", put("Sub", many, used), number(0.5))
    scale = put("Div", used, number(size))
    reach = put("Max", scale, number(1.0))  # half the base of a triangle, and the whole of a box
    centres = put("Add", first, put("Mul", graph.array(np.arange(size) + 0.5), scale))
    places = graph.put(
        "Unsqueeze", [put("Range", number(0.0), many, number(1.0)), graph.array(np.array([1], np.int64))]
    )
    distances = put("Mul", put("Add", put("Sub", places, centres), number(0.5)), put("Div", number(1.0), reach))
    triangle = put("Max", put("Sub", number(1.0), put("Abs", distances)), number(0.0))
    if width is None:
        weights, support = triangle, reach
    else:
        narrows = put("Greater", width, graph.array(np.array(size, np.int64)))
        in_box = put("And", put("Greater", distances, number(-0.5)), put("LessOrEqual", distances, number(0.5)))
        weights = put("Where", narrows, graph.put("Cast", [in_box], to=_type(np.float64)), triangle)
        support = put("Where", narrows, put("Mul", reach, number(0.5)), reach)
    low = put("Floor", put("Add", put("Sub", centres, support), number(0.5)))
    high = put("Floor", put("Add", put("Add", centres, support), number(0.5)))
    near = put("And", put("GreaterOrEqual", places, low), put("Less", places, high))
    weights = put("Mul", weights, graph.put("Cast", [near], to=_type(np.float64)))
    total = graph.put("ReduceSum", [weights, graph.array(np.array([0], np.int64))], keepdims=1)
    units = put("Floor", put("Add", put("Mul", put("Div", weights, total), number(UNIT)), number(0.5)))
    whole = graph.put("Cast", [units], to=_type(np.int32))
    column = graph.put("Unsqueeze", [whole, graph.array(np.array([2], np.int64))])
    digits = put("Mod", put("Div", column, graph.array(DIGITS)), graph.array(np.array(256, np.int32)))
    flat = put("Reshape", digits, graph.array(np.array([0, 3 * size], np.int64)))
    return graph.put("Cast", [flat], to=_type(np.uint8))


def _resampled(graph: OnnxGraph, pixels: str, shares: str, size: int) -> str:
    """Bytes (N, C, A, length) as bytes (N, C, A, size)."""
    digits = graph.put("MatMulInteger", [pixels, shares])
    each = graph.put("Reshape", [digits, graph.array(np.array([0, 0, 0, size, 3], np.int64))])
    weighted = graph.put("Mul", [each, graph.array(DIGITS)])
    return _rounded(graph, graph.put("ReduceSum", [weighted, graph.array(np.array([-1], np.int64))], keepdims=0), UNIT)


def _rounded(graph: OnnxGraph, total: str, unit: int) -> str:
    """Whole numbers of 1/unit as bytes."""
    up = graph.put("Add", [total, graph.array(np.array(unit // 2, np.int32))])
    return graph.put("Cast", [graph.put("Div", [up, graph.array(np.array(unit, np.int32))])], to=_type(np.uint8))


def _scaled(graph: OnnxGraph, pixels: str, full_scale: int) -> str:
    """Bytes up to 255 as floats from 0 to 1, which count in steps of the data set's."""
    if full_scale != 255:
        counts = graph.put("Cast", [pixels], to=_type(np.float64))
        counts = graph.put("Mul", [counts, graph.array(np.array(full_scale / 255, np.float64))])
        pixels = graph.put("Round", [counts])
    return graph.put(
        "Div", [graph.put("Cast", [pixels], to=_type(np.float32)), graph.array(np.array(full_scale, np.float32))]
    )


def _prepared(graph: OnnxGraph, pixels: str, preprocess: Preprocess) -> str:
    """Floats (N, C, native, native) as (N, C, S, S), padded or resized, and normalised."""
    native, size = preprocess.native_size, preprocess.image_size
    margin = size - native
    if margin and preprocess.fit == "resize":
        low, to_high = resizing(native, size)
        high = np.minimum(low + 1, native - 1)
        for axis, shape in ((2, (-1, 1)), (3, (-1,))):
            parts = [
                graph.put(
                    "Mul", [graph.put("Gather", [pixels, graph.array(place.astype(np.int64))], axis=axis), graph.array(share.reshape(shape))]
                )
                for place, share in ((low, 1 - to_high), (high, to_high))
            ]  # fmt: skip
            pixels = graph.put("Add", parts)
    elif margin:
        before, after = margin // 2, margin - margin // 2
        pads = np.array([0, 0, before, before, 0, 0, after, after], np.int64)
        pixels = graph.put("Pad", [pixels, graph.array(pads)])
    if preprocess.mean is not None and preprocess.std is not None:
        mean, std = (np.array(values, np.float32)[:, None, None] for values in (preprocess.mean, preprocess.std))
        pixels = graph.put("Div", [graph.put("Sub", [pixels, graph.array(mean)]), graph.array(std)])
    return pixels


def _type(dtype: type[np.generic]) -> int:
    """ONNX's number of a dtype."""
    from onnx.helper import np_dtype_to_tensor_dtype

    return int(np_dtype_to_tensor_dtype(np.dtype(dtype)))
