"""Convolution and pooling of sequences (N, C, L) as layers."""

from typing import Any

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.checks import Shape, as_kept
from gpucnn.functions.sequence import Ends, Size, adaptive1d_shape, adaptive_length, pool1d_window, sequence_window
from gpucnn.geometry import conv1d_shape, pool1d_shape
from gpucnn.layers.conv import WindowedLayer
from gpucnn.layers.parameter import Initializer
from gpucnn.layers.pooling import AdaptivePool, Pool


class Conv1d(WindowedLayer):
    """Convolution of sequences (N, in_channels, L) with learned filters: (N, out_channels, OL). See `F.conv1d`.

    - `weight`: (out_channels, in_channels / groups, K). `bias`: (out_channels,), zeros at the start; None if `bias=False`.
    - `initialize`: how the weight starts, by name or as a function, see `layers.initialization`.

    Raises ArgumentError for arguments out of range, ShapeError for input that does not fit.
    """

    axes = 1

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Size,
        stride: Size = 1,
        padding: Ends = 0,
        dilation: Size = 1,
        groups: int = 1,
        bias: bool = True,
        initialize: "str | Initializer" = "he_normal",
    ) -> None:
        self.kernel_size, self.stride, self.padding = as_kept(kernel_size), as_kept(stride), as_kept(padding)
        self.dilation = as_kept(dilation)
        window = sequence_window("Conv1d", kernel_size, stride, padding, dilation)
        super().__init__(in_channels, out_channels, window, groups, bias, initialize)

    def forward(self, x: Any) -> Tensor:
        """Sequences (N, in_channels, L) to (N, out_channels, OL)."""
        return F.conv1d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        return conv1d_shape(self.label, input_shapes[0], self.weight.shape, self.window, self.groups)


class _Pool1d(Pool):
    """What pooling layers of sequences (N, C, L) share."""

    window_of = staticmethod(pool1d_window)
    shape_of = staticmethod(pool1d_shape)


class MaxPool1d(_Pool1d):
    """The maximum of every window of sequences (N, C, L): (N, C, OL). Arguments are those of `F.max_pool1d`.

    Raises ArgumentError for arguments out of range, ShapeError for input that does not fit.
    """

    def forward(self, x: Any) -> Tensor:
        """Sequences (N, C, L) to their windows' maxima (N, C, OL)."""
        maxima: Tensor = F.max_pool1d(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        return maxima


class AvgPool1d(_Pool1d):
    """The mean of every window of sequences (N, C, L): (N, C, OL). Arguments are those of `F.avg_pool1d`.

    Raises ArgumentError for arguments out of range, ShapeError for input that does not fit.
    """

    def __init__(
        self,
        kernel_size: Size,
        stride: Size | None = None,
        padding: Ends = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__(kernel_size, stride, padding, 1, ceil_mode)
        self.count_include_pad = count_include_pad

    def forward(self, x: Any) -> Tensor:
        """Sequences (N, C, L) to their windows' means (N, C, OL)."""
        return F.avg_pool1d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class _AdaptivePool1d(AdaptivePool):
    """What adaptive pooling layers of sequences (N, C, L) share; a size of None keeps the length."""

    size_of = staticmethod(adaptive_length)
    shape_of = staticmethod(adaptive1d_shape)

    def describe(self) -> str:
        return str(self.output_size or "L")


class AdaptiveAvgPool1d(_AdaptivePool1d):
    """`F.adaptive_avg_pool1d`: sequences (N, C, L) of any length to (N, C, output_size)."""

    def forward(self, x: Any) -> Tensor:
        """Sequences (N, C, L) to the means of cells (N, C, OL)."""
        return F.adaptive_avg_pool1d(x, self.output_size)


class AdaptiveMaxPool1d(_AdaptivePool1d):
    """`F.adaptive_max_pool1d`: sequences (N, C, L) of any length to (N, C, output_size)."""

    def forward(self, x: Any) -> Tensor:
        """Sequences (N, C, L) to the maxima of cells (N, C, OL)."""
        maxima: Tensor = F.adaptive_max_pool1d(x, self.output_size)
        return maxima
