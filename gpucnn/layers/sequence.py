"""Convolution and max pooling of sequences (N, C, L) as layers."""

from typing import Any

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.checks import Shape, as_count, as_flag
from gpucnn.errors import ArgumentError
from gpucnn.functions.sequence import pool1d_window, sequence_window
from gpucnn.geometry import check_groups, conv1d_shape, pool1d_shape
from gpucnn.layers.initialization import initializer, zeros
from gpucnn.layers.layer import Layer
from gpucnn.layers.parameter import Initializer, Parameter


class Conv1d(Layer):
    """Convolution of sequences (N, in_channels, L) with learned filters: (N, out_channels, OL). See `F.conv1d`.

    - `weight`: (out_channels, in_channels / groups, K). `bias`: (out_channels,), zeros at the start; None if `bias=False`.
    - `initialize`: how the weight starts, by name or as a function, see `layers.initialization`.

    Raises ArgumentError for arguments out of range, ShapeError for input that does not fit.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int | str = 0,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        initialize: "str | Initializer" = "he_normal",
    ) -> None:
        self.in_channels = as_count(in_channels, "Conv1d: in_channels")
        self.out_channels = as_count(out_channels, "Conv1d: out_channels")
        self.kernel_size, self.stride, self.padding, self.dilation = kernel_size, stride, padding, dilation
        self.window = sequence_window("Conv1d", kernel_size, stride, padding, dilation)
        check_groups("Conv1d", groups, out_channels)
        if in_channels % groups:
            raise ArgumentError(
                f"Conv1d: groups must divide in_channels, got groups {groups} for {in_channels} channels"
            )
        self.groups = groups
        self.weight = Parameter((out_channels, in_channels // groups, kernel_size), initializer(initialize))
        self.bias = Parameter((out_channels,), zeros) if as_flag(bias, "Conv1d: bias") else None

    def forward(self, x: Any) -> Tensor:
        """Sequences (N, in_channels, L) to (N, out_channels, OL)."""
        return F.conv1d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        return conv1d_shape(self.label, input_shapes[0], self.weight.shape, self.window, self.groups)

    def multiply_adds(self, *input_shapes: Shape) -> int:
        batch, _, length = self.output_shape(*input_shapes)
        return batch * length * self.weight.size

    def describe(self) -> str:
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        return f"{text}, stride={self.stride}, padding={self.padding!r}"


class MaxPool1d(Layer):
    """The maximum of every window of sequences (N, C, L): (N, C, OL). Arguments are those of `F.max_pool1d`.

    Raises ArgumentError for arguments out of range, ShapeError for input that does not fit.
    """

    def __init__(
        self, kernel_size: int, stride: int | None = None, padding: int = 0, dilation: int = 1, ceil_mode: bool = False
    ) -> None:
        self.kernel_size, self.padding, self.dilation, self.ceil_mode = kernel_size, padding, dilation, ceil_mode
        self.stride = kernel_size if stride is None else stride
        self.window = pool1d_window("MaxPool1d", kernel_size, stride, padding, dilation, ceil_mode)

    def forward(self, x: Any) -> Tensor:
        """Sequences (N, C, L) to their windows' maxima (N, C, OL)."""
        return F.max_pool1d(x, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)

    def output_shape(self, *input_shapes: Shape) -> Shape:
        return pool1d_shape(self.label, input_shapes[0], self.window)

    def describe(self) -> str:
        return f"{self.kernel_size}, stride={self.stride}"
