"""Depthwise separable convolution."""

from typing import Any

from gpucnn.autograd import Tensor
from gpucnn.checks import IntOrPair, as_count
from gpucnn.geometry import Padding
from gpucnn.layers.conv import Conv2d
from gpucnn.layers.layer import Layer


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
