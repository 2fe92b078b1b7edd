"""Normalisation: by batch, sample, group of channels, neighbours."""

from typing import Any

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import Tensor, as_tensor
from gpucnn.checks import Shape
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.operators.operator import Inputs, Operator
from gpucnn.onnx_model.operators.pooling import root
from gpucnn.onnx_model.operators.values import needed, optional
from gpucnn.text import shape_text

AFFINE = {1: "weight", 2: "bias"}


def batch_norm(node: OnnxNode, inputs: Inputs) -> Any:
    """`F.batch_norm` with the statistics that are given; with training_mode with the batch's, and the moved ones beside."""
    x, scale, shift, mean, variance = (needed(inputs, position) for position in range(5))
    if not node.integer("spatial", 1):
        raise ArgumentError("spatial=0 normalises each position by itself, which is not computed here")
    x, eps = as_tensor(x), node.number("epsilon", 1e-5)
    if not node.integer("training_mode"):
        return F.batch_norm(x, mean, variance, scale, shift, False, 0, eps)
    output = F.batch_norm(x, None, None, scale, shift, True, 0, eps)
    if len(node.outputs) == 1:
        return output
    kept, axes = node.number("momentum", 0.9), (0, *range(2, x.ndim))
    moved = []
    for old, new in ((mean, x.array.mean(axis=axes)), (variance, x.array.var(axis=axes))):
        moved.append(Tensor(as_tensor(old).array * kept + new * (1 - kept)))
    return [output, *moved]


def instance_norm(node: OnnxNode, inputs: Inputs) -> Tensor:
    """A group norm in which each channel is a group."""
    x = as_tensor(needed(inputs, 0))
    if x.ndim < 3:
        raise ShapeError(f"expected images (N, C, positions, ...), got {shape_text(x.shape)}")
    return F.group_norm(x, x.shape[1], needed(inputs, 1), needed(inputs, 2), node.number("epsilon", 1e-5))


def group_norm(node: OnnxNode, inputs: Inputs) -> Tensor:
    """`F.group_norm`, whose weights are one a channel; up to opset 20 one a group, and repeated here."""
    x, groups, eps = as_tensor(needed(inputs, 0)), node.integer("num_groups"), node.number("epsilon", 1e-5)
    if x.ndim < 2 or groups < 1 or x.shape[1] % groups:
        raise ShapeError(
            f"expected images (N, C, ...) of channels that {groups} groups divide, got {shape_text(x.shape)}"
        )
    affine = [as_tensor(needed(inputs, position)) for position in (1, 2)]
    if node.since < 21:
        for one in affine:
            if one.shape != (groups,):
                raise ShapeError(f"expected scale and bias ({groups},), one a group, got {shape_text(one.shape)}")
        affine = [
            F.reshape(F.multiply(F.expand_dims(one, 1), np.ones((1, x.shape[1] // groups), one.dtype)), (-1,))
            for one in affine
        ]
    return F.group_norm(x, groups, affine[0], affine[1], eps)


def layer_norm(node: OnnxNode, inputs: Inputs) -> Any:
    """`F.layer_norm` over the axes from `axis` on; where they are asked for, the mean and 1 / deviation beside."""
    x, eps, shape = _ending(node, inputs)
    scale, shift = needed(inputs, 1), optional(inputs, 2)
    if scale.shape == shape and (shift is None or shift.shape == shape):
        output = F.layer_norm(x, shape, scale, shift, eps)
    else:
        output = F.multiply(F.layer_norm(x, shape, None, None, eps), scale)
        output = output if shift is None else F.add(output, shift)
    if len(node.outputs) == 1:
        return output
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    mean = F.mean(x, axes, keepdims=True)
    inverse = F.power(F.add(F.mean(F.power(F.subtract(x, mean), 2), axes, keepdims=True), eps), -0.5)
    return [output, mean, inverse]


def rms_norm(node: OnnxNode, inputs: Inputs) -> Tensor:
    """x / sqrt(mean of squares), over the axes from `axis` on, times scale."""
    x, eps, shape = _ending(node, inputs)
    axes = tuple(range(x.ndim - len(shape), x.ndim))
    inverse = F.power(F.add(F.mean(F.power(x, 2), axes, keepdims=True), eps), -0.5)
    return F.multiply(F.multiply(x, inverse), needed(inputs, 1))


def _ending(node: OnnxNode, inputs: Inputs) -> tuple[Tensor, float, Shape]:
    """The input, eps, and the shape of the axes that are normalised over."""
    x, axis = as_tensor(needed(inputs, 0)), node.integer("axis", -1)
    if not -x.ndim <= axis < x.ndim or 0 in x.shape:
        raise ShapeError(f"axis {axis} must name an axis of {shape_text(x.shape)}, none of which is of size 0")
    return x, node.number("epsilon", 1e-5), x.shape[axis % x.ndim :]


def local_response_norm(node: OnnxNode, inputs: Inputs) -> Tensor:
    """`F.local_response_norm`. Of an even number of neighbours ONNX has the larger half behind a channel, PyTorch before it."""
    x, size = as_tensor(needed(inputs, 0)), node.integer("size")
    numbers = node.number("alpha", 1e-4), node.number("beta", 0.75), node.number("bias", 1.0)
    if size % 2 or x.ndim < 2:
        return F.local_response_norm(x, size, *numbers)
    turned = (slice(None), slice(None, None, -1))
    return F.local_response_norm(x[turned], size, *numbers)[turned]


def mean_variance_norm(node: OnnxNode, inputs: Inputs) -> Tensor:
    """(x - mean) / deviation over `axes`."""
    x, axes = as_tensor(needed(inputs, 0)), node.integers("axes") or (0, 2, 3)
    centred = F.subtract(x, F.mean(x, axes, keepdims=True))
    deviation = F.sqrt(F.mean(F.power(centred, 2), axes, keepdims=True))
    return F.divide(centred, F.add(deviation, 1e-9))


def lp_norm(node: OnnxNode, inputs: Inputs) -> Tensor:
    """x / its norm along `axis`; where that is 0, 0."""
    x, power = as_tensor(needed(inputs, 0)), node.integer("p", 2)
    if power not in (1, 2):
        raise ArgumentError(f"p must be 1 or 2, got {power}")
    powers = F.abs(x) if power == 1 else F.power(x, 2)
    length = root(F.sum(powers, node.integer("axis", -1), keepdims=True), power)
    return F.divide(x, F.where(length.array > 0, length, 1.0))


OPERATORS = {
    "BatchNormalization": Operator(
        batch_norm, (1, 6, 7, 9, 14, 15), learns=AFFINE, tracks={3: "running_mean", 4: "running_var"}
    ),
    "InstanceNormalization": Operator(instance_norm, (1, 6, 22), learns=AFFINE),
    "GroupNormalization": Operator(group_norm, (18, 21), learns=AFFINE),
    "LayerNormalization": Operator(layer_norm, (17,), learns=AFFINE),
    "RMSNormalization": Operator(rms_norm, (23,), learns={1: "weight"}),
    "LRN": Operator(local_response_norm, (1, 13)),
    "LpNormalization": Operator(lp_norm, (1, 22)),
    "MeanVarianceNormalization": Operator(mean_variance_norm, (9, 13)),
}
