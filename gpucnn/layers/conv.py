"""Convolution layers: of images, transposed, and depthwise separable."""

import math
from typing import Any

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.checks import IntOrPair, Shape, as_count, as_flag, as_kept, as_pair, check_activation
from gpucnn.errors import ArgumentError
from gpucnn.functions.pooled_conv import conv2d_max_pool2d, pooled_convolution
from gpucnn.geometry import Padding, Window, as_groups, conv2d_shape, conv_transpose2d_shape
from gpucnn.kernels.convolution import PooledConvolution
from gpucnn.layers.initialization import initializer, zeros
from gpucnn.layers.layer import Layer
from gpucnn.layers.parameter import Initializer, Parameter


class WindowedLayer(Layer):
    """What convolutions share: channels in groups, and a weight and a bias that slide over the input with a window."""

    transposed = False
    """Whether the weight is (in_channels, out_channels / groups, ...), and not the other way round."""
    axes = 2

    kernel_size: Any
    stride: Any
    padding: Any

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        window: Window,
        groups: int,
        bias: bool,
        initialize: "str | Initializer",
    ) -> None:
        kind = type(self).__name__
        self.in_channels = as_count(in_channels, f"{kind}: in_channels")
        self.out_channels = as_count(out_channels, f"{kind}: out_channels")
        first, parted = (in_channels, "out") if self.transposed else (out_channels, "in")
        channels = out_channels if self.transposed else in_channels
        self.window, self.groups = window, as_groups(kind, groups, first)
        if channels % self.groups:
            raise ArgumentError(
                f"{kind}: groups must divide {parted}_channels, got groups {self.groups} for {channels} channels"
            )
        kernel = window.kernel[2 - self.axes :]
        self.weight = Parameter((first, channels // self.groups, *kernel), initializer(initialize))
        self.bias = Parameter((out_channels,), zeros) if as_flag(bias, f"{kind}: bias") else None

    def multiply_adds(self, *input_shapes: Shape) -> int:
        return self._positions(input_shapes) * self.weight.size

    def im2col_bytes(self, *input_shapes: Shape) -> int:
        channels = self.out_channels if self.transposed else self.in_channels
        column = channels * math.prod(self.window.kernel)
        return self._positions(input_shapes) * column * self.weight.dtype.itemsize

    def _positions(self, input_shapes: tuple[Shape, ...]) -> int:
        """How often the filters are laid on the input, or, where it is transposed, on the output."""
        batch, _, *sizes = input_shapes[0] if self.transposed else self.output_shape(*input_shapes)
        return batch * math.prod(sizes)

    def describe(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        text = f"{text}, stride={self.stride}, padding={self.padding!r}"
        steps = self.window.dilation[2 - self.axes :]
        dilation = steps[0] if len(set(steps)) == 1 else steps
        told = {"dilation": (dilation, 1), "groups": (self.groups, 1), "bias": (self.bias is not None, True)}
        return text + "".join(f", {name}={value}" for name, (value, usual) in told.items() if value != usual)


class Conv2d(WindowedLayer):
    """Convolution of images (N, in_channels, H, W) with learned filters: (N, out_channels, OH, OW).

    - `kernel_size`, `stride`, `dilation`: an int or (height, width). `padding` (zeros): the same, or
      ((top, bottom), (left, right)), "same" or "valid", see `F.conv2d`.
    - `groups`: channels and filters are cut into that number of groups, which do not see each other.
    - `weight`: (out_channels, in_channels / groups, KH, KW). `bias`: (out_channels,), zeros at the start; None if
      `bias=False`.
    - `activation`: None, or "relu", which then costs no pass of its own.
    - `initialize`: how the weight starts, by name or as a function, see `layers.initialization`.

    Raises ArgumentError for arguments out of range, ShapeError for input that does not fit.
    Source: chapter 5, "Complete CNN Implementation", where it is called ConvLayer.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair = 1,
        padding: Padding = 0,
        dilation: IntOrPair = 1,
        groups: int = 1,
        bias: bool = True,
        activation: str | None = None,
        initialize: "str | Initializer" = "he_normal",
    ) -> None:
        self.kernel_size, self.stride, self.padding = as_kept(kernel_size), as_kept(stride), as_kept(padding)
        self.dilation, self.activation = as_kept(dilation), activation
        check_activation("Conv2d", activation)
        window = Window.of(kernel_size, stride, padding, dilation)
        super().__init__(in_channels, out_channels, window, groups, bias, initialize)

    def forward(self, x: Any, activation: str | None = None, pooled: PooledConvolution | None = None) -> Tensor:
        """Images (N, in_channels, H, W) to feature maps (N, out_channels, OH, OW).

        `in_turn` gives `activation`, and `pooled`, which `pooled_with` has found: then the maps are pooled, too.
        """
        if pooled is not None:
            return conv2d_max_pool2d(pooled, x, self.weight, self.bias)
        options = (self.stride, self.padding, self.dilation, self.groups, activation or self.activation)
        return F.conv2d(x, self.weight, self.bias, *options)

    def pooled_with(self, pooling: Window, x: Tensor, activation: str | None) -> PooledConvolution | None:
        """How to convolve `x` and pool what comes out in one launch; None where that does not pay, or cannot be."""
        relu = (activation or self.activation) == "relu"
        return pooled_convolution(x, self.weight, self.window, self.groups, relu, pooling)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        return conv2d_shape(self.label, input_shapes[0], self.weight.shape, self.window, self.groups)

    def describe(self) -> str:
        text = super().describe()
        return text if self.activation is None else f"{text}, activation={self.activation!r}"


class ConvTranspose2d(WindowedLayer):
    """Transposed convolution of images (N, in_channels, H, W): (N, out_channels, OH, OW). See `F.conv_transpose2d`.

    - `weight`: (in_channels, out_channels / groups, KH, KW). `bias`: (out_channels,), zeros at the start; None if
      `bias=False`.
    - `initialize`: how the weight starts, by name or as a function, see `layers.initialization`.

    Raises ArgumentError for arguments out of range, ShapeError for input that does not fit.
    """

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair = 1,
        padding: IntOrPair = 0,
        output_padding: IntOrPair = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: IntOrPair = 1,
        initialize: "str | Initializer" = "he_normal",
    ) -> None:
        self.kernel_size, self.stride, self.padding = as_kept(kernel_size), as_kept(stride), as_kept(padding)
        self.dilation, self.output_padding = as_kept(dilation), as_kept(output_padding)
        window = Window.of(kernel_size, stride, as_pair(padding, "padding", 0), dilation)
        super().__init__(in_channels, out_channels, window, groups, bias, initialize)

    def forward(self, x: Any) -> Tensor:
        """Images (N, in_channels, H, W) to (N, out_channels, OH, OW)."""
        options = (self.stride, self.padding, self.output_padding, self.groups, self.dilation)
        return F.conv_transpose2d(x, self.weight, self.bias, *options)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        weight_shape = self.weight.shape
        return conv_transpose2d_shape(
            self.label, input_shapes[0], weight_shape, self.window, self.output_padding, self.groups
        )


class SeparableConv2d(Layer):
    """A convolution within each channel, then one of 1x1 across channels: (N, in_channels, H, W) to (N, out_channels, OH, OW).

    - `kernel_size`, `stride`, `padding`, `dilation`: those of the first, see `Conv2d`.
    - `depth_multiplier`: how many maps the first makes of each channel.
    - `bias`: whether the second has one; the first has none, as nothing lies between them.

    Their paths are "depthwise" and "pointwise". Raises ArgumentError for arguments out of range, ShapeError for input that
    does not fit. Source: Chollet, "Xception: deep learning with depthwise separable convolutions", CVPR 2017; Keras calls it
    SeparableConv2D.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: IntOrPair,
        stride: IntOrPair = 1,
        padding: Padding = 0,
        dilation: IntOrPair = 1,
        depth_multiplier: int = 1,
        bias: bool = True,
    ) -> None:
        maps = as_count(in_channels, "SeparableConv2d: in_channels") * as_count(
            depth_multiplier, "SeparableConv2d: depth_multiplier"
        )
        as_count(out_channels, "SeparableConv2d: out_channels")
        self.depthwise = Conv2d(in_channels, maps, kernel_size, stride, padding, dilation, in_channels, bias=False)
        self.pointwise = Conv2d(maps, out_channels, 1, bias=bias)

    def forward(self, x: Any) -> Tensor:
        """Images (N, in_channels, H, W) to feature maps (N, out_channels, OH, OW)."""
        return self.pointwise(self.depthwise(x))


ConvLayer = Conv2d
"""The chapter's name for Conv2d."""
