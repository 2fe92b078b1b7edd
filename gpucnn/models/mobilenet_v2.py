"""MobileNetV2: inverted residuals, few parameters and multiplications.

Source: Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", CVPR 2018, table 2, with width 1.
Parameters are named as in torchvision's MobileNetV2, whose weights fit.
"""

from typing import Any

from gpucnn.autograd import Tensor
from gpucnn.layers import BatchNorm2d, Conv2d, Dropout, Layer, Linear, ReLU6, Sequential
from gpucnn.models.image_model import ImageModel

STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""The paper's (t, c, n, s): expansion, channels, blocks, stride of the first block."""


class InvertedResidual(Layer):
    """1x1 convolution to `expansion` times the channels, 3x3 channel by channel, 1x1 down to `out_channels`, without ReLU.

    (N, C, H, W) to (N, out_channels, H / stride, W / stride), added to what came in where the shape stays. With
    `expansion` 1 the first convolution is left out.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        width = in_channels * expansion
        self.keeps_shape = stride == 1 and in_channels == out_channels
        expand = [] if expansion == 1 else [_convolution(in_channels, width, 1)]
        depthwise = _convolution(width, width, 3, stride, groups=width)
        self.conv = Sequential(
            *expand, depthwise, Conv2d(width, out_channels, 1, bias=False), BatchNorm2d(out_channels)
        )

    def forward(self, x: Any) -> Tensor:
        """Feature maps to feature maps."""
        return self.conv(x, residual=x if self.keeps_shape else None)


class MobileNetV2(ImageModel):
    """A 3x3 convolution, 17 inverted residuals, a 1x1 convolution to 1280 channels, global average pooling, classes.

    Takes (N, in_channels, H, W) of any size, gives logits (N, num_classes).
    """

    image_size = 224

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, image_size: int = 224, seed: int | None = None
    ) -> None:
        super().__init__(image_size, seed)
        blocks: list[Layer] = []
        channels = 32
        for expansion, width, count, first_stride in STAGES:
            for index in range(count):
                blocks.append(InvertedResidual(channels, width, 1 if index else first_stride, expansion))
                channels = width
        self.features = Sequential(_convolution(in_channels, 32, 3, stride=2), *blocks, _convolution(channels, 1280, 1))
        self.classifier = Sequential(Dropout(0.2), Linear(1280, num_classes))

    def forward(self, x: Any) -> Tensor:
        """Images (N, in_channels, H, W) to logits (N, num_classes)."""
        return self.classifier(self.features(x).mean(axis=(2, 3)))


def _convolution(in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, groups: int = 1) -> Sequential:
    """A convolution with batch norm and ReLU6."""
    padding = kernel_size // 2
    convolution = Conv2d(in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False)
    return Sequential(convolution, BatchNorm2d(out_channels), ReLU6())
