"""Pooling layers."""

from typing import Any

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.checks import IntOrPair, Shape, as_pair, shape_text
from gpucnn.errors import ShapeError
from gpucnn.functions.pooling import pooling_window
from gpucnn.geometry import pool2d_shape
from gpucnn.layers.layer import Layer


class _Pool2d(Layer):
    """What pooling layers share: a window that slides over images (N, C, H, W)."""

    def __init__(
        self, kernel_size: IntOrPair, stride: IntOrPair | None, padding: IntOrPair, dilation: IntOrPair, ceil_mode: bool
    ) -> None:
        self.kernel_size, self.padding, self.dilation, self.ceil_mode = kernel_size, padding, dilation, ceil_mode
        self.stride = kernel_size if stride is None else stride
        self.window = pooling_window(type(self).__name__, kernel_size, stride, padding, dilation, ceil_mode)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        return pool2d_shape(self.label, input_shapes[0], self.window)

    def describe(self) -> str:
        return f"{self.kernel_size}, stride={self.stride}"


class MaxPool2d(_Pool2d):
    """The maximum of every window of images (N, C, H, W): (N, C, OH, OW). Arguments are those of `F.max_pool2d`.

    Raises ArgumentError for arguments out of range, ShapeError for input that does not fit.
    """

    def __init__(
        self,
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        padding: IntOrPair = 0,
        dilation: IntOrPair = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, dilation, ceil_mode)

    def forward(self, x: Any) -> Tensor:
        """Images (N, C, H, W) to their windows' maxima (N, C, OH, OW)."""
        maxima: Tensor = F.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        return maxima


class MaxPoolLayer(MaxPool2d):
    """The chapter's name for MaxPool2d, with the chapter's arguments."""

    def __init__(self, pool_size: IntOrPair = 2, stride: IntOrPair = 2) -> None:
        super().__init__(pool_size, stride)


class AvgPool2d(_Pool2d):
    """The mean of every window of images (N, C, H, W): (N, C, OH, OW). Arguments are those of `F.avg_pool2d`.

    Raises ArgumentError for arguments out of range, ShapeError for input that does not fit.
    """

    def __init__(
        self,
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        padding: IntOrPair = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, 1, ceil_mode)
        self.count_include_pad = count_include_pad

    def forward(self, x: Any) -> Tensor:
        """Images (N, C, H, W) to their windows' means (N, C, OH, OW)."""
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class _AdaptivePool2d(Layer):
    """What adaptive pooling layers share: a fixed output size for images of any."""

    def __init__(self, output_size: IntOrPair) -> None:
        self.output_size = as_pair(output_size, f"{type(self).__name__}: output_size", 1)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        shape = input_shapes[0]
        if len(shape) != 4 or 0 in shape[2:]:
            raise ShapeError(f"{self.label}: expected images (N, C, H, W), at least 1x1, got {shape_text(shape)}")
        return (*shape[:2], *self.output_size)

    def describe(self) -> str:
        return f"{self.output_size[0]}x{self.output_size[1]}"


class AdaptiveAvgPool2d(_AdaptivePool2d):
    """`F.adaptive_avg_pool2d`: images (N, C, H, W) of any size to (N, C, *output_size). With 1, global average pooling."""

    def forward(self, x: Any) -> Tensor:
        """Images (N, C, H, W) to the means of cells (N, C, OH, OW)."""
        return F.adaptive_avg_pool2d(x, self.output_size)


class AdaptiveMaxPool2d(_AdaptivePool2d):
    """`F.adaptive_max_pool2d`: images (N, C, H, W) of any size to (N, C, *output_size)."""

    def forward(self, x: Any) -> Tensor:
        """Images (N, C, H, W) to the maxima of cells (N, C, OH, OW)."""
        return F.adaptive_max_pool2d(x, self.output_size)
