"""Convolution and its transpose, of sequences and images."""

from gpucnn import functions as F
from gpucnn.autograd import Tensor, as_tensor
from gpucnn.checks import Pair
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.operators.operator import Inputs, Operator
from gpucnn.onnx_model.operators.values import check_made, check_work, needed, optional
from gpucnn.onnx_model.operators.windows import SAME, NodeWindow, as_given, as_images, split, window_of
from gpucnn.text import shape_text


def conv(node: OnnxNode, inputs: Inputs) -> Tensor:
    """`F.conv2d`; of sequences, of images that are one row high."""
    x, weight, bias, were_sequences = _operands(node, inputs)
    groups = _groups(node, x, weight.shape[1] * node.integer("group", 1), weight.shape[0])
    window = window_of(node, weight.shape[2 + were_sequences :], (x.shape[2], x.shape[3]), 2 - were_sequences)
    _check_padded(x, window, weight.shape[0])
    made = check_made((x.shape[0], weight.shape[0], *window.output_size((x.shape[2], x.shape[3]))))
    check_work(*made, *weight.shape[1:])
    output = F.conv2d(x, weight, bias, window.strides, window.padding, window.dilations, groups)
    return as_given(output, were_sequences)


def conv_transpose(node: OnnxNode, inputs: Inputs) -> Tensor:
    """`F.conv_transpose2d`, whose output is cut, or filled with zeros, where padding is not the same on both sides."""
    x, weight, bias, were_sequences = _operands(node, inputs)
    groups = _groups(node, x, weight.shape[0], weight.shape[0])
    axes = 2 - were_sequences
    extra = node.integers("output_padding") or (0,) * axes
    wanted = node.integers("output_shape")
    if wanted is not None and len(wanted) == axes + 2:
        wanted = wanted[2:]
    if len(extra) != axes or min(extra) < 0 or (wanted is not None and (len(wanted) != axes or min(wanted) < 1)):
        raise ArgumentError(f"output_padding and output_shape must be {axes} sizes, got {extra} and {wanted}")
    window = window_of(node, weight.shape[2 + were_sequences :], (1, 1), axes)
    extra = (0,) * (2 - axes) + tuple(extra)
    auto = node.text("auto_pad", "NOTSET")
    size = (x.shape[2], x.shape[3])
    if wanted is None and auto in SAME:
        wanted = tuple(size[axis] * window.strides[axis] for axis in range(2 - axes, 2))
    full = [(size[axis] - 1) * window.strides[axis] + window.extent[axis] for axis in (0, 1)]
    padding = list(window.padding)
    if wanted is not None:
        for axis in range(2 - axes, 2):
            total = full[axis] + extra[axis] - wanted[axis - 2 + axes]
            padding[axis] = split(total, auto == "SAME_UPPER")
    sizes = [full[axis] + extra[axis] - sum(padding[axis]) for axis in (0, 1)]
    for spread in (full, sizes):
        check_made((x.shape[0], weight.shape[1] * groups, *spread))
    check_work(*x.shape, *weight.shape[1:])
    if min(sizes) < 1:
        raise ShapeError(f"images of {size[0]}x{size[1]} would give {sizes[0]}x{sizes[1]}; use less padding")
    output = _transposed(x, weight, bias, window, groups, padding, (extra[0], extra[1]))
    return as_given(output, were_sequences)


def _transposed(
    x: Tensor, weight: Tensor, bias: Tensor | None, window: NodeWindow, groups: int, padding: list[Pair], extra: Pair
) -> Tensor:
    steps = max(window.strides[0], window.dilations[0]), max(window.strides[1], window.dilations[1])
    symmetric = all(before == after >= 0 for before, after in padding)
    if symmetric and extra[0] < steps[0] and extra[1] < steps[1]:
        sides = padding[0][0], padding[1][0]
        return F.conv_transpose2d(x, weight, bias, window.strides, sides, extra, groups, window.dilations)
    output = F.conv_transpose2d(x, weight, None, window.strides, 0, 0, groups, window.dilations)
    cut = [(-before, more - after) for (before, after), more in zip(padding, extra, strict=True)]
    output = F.pad(output, ((0, 0), (0, 0), *cut))
    return output if bias is None else F.add(output, F.reshape(bias, (-1, 1, 1)))


def _operands(node: OnnxNode, inputs: Inputs) -> tuple[Tensor, Tensor, Tensor | None, bool]:
    """Images, weight, bias, and whether the images were sequences; weights of such get a row, too."""
    x, were_sequences = as_images(needed(inputs, 0), node.operator)
    weight, bias = as_tensor(needed(inputs, 1)), optional(inputs, 2)
    if weight.ndim != x.ndim - were_sequences or 0 in weight.shape:
        axes = "L" if were_sequences else "H, W"
        raise ShapeError(
            f"expected a weight of {x.ndim - were_sequences} axes for images (N, C, {axes}), no size 0, got {shape_text(weight.shape)}"
        )
    kernel = node.integers("kernel_shape")
    if kernel is not None and kernel != weight.shape[2:]:
        raise ShapeError(f"kernel_shape is {shape_text(kernel)}, and the weight {shape_text(weight.shape)}")
    if were_sequences:
        weight = F.expand_dims(weight, 2)
    return x, weight, None if bias is None else as_tensor(bias), were_sequences


def _groups(node: OnnxNode, x: Tensor, channels: int, filters: int) -> int:
    groups = node.integer("group", 1)
    if groups < 1 or filters % groups or x.shape[1] != channels:
        raise ShapeError(
            f"a weight for {channels} channels, {filters} filters and group={groups} does not fit images {shape_text(x.shape)}"
        )
    return groups


def _check_padded(x: Tensor, window: NodeWindow, filters: int) -> None:
    """That an image with its padding is not larger than may be made: padding can be of any size."""
    check_made((x.shape[0], x.shape[1], *(x.shape[2 + axis] + sum(window.padding[axis]) for axis in (0, 1))))


OPERATORS = {
    "Conv": Operator(conv, (1, 11, 22), learns={1: "weight", 2: "bias"}),
    "ConvTranspose": Operator(conv_transpose, (1, 11, 22), learns={1: "weight", 2: "bias"}),
}
