"""From decoded images of any size to what a model takes, as ONNX nodes: `data.read_image` and `data.Preprocess`, to the bit."""

from typing import Any

import numpy as np

from gpucnn.data import Preprocess
from gpucnn.export.onnx_graph import OnnxGraph, onnx_library
from gpucnn.kernels.preprocess import resizing

RED, GREEN, BLUE = 19595, 38470, 7471
"""Shares of brightness, of 2^16, as Pillow has them: ITU-R 601-2."""
UNIT = 2**22
"""What Pillow's shares of pixels are whole numbers of."""
DIGITS = np.array([2**16, 2**8, 1], np.int32)
"""A share is three digits of 8 bits, so that products of bytes are enough."""


TALL = ((2, -1), (100, 0))
"""(a, b) of the rules by which Pillow makes an image lower before it makes it narrower, where rounding to bytes between the two
lets it differ by one: if it is higher than S and than a * width + b * S. The first is that of Pillow 13, the second of 12.2."""

PLACE = "preprocess"
"""What the names of the nodes begin with."""


def add_pixels(graph: OnnxGraph, images: str, preprocess: Preprocess) -> str:
    """The nodes from `images`, bytes (N, H, W, 1 or 3), grey or RGB, to float32 (N, C, S, S), the model's input; its name.

    Heights and widths are known when the graph runs: shares of pixels are computed from them then. Bytes come out as the
    installed Pillow has them.

    Source: Pillow's `Image.resize`, `ImageOps.fit` and `Image.convert`.
    """
    nodes = _Nodes(graph)
    sizes = nodes.put("Shape", images)
    height, width = (nodes.put("Gather", sizes, nodes.array(axis, np.int64), axis=0) for axis in (1, 2))
    pixels = nodes.put("Expand", images, nodes.array([1, 1, 1, 3], np.int64))
    if preprocess.channels == 1:
        pixels = _grey(nodes, pixels)
    size = preprocess.native_size
    rule = tall_rule()
    if rule is None:
        first, second = width, height
        pixels = nodes.put("Transpose", pixels, perm=[0, 3, 1, 2])
    else:
        tall = _is_tall(nodes, height, width, rule, size)
        first, second = nodes.put("Where", tall, height, width), nodes.put("Where", tall, width, height)
        pixels = nodes.transposed_if(tall, pixels, [0, 3, 2, 1], [0, 3, 1, 2])
    for length, other in ((first, second), (second, first)):  # each time along the last axis
        extent = nodes.put("Min", length, other) if preprocess.fit == "crop" else length
        shares = _shares(nodes, length, extent, None if preprocess.fit == "crop" else width, size)
        pixels = _resampled(nodes, pixels, shares, size)
        if length is first:
            pixels = nodes.put("Transpose", pixels, perm=[0, 1, 3, 2])
    if rule is None:
        pixels = nodes.put("Transpose", pixels, perm=[0, 1, 3, 2])
    else:
        pixels = nodes.transposed_if(tall, pixels, [0, 1, 2, 3], [0, 1, 3, 2])
    return _prepared(nodes, _scaled(nodes, pixels, preprocess.full_scale), preprocess)


class _Nodes:
    """Nodes of the preprocessing."""

    def __init__(self, graph: OnnxGraph) -> None:
        self._graph = graph

    def put(self, op: str, *inputs: str, **attributes: Any) -> str:
        return self._graph.put(op, inputs, at=PLACE, **attributes)

    def array(self, values: Any, dtype: type[np.generic]) -> str:
        return self._graph.array(np.asarray(values, dtype))

    def cast(self, name: str, dtype: type[np.generic]) -> str:
        return self.put("Cast", name, to=onnx_library().helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def transposed_if(self, condition: str, pixels: str, then: list[int], otherwise: list[int]) -> str:
        """Bytes whose axes are in the one order or the other."""
        helper = onnx_library().helper
        branches = {}
        for branch, axes in (("then_branch", then), ("else_branch", otherwise)):
            name = f"{pixels}/{branch}"
            node = helper.make_node("Transpose", [pixels], [name], name, perm=axes)
            found = helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(np.uint8)), None)
            branches[branch] = helper.make_graph([node], name, [], [found])
        return self.put("If", condition, **branches)


def tall_rule() -> tuple[int, int] | None:
    """The one of the rules `TALL` that the installed Pillow has; None for those before 12.2, which always make narrower first.

    It is found by trying: an image is shrunk at once, and in two steps, narrower first.
    """
    from PIL import Image

    bilinear = Image.Resampling.BILINEAR
    for rule, height in zip(TALL, (9, 305), strict=True):
        values = np.arange(3 * height, dtype=np.uint32) ** 2 % 251
        image = Image.fromarray(values.astype(np.uint8).reshape(height, 3))
        narrower = image.resize((2, height), bilinear)
        if image.resize((2, 2), bilinear).tobytes() != narrower.resize((2, 2), bilinear).tobytes():
            return rule
    return None


def _is_tall(nodes: _Nodes, height: str, width: str, rule: tuple[int, int], size: int) -> str:
    per_width, per_size = rule
    wide = nodes.put("Mul", width, nodes.array(per_width, np.int64))
    edge = nodes.put("Add", wide, nodes.array(per_size * size, np.int64))
    return nodes.put(
        "And", nodes.put("Greater", height, nodes.array(size, np.int64)), nodes.put("Greater", height, edge)
    )


def _grey(nodes: _Nodes, pixels: str) -> str:
    """RGB bytes (N, H, W, 3) as grey ones (N, H, W, 1)."""
    weighted = nodes.put("Mul", nodes.cast(pixels, np.int32), nodes.array([RED, GREEN, BLUE], np.int32))
    return _rounded(nodes, nodes.put("ReduceSum", weighted, nodes.array([-1], np.int64), keepdims=1), 2**16)


def _shares(nodes: _Nodes, length: str, extent: str, width: str | None, size: int) -> str:
    """Which share each of `length` pixels has in each of `size` new ones, digit by digit: bytes (length, 3 size).

    - `extent`: how many of the pixels, in their middle, the new ones are made of; beyond them pixels count that are near enough.
    - `width`: of the image; one that becomes narrower is averaged over boxes, else over triangles. None: triangles always.
    """
    put = nodes.put

    def number(value: float) -> str:
        return nodes.array(value, np.float64)

    many, used = nodes.cast(length, np.float64), nodes.cast(extent, np.float64)
    scale = put("Div", used, number(size))
    reach = put("Max", scale, number(1))  # half the base of a triangle, the whole of a box
    start = put("Mul", put("Sub", many, used), number(0.5))
    centres = put("Add", start, put("Mul", nodes.array(np.arange(size) + 0.5, np.float64), scale))
    places = put("Unsqueeze", put("Range", number(0), many, number(1)), nodes.array([1], np.int64))
    distances = put("Mul", put("Add", put("Sub", places, centres), number(0.5)), put("Div", number(1), reach))
    weights, support = put("Max", put("Sub", number(1), put("Abs", distances)), number(0)), reach
    if width is not None:
        narrows = put("Greater", width, nodes.array(size, np.int64))
        in_box = put("And", put("Greater", distances, number(-0.5)), put("LessOrEqual", distances, number(0.5)))
        weights = put("Where", narrows, nodes.cast(in_box, np.float64), weights)
        support = put("Where", narrows, put("Mul", reach, number(0.5)), reach)
    # Pillow finds by rounding which pixels are near, and which of them count by their distance.
    low = put("Floor", put("Add", put("Sub", centres, support), number(0.5)))
    high = put("Floor", put("Add", put("Add", centres, support), number(0.5)))
    is_near = put("And", put("GreaterOrEqual", places, low), put("Less", places, high))
    weights = put("Mul", weights, nodes.cast(is_near, np.float64))
    shares = put("Div", weights, put("ReduceSum", weights, nodes.array([0], np.int64), keepdims=1))
    units = nodes.cast(put("Floor", put("Add", put("Mul", shares, number(UNIT)), number(0.5))), np.int32)
    column = put("Unsqueeze", units, nodes.array([2], np.int64))
    digits = put("Mod", put("Div", column, nodes.array(DIGITS, np.int32)), nodes.array(256, np.int32))
    return nodes.cast(put("Reshape", digits, nodes.array([0, 3 * size], np.int64)), np.uint8)


def _resampled(nodes: _Nodes, pixels: str, shares: str, size: int) -> str:
    """Bytes (N, C, A, length) as bytes (N, C, A, size)."""
    digits = nodes.put("MatMulInteger", pixels, shares)
    each = nodes.put("Reshape", digits, nodes.array([0, 0, 0, size, 3], np.int64))
    weighted = nodes.put("Mul", each, nodes.array(DIGITS, np.int32))
    return _rounded(nodes, nodes.put("ReduceSum", weighted, nodes.array([-1], np.int64), keepdims=0), UNIT)


def _rounded(nodes: _Nodes, total: str, unit: int) -> str:
    """Whole numbers of 1/unit as bytes."""
    up = nodes.put("Add", total, nodes.array(unit // 2, np.int32))
    return nodes.cast(nodes.put("Div", up, nodes.array(unit, np.int32)), np.uint8)


def _scaled(nodes: _Nodes, pixels: str, full_scale: int) -> str:
    """Bytes up to 255 as floats from 0 to 1, which count in steps of the data set's."""
    if full_scale != 255:
        counts = nodes.put("Mul", nodes.cast(pixels, np.float64), nodes.array(full_scale / 255, np.float64))
        pixels = nodes.put("Round", counts)
    return nodes.put("Div", nodes.cast(pixels, np.float32), nodes.array(full_scale, np.float32))


def _prepared(nodes: _Nodes, pixels: str, preprocess: Preprocess) -> str:
    """Floats (N, C, native, native) as (N, C, S, S), padded or resized, and normalised."""
    native, size = preprocess.native_size, preprocess.image_size
    margin = size - native
    if margin and preprocess.fit == "resize":
        low, to_high = resizing(native, size)
        high = np.minimum(low + 1, native - 1)
        for axis, shape in ((2, (-1, 1)), (3, (-1,))):
            parts = [
                nodes.put(
                    "Mul",
                    nodes.put("Gather", pixels, nodes.array(places, np.int64), axis=axis),
                    nodes.array(shares.reshape(shape), np.float32),
                )
                for places, shares in ((low, 1 - to_high), (high, to_high))
            ]
            pixels = nodes.put("Add", *parts)
    elif margin:
        before, after = margin // 2, margin - margin // 2
        pixels = nodes.put("Pad", pixels, nodes.array([0, 0, before, before, 0, 0, after, after], np.int64))
    if preprocess.mean is not None and preprocess.std is not None:
        mean, std = (
            nodes.array(np.array(values)[:, None, None], np.float32) for values in (preprocess.mean, preprocess.std)
        )
        pixels = nodes.put("Div", nodes.put("Sub", pixels, mean), std)
    return pixels
