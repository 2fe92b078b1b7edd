"""The same elements in another shape, joined, taken apart and repeated; and the sizes of a shape as numbers."""

import math
from itertools import accumulate

import numpy as np

from gpucnn import functions as F
from gpucnn.backend import xp_of
from gpucnn.errors import ShapeError
from gpucnn.functions.broadcasting import as_axes, check_broadcast
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.operators.operands import all_needed, check_one_dtype, chosen, learns, like, operand, raw
from gpucnn.onnx_model.operators.operator import Inputs, Operator, Value
from gpucnn.onnx_model.operators.values import check_made, integers, needed
from gpucnn.text import shape_text


def reshape(node: OnnxNode, inputs: Inputs) -> Value:
    """A size of 0 is that of the input, unless with `allowzero`; one may be -1 and is worked out."""
    x, asked = needed(inputs, 0), _integers(node, inputs, 1, "shape")
    keeps = not node.integer("allowzero")
    if keeps and 0 in asked[x.ndim :]:
        raise ShapeError(
            f"shape {shape_text(asked)} has a 0, for the size of the input there, beyond the axes of {shape_text(x.shape)}"
        )
    shape = [x.shape[place] if size == 0 and keeps else size for place, size in enumerate(asked)]
    return like(x, F.reshape(operand(x), shape))


def flatten(node: OnnxNode, inputs: Inputs) -> Value:
    """(rows, columns): the axes before `axis` as one, and the others."""
    x, axis = needed(inputs, 0), node.integer("axis", 1)
    if not -x.ndim <= axis <= x.ndim:
        raise ShapeError(f"expected an axis from {-x.ndim} to {x.ndim} for {shape_text(x.shape)}, got {axis}")
    axis = axis + x.ndim if axis < 0 else axis
    return like(x, F.reshape(operand(x), (math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))))


def squeeze(node: OnnxNode, inputs: Inputs) -> Value:
    """Without `axes`, or without all of size 1."""
    x = needed(inputs, 0)
    return like(x, F.squeeze(operand(x), _integers(node, inputs, 1, "axes") or None))


def unsqueeze(node: OnnxNode, inputs: Inputs) -> Value:
    """With new axes of size 1."""
    x = needed(inputs, 0)
    return like(x, F.expand_dims(operand(x), _integers(node, inputs, 1, "axes")))


def transpose(node: OnnxNode, inputs: Inputs) -> Value:
    """The axes in the order `perm`, or reversed."""
    x = needed(inputs, 0)
    return like(x, F.transpose(operand(x), node.integers("perm")))


def concat(node: OnnxNode, inputs: Inputs) -> Value:
    """One after another along `axis`."""
    check_one_dtype(inputs)
    check_made((sum(math.prod(value.shape) for value in all_needed(inputs)),))
    return like(inputs, F.concatenate([operand(value) for value in all_needed(inputs)], node.integer("axis", 1)))


def split(node: OnnxNode, inputs: Inputs) -> list[Value]:
    """Into parts of given sizes, or into as many as there are outputs, of which the last may be smaller."""
    x, sizes = needed(inputs, 0), list(_integers(node, inputs, 1, "split"))
    (axis,) = as_axes("axis", x.ndim, [node.integer("axis")])
    length = x.shape[axis]
    if not sizes:
        parts = max(node.integer("num_outputs", len(node.outputs)), 1)
        each = -(-length // parts)
        sizes = [max(min(each, length - part * each), 0) for part in range(parts)]
    if sum(sizes) != length or min(sizes) < 0:
        raise ShapeError(f"sizes {shape_text(sizes)} do not add up to axis {axis} of {shape_text(x.shape)}")
    return [like(x, part) for part in F.split(operand(x), list(accumulate(sizes))[:-1], axis)]


def expand(node: OnnxNode, inputs: Inputs) -> Value:
    """Broadcast with a shape."""
    x, asked = needed(inputs, 0), check_made(_integers(node, inputs, 1, "shape"))
    check_broadcast("it", x.shape, asked)
    shape = check_made(np.broadcast_shapes(x.shape, asked))
    xp = xp_of(raw(x))
    if learns(x):
        return F.multiply(x, xp.ones(shape, x.dtype))
    return like(x, xp.broadcast_to(raw(x), shape).copy())


def tile(node: OnnxNode, inputs: Inputs) -> Value:
    """So many times along each axis."""
    x, repeats = needed(inputs, 0), _integers(node, inputs, 1, "repeats")
    if len(repeats) != x.ndim or min(repeats, default=0) < 0:
        raise ShapeError(
            f"expected {x.ndim} counts of 0 or more, one for each axis of {shape_text(x.shape)}, got {shape_text(repeats)}"
        )
    shape = check_made([size * count for size, count in zip(x.shape, repeats, strict=True)])
    xp = xp_of(raw(x))
    if not learns(x):
        return like(x, xp.tile(raw(x), repeats))
    apart = F.reshape(operand(x), [size for pair in x.shape for size in (1, pair)])
    return F.reshape(F.multiply(apart, xp.ones([one for count in repeats for one in (count, 1)], x.dtype)), shape)


def depth_to_space(node: OnnxNode, inputs: Inputs) -> Value:
    """(N, C * B * B, H, W) becomes (N, C, H * B, W * B): channels turn into blocks of pixels; `mode` tells their order."""
    x, block = needed(inputs, 0), _block(node, inputs)
    n, c, h, w = x.shape
    if c % (block * block):
        raise ShapeError(f"{c} channels do not divide into blocks of {block}x{block}")
    channels = c // (block * block)
    if chosen(node, "mode", ("DCR", "CRD"), "DCR") == "CRD":
        apart, order = (n, channels, block, block, h, w), (0, 1, 4, 2, 5, 3)
    else:
        apart, order = (n, block, block, channels, h, w), (0, 3, 4, 1, 5, 2)
    return like(x, F.reshape(F.transpose(F.reshape(operand(x), apart), order), (n, channels, h * block, w * block)))


def space_to_depth(node: OnnxNode, inputs: Inputs) -> Value:
    """(N, C, H * B, W * B) becomes (N, B * B * C, H, W)."""
    x, block = needed(inputs, 0), _block(node, inputs)
    n, c, h, w = x.shape
    if h % block or w % block:
        raise ShapeError(f"images {h}x{w} do not divide into blocks of {block}x{block}")
    apart = F.reshape(operand(x), (n, c, h // block, block, w // block, block))
    joined = F.reshape(F.transpose(apart, (0, 3, 5, 1, 2, 4)), (n, c * block * block, h // block, w // block))
    return like(x, joined)


def shape_of(node: OnnxNode, inputs: Inputs) -> Value:
    """The sizes of the axes from `start` to before `end`, which are known without looking at a value."""
    last = node.attributes.get("end")
    return np.asarray(needed(inputs, 0).shape[slice(node.integer("start"), last)], np.int64)


def size_of(node: OnnxNode, inputs: Inputs) -> Value:
    """The number of elements."""
    return np.asarray(math.prod(needed(inputs, 0).shape), np.int64)


def _integers(node: OnnxNode, inputs: Inputs, position: int, name: str) -> tuple[int, ...]:
    """What is an attribute in early versions, and an input in later ones; empty if it is neither."""
    return node.integers(name) or integers(node, inputs, position, name) or ()


def _block(node: OnnxNode, inputs: Inputs) -> int:
    block, shape = node.integer("blocksize"), needed(inputs, 0).shape
    if block < 1 or len(shape) != 4:
        raise ShapeError(
            f"expected images (N, C, H, W) and a blocksize of 1 or more, got {shape_text(shape)} and {block}"
        )
    return block


SINCE = (1, 13, 21, 23, 24, 25)
OPERATORS = {
    "Reshape": Operator(reshape, (1, 5, 13, 14, 19, 21, 23, 24, 25), passes=(0,)),
    "Flatten": Operator(flatten, (1, 9, 11, 13, 21, 23, 24, 25), passes=(0,)),
    "Squeeze": Operator(squeeze, (1, 11, 13, 21, 23, 24, 25), passes=(0,)),
    "Unsqueeze": Operator(unsqueeze, (1, 11, 13, 21, 23, 24, 25), passes=(0,)),
    "Transpose": Operator(transpose, SINCE, passes=(0,)),
    "Concat": Operator(concat, (1, 4, 11, 13), learns={0: "weight", 1: "weight"}, passes=(0, 1, 2)),
    "Split": Operator(split, (1, 2, 11, 13, 18)),
    "Expand": Operator(expand, (8, 13), passes=(0,)),
    "Tile": Operator(tile, (6, 13), passes=(0,)),
    "DepthToSpace": Operator(depth_to_space, (1, 11, 13)),
    "SpaceToDepth": Operator(space_to_depth, (1, 13)),
    "Shape": Operator(shape_of, (1, 13, 15, 19, 21, 23, 24, 25)),
    "Size": Operator(size_of, (1, 13, 19, 21, 23, 24, 25)),
}
