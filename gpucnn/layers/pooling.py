"""Pooling layers."""

from collections.abc import Callable
from typing import Any

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.checks import IntOrPair, Shape, as_kept
from gpucnn.functions.pooling import AdaptiveSize, adaptive_shape, adaptive_size, pooling_window
from gpucnn.geometry import Padding, Window, pool2d_shape
from gpucnn.layers.layer import Layer


class Pool(Layer):
    """What pooling layers share: a window that slides over images (N, C, H, W), or over sequences (N, C, L)."""

    window_of: Callable[..., Window] = staticmethod(pooling_window)
    shape_of: Callable[[str, Shape, Window], Shape] = staticmethod(pool2d_shape)

    def __init__(
        self,
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        padding: Padding = 0,
        dilation: IntOrPair = 1,
        ceil_mode: bool = False,
    ) -> None:
        self.kernel_size, self.padding, self.dilation = map(as_kept, (kernel_size, padding, dilation))
        self.stride, self.ceil_mode = self.kernel_size if stride is None else as_kept(stride), ceil_mode
        self.window = self.window_of(type(self).__name__, kernel_size, stride, padding, dilation, ceil_mode)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        return self.shape_of(self.label, input_shapes[0], self.window)

    def describe(self) -> str:
        return f"{self.kernel_size}, stride={self.stride}"


class MaxPool2d(Pool):
    """The maximum of every window of images (N, C, H, W): (N, C, OH, OW). Arguments are those of `F.max_pool2d`.

    Raises ArgumentError for arguments out of range, ShapeError for input that does not fit.
    """

    def forward(self, x: Any) -> Tensor:
        """Images (N, C, H, W) to their windows' maxima (N, C, OH, OW)."""
        maxima: Tensor = F.max_pool2d(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        return maxima


class MaxPoolLayer(MaxPool2d):
    """The chapter's name for MaxPool2d, with the chapter's arguments."""

    def __init__(self, pool_size: IntOrPair = 2, stride: IntOrPair = 2) -> None:
        super().__init__(pool_size, stride)


class AvgPool2d(Pool):
    """The mean of every window of images (N, C, H, W): (N, C, OH, OW). Arguments are those of `F.avg_pool2d`.

    Raises ArgumentError for arguments out of range, ShapeError for input that does not fit.
    """

    def __init__(
        self,
        kernel_size: IntOrPair,
        stride: IntOrPair | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, 1, ceil_mode)
        self.count_include_pad, self.divisor_override = count_include_pad, divisor_override

    def forward(self, x: Any) -> Tensor:
        """Images (N, C, H, W) to their windows' means (N, C, OH, OW)."""
        options = (self.ceil_mode, self.count_include_pad, self.divisor_override)
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, *options)


class AdaptivePool(Layer):
    """What adaptive pooling layers share: a fixed output size for images, or sequences, of any."""

    size_of: Callable[..., Any] = staticmethod(adaptive_size)
    shape_of: Callable[..., Shape] = staticmethod(adaptive_shape)

    def __init__(self, output_size: AdaptiveSize) -> None:
        self.output_size = self.size_of(type(self).__name__, output_size)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        return self.shape_of(self.label, input_shapes[0], self.output_size)

    def describe(self) -> str:
        return f"{self.output_size[0] or 'H'}x{self.output_size[1] or 'W'}"


class AdaptiveAvgPool2d(AdaptivePool):
    """`F.adaptive_avg_pool2d`: images (N, C, H, W) of any size to (N, C, *output_size). With 1, global average pooling.

    `output_size` is an int or (height, width), of which None keeps the images' size. Raises ArgumentError for another,
    ShapeError for input that is not images.
    """

    def forward(self, x: Any) -> Tensor:
        """Images (N, C, H, W) to the means of cells (N, C, OH, OW)."""
        return F.adaptive_avg_pool2d(x, self.output_size)


class AdaptiveMaxPool2d(AdaptivePool):
    """`F.adaptive_max_pool2d`: images (N, C, H, W) of any size to (N, C, *output_size), as for AdaptiveAvgPool2d."""

    def forward(self, x: Any) -> Tensor:
        """Images (N, C, H, W) to the maxima of cells (N, C, OH, OW)."""
        maxima: Tensor = F.adaptive_max_pool2d(x, self.output_size)
        return maxima
