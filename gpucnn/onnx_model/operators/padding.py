"""Borders: Pad in all its modes."""

from gpucnn import functions as F
from gpucnn.errors import ShapeError
from gpucnn.functions.broadcasting import as_axes
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.operators.operands import chosen, like, operand
from gpucnn.onnx_model.operators.operator import Inputs, Operator, Value
from gpucnn.onnx_model.operators.values import check_made, integers, needed, number

MODES = {"constant": "constant", "reflect": "reflect", "edge": "replicate", "wrap": "circular"}
"""ONNX's names of the ways to pad, and ours."""


def pad(node: OnnxNode, inputs: Inputs) -> Value:
    """Borders before and after each axis, or each of `axes`; negative ones cut off."""
    x, mode = needed(inputs, 0), chosen(node, "mode", MODES, "constant")
    borders = node.integers("paddings" if node.since == 1 else "pads") or integers(node, inputs, 1, "pads") or ()
    asked = integers(node, inputs, 3, "axes")
    axes = as_axes("axes", x.ndim, asked)
    if len(borders) != 2 * len(axes):
        raise ShapeError(
            f"expected {2 * len(axes)} borders, before and after each of {len(axes)} axes, got {len(borders)}"
        )
    pairs = [(0, 0)] * x.ndim
    for place, axis in enumerate(axes):
        pairs[axis] = (borders[place], borders[place + len(axes)])
    check_made([max(size + before + after, 0) for size, (before, after) in zip(x.shape, pairs, strict=True)])
    value = number(node, inputs, 2, "value")
    if value is None:
        value = node.number("value") if x.dtype.kind == "f" else node.integer("value")
    return like(x, F.pad(operand(x), pairs, MODES[mode], value))


OPERATORS = {"Pad": Operator(pad, (1, 2, 11, 13, 18, 19, 21, 23, 24, 25))}
