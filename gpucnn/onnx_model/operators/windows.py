"""What a node tells of its window: kernel, strides, dilations and padding, as the operators that slide one over images have them."""

from collections.abc import Sequence
from typing import NamedTuple

from gpucnn.autograd import Tensor, as_tensor
from gpucnn.checks import LARGEST, Pair, Shape
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.functions import expand_dims, squeeze
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.operators.operator import Value
from gpucnn.text import shape_text

SAME = ("SAME_UPPER", "SAME_LOWER")


class NodeWindow(NamedTuple):
    """A window over images, of two axes; that over sequences is one row high."""

    kernel: Pair
    strides: Pair
    dilations: Pair
    padding: tuple[Pair, Pair]
    """((top, bottom), (left, right))."""
    ceil: bool

    @property
    def extent(self) -> Pair:
        """The (height, width) that it spans."""
        return (self.kernel[0] - 1) * self.dilations[0] + 1, (self.kernel[1] - 1) * self.dilations[1] + 1

    def output_size(self, size: Pair) -> Pair:
        """How many windows there are along each axis; those that would start in padding behind the image are none."""
        rows, columns = (self._count(axis, size[axis]) for axis in (0, 1))
        return rows, columns

    def _count(self, axis: int, size: int) -> int:
        before, after = self.padding[axis]
        spare = size + before + after - self.extent[axis]
        if spare < 0:
            raise ShapeError(
                f"a window of {self.extent[axis]} does not fit into {size} with padding {before} and {after}"
            )
        steps = -(-spare // self.strides[axis]) if self.ceil else spare // self.strides[axis]
        if self.ceil and steps * self.strides[axis] >= size + before:
            steps -= 1
        return steps + 1


def as_images(value: Value, what: str) -> tuple[Tensor, bool]:
    """Images (N, C, H, W), and whether they were sequences (N, C, L), which are one row high. ShapeError for other axes."""
    x = as_tensor(value)
    if x.ndim == 3:
        return expand_dims(x, 2), True
    if x.ndim != 4:
        raise ShapeError(
            f"{what} of one axis or two is computed here, (N, C, L) or (N, C, H, W), got {shape_text(x.shape)}"
        )
    return x, False


def as_given(images: Tensor, were_sequences: bool) -> Tensor:
    """Images as the sequences that they were, or as they are."""
    return squeeze(images, 2) if were_sequences else images


def window_of(node: OnnxNode, kernel: Shape, size: Pair, axes: int) -> NodeWindow:
    """The window of a node for images of `size`; `axes`, one or two, is how many its attributes tell of.

    ShapeError or ArgumentError for attributes that are no sizes. With auto_pad the output is as large as the image, cut into strides.
    """
    kernel = _sizes("kernel_shape", kernel, axes, 1)
    strides = _sizes("strides", node.integers("strides") or (1,) * axes, axes, 1)
    dilations = _sizes("dilations", node.integers("dilations") or (1,) * axes, axes, 1)
    pads = node.integers("pads") or (0,) * (2 * axes)
    auto = node.text("auto_pad", "NOTSET")
    if auto not in ("NOTSET", "VALID", *SAME):
        raise ArgumentError(f"auto_pad must be NOTSET, VALID, SAME_UPPER or SAME_LOWER, got {auto}")
    if len(pads) != 2 * axes or not all(0 <= pad < LARGEST for pad in pads):
        raise ArgumentError(f"pads must be {2 * axes} sizes >= 0, got {shape_text(pads)}")
    padding = [(0, 0)] * (2 - axes)
    for axis in range(axes):
        own = (0, 0) if auto == "VALID" else (pads[axis], pads[axes + axis])
        if auto in SAME:
            extent = (kernel[axis] - 1) * dilations[axis] + 1
            image = size[2 - axes + axis]
            own = split(max((-(-image // strides[axis]) - 1) * strides[axis] + extent - image, 0), auto == "SAME_UPPER")
        padding.append(own)
    rows = (1,) * (2 - axes)
    return NodeWindow(
        _pair(rows + kernel),
        _pair(rows + strides),
        _pair(rows + dilations),
        (padding[0], padding[1]),
        bool(node.integer("ceil_mode")),
    )


def split(total: int, more_after: bool) -> Pair:
    """Padding in two halves; of an odd one the larger half comes after, or before."""
    small, large = total // 2, total - total // 2
    return (small, large) if more_after else (large, small)


def _sizes(name: str, sizes: Sequence[int], axes: int, least: int) -> Shape:
    if len(sizes) != axes or not all(least <= size < LARGEST for size in sizes):
        raise ArgumentError(f"{name} must be {axes} sizes >= {least}, got {shape_text(tuple(sizes))}")
    return tuple(sizes)


def _pair(sizes: Shape) -> Pair:
    return sizes[0], sizes[1]
