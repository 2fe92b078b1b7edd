"""Convolution layers."""

import math
from typing import Any

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.checks import IntOrPair, Shape, as_count, as_flag, as_kept, as_pair, check_activation
from gpucnn.errors import ArgumentError
from gpucnn.geometry import Padding, Window, as_groups, conv2d_shape, conv_transpose2d_shape
from gpucnn.layers.initialization import initializer, zeros
from gpucnn.layers.layer import Layer
from gpucnn.layers.parameter import Initializer, Parameter


class Conv2d(Layer):
    """Convolution of images (N, in_channels, H, W) with learned filters: (N, out_channels, OH, OW).

    - `kernel_size`, `stride`, `dilation`: an int or (height, width). `padding` (zeros): the same, or
      ((top, bottom), (left, right)), "same" or "valid", see `F.conv2d`.
    - `groups`: channels and filters are cut into so many parts that do not see each other.
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
        self.in_channels = as_count(in_channels, "Conv2d: in_channels")
        self.out_channels = as_count(out_channels, "Conv2d: out_channels")
        self.kernel_size, self.stride, self.padding = as_kept(kernel_size), as_kept(stride), as_kept(padding)
        self.dilation = as_kept(dilation)
        self.window = Window.of(kernel_size, stride, padding, dilation)
        groups = as_groups("Conv2d", groups, out_channels)
        if in_channels % groups:
            raise ArgumentError(
                f"Conv2d: groups must divide in_channels, got groups {groups} for {in_channels} channels"
            )
        self.groups, self.activation = groups, activation
        check_activation("Conv2d", activation)
        self.weight = Parameter((out_channels, in_channels // groups, *self.window.kernel), initializer(initialize))
        self.bias = Parameter((out_channels,), zeros) if as_flag(bias, "Conv2d: bias") else None

    def forward(self, x: Any, activation: str | None = None) -> Tensor:
        """Images (N, in_channels, H, W) to feature maps (N, out_channels, OH, OW)."""
        options = (self.stride, self.padding, self.dilation, self.groups, activation or self.activation)
        return F.conv2d(x, self.weight, self.bias, *options)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        return conv2d_shape(self.label, input_shapes[0], self.weight.shape, self.window, self.groups)

    def multiply_adds(self, *input_shapes: Shape) -> int:
        batch, _, rows, columns = self.output_shape(*input_shapes)
        return batch * rows * columns * self.weight.size

    def im2col_bytes(self, *input_shapes: Shape) -> int:
        batch, _, rows, columns = self.output_shape(*input_shapes)
        return batch * rows * columns * self.in_channels * math.prod(self.window.kernel) * self.weight.dtype.itemsize

    def describe(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        text = f"{text}, stride={self.stride}, padding={self.padding}"
        return text if self.activation is None else f"{text}, activation={self.activation!r}"


class ConvTranspose2d(Layer):
    """Transposed convolution of images (N, in_channels, H, W): (N, out_channels, OH, OW). See `F.conv_transpose2d`.

    - `weight`: (in_channels, out_channels / groups, KH, KW). `bias`: (out_channels,), zeros at the start; None if
      `bias=False`.
    - `initialize`: how the weight starts, by name or as a function, see `layers.initialization`.

    Raises ArgumentError for arguments out of range, ShapeError for input that does not fit.
    """

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
        self.in_channels = as_count(in_channels, "ConvTranspose2d: in_channels")
        self.out_channels = as_count(out_channels, "ConvTranspose2d: out_channels")
        self.kernel_size, self.stride, self.padding = as_kept(kernel_size), as_kept(stride), as_kept(padding)
        self.dilation, self.output_padding, self.groups = as_kept(dilation), as_kept(output_padding), groups
        self.window = Window.of(kernel_size, stride, as_pair(padding, "padding", 0), dilation)
        groups = as_groups("ConvTranspose2d", groups, in_channels)
        if out_channels % groups:
            raise ArgumentError(
                f"ConvTranspose2d: groups must divide out_channels, got groups {groups} for {out_channels} channels"
            )
        self.weight = Parameter((in_channels, out_channels // groups, *self.window.kernel), initializer(initialize))
        self.bias = Parameter((out_channels,), zeros) if as_flag(bias, "ConvTranspose2d: bias") else None

    def forward(self, x: Any) -> Tensor:
        """Images (N, in_channels, H, W) to (N, out_channels, OH, OW)."""
        options = (self.stride, self.padding, self.output_padding, self.groups, self.dilation)
        return F.conv_transpose2d(x, self.weight, self.bias, *options)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        weight_shape = self.weight.shape
        return conv_transpose2d_shape(
            self.label, input_shapes[0], weight_shape, self.window, self.output_padding, self.groups
        )

    def multiply_adds(self, *input_shapes: Shape) -> int:
        batch, _, rows, columns = input_shapes[0]
        return batch * rows * columns * self.weight.size

    def im2col_bytes(self, *input_shapes: Shape) -> int:
        batch, _, rows, columns = input_shapes[0]
        return batch * rows * columns * self.out_channels * math.prod(self.window.kernel) * self.weight.dtype.itemsize

    def describe(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        return f"{text}, stride={self.stride}, padding={self.padding}"


ConvLayer = Conv2d
"""The chapter's name for Conv2d."""
