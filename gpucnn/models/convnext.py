"""ConvNeXt-Tiny: a convolutional network with the habits of vision transformers.

Source: Liu et al., "A ConvNet for the 2020s", CVPR 2022. Parameters are named as in torchvision's convnext_tiny, whose
weights fit.
"""

from typing import Any

import numpy as np

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.checks import Shape
from gpucnn.geometry import check_images
from gpucnn.layers import GELU, Conv2d, Flatten, Layer, LayerNorm, Linear, Parameter, Sequential, StochasticDepth
from gpucnn.layers.initialization import truncated_normal
from gpucnn.models.image_model import ImageModel

WIDTHS = 96, 192, 384, 768
BLOCKS = 3, 3, 9, 3
LARGEST_DROP = 0.1
"""The probability with which training skips the last block; it grows from 0 at the first."""
FIRST_SCALE = 1e-6
EPS = 1e-6


class ChannelNorm(LayerNorm):
    """Layer norm of every pixel over its channels: images (N, channels, H, W) to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, EPS)

    def forward(self, x: Any) -> Tensor:
        """Images (N, channels, H, W) to images of the same shape."""
        return F.transpose(super().forward(F.transpose(x, (0, 2, 3, 1))), (0, 3, 1, 2))

    def output_shape(self, *input_shapes: Shape) -> Shape:
        shape, (channels,) = input_shapes[0], self.normalized_shape
        check_images(self.label, shape, channels)
        return shape


class PixelRows(Layer):
    """Images (N, C, H, W) to a row (C,) for every pixel, (N * H * W, C): so linear layers work on pixels."""

    def forward(self, x: Any) -> Tensor:
        """Images (N, C, H, W) to rows (N * H * W, C)."""
        return F.reshape(F.transpose(x, (0, 2, 3, 1)), self.output_shape(x.shape))

    def output_shape(self, *input_shapes: Shape) -> Shape:
        batch, channels, height, width = input_shapes[0]
        return batch * height * width, channels


class CNBlock(Layer):
    """7x7 convolution channel by channel, layer norm, two linear layers on every pixel, added to what came in.

    (N, channels, H, W) to the same shape. What is added is multiplied by `layer_scale`, which starts at 1e-6, so that a
    new network is nearly one without blocks; training skips it for a sample with probability `drop`.
    """

    def __init__(self, channels: int, drop: float) -> None:
        self.layer_scale = Parameter((channels, 1, 1), _first_scale)
        self.block = Sequential(
            Conv2d(channels, channels, 7, padding=3, groups=channels),
            PixelRows(),
            LayerNorm(channels, EPS),
            Linear(channels, 4 * channels),
            GELU(),
            Linear(4 * channels, channels),
        )
        self.stochastic_depth = StochasticDepth(drop)

    def forward(self, x: Any) -> Tensor:
        """Feature maps to feature maps."""
        batch, channels, height, width = x.shape
        rows = F.reshape(self.block(x), (batch, height, width, channels))
        result: Tensor = self.stochastic_depth(self.layer_scale * F.transpose(rows, (0, 3, 1, 2))) + x
        return result


class ConvNeXtTiny(ImageModel):
    """A 4x4 convolution of stride 4, stages of 3, 3, 9 and 3 blocks with 96 to 768 channels, global average, classes.

    Takes (N, in_channels, H, W) of any size from 32x32, gives logits (N, num_classes). Weights start as in the paper, from a
    truncated normal distribution of standard deviation 0.02.
    """

    image_size = 224
    least_size = 32

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, image_size: int = 224, seed: int | None = None
    ) -> None:
        super().__init__(image_size, seed)
        parts: list[Layer] = [Sequential(Conv2d(in_channels, WIDTHS[0], 4, stride=4), ChannelNorm(WIDTHS[0]))]
        drops = iter(np.linspace(0, LARGEST_DROP, sum(BLOCKS)).tolist())
        for index, (width, blocks) in enumerate(zip(WIDTHS, BLOCKS, strict=True)):
            if index:
                before = WIDTHS[index - 1]
                parts.append(Sequential(ChannelNorm(before), Conv2d(before, width, 2, stride=2)))
            parts.append(Sequential(*(CNBlock(width, next(drops)) for _ in range(blocks))))
        self.features = Sequential(*parts)
        self.classifier = Sequential(ChannelNorm(WIDTHS[-1]), Flatten(), Linear(WIDTHS[-1], num_classes))
        for _, layer in self.named_layers():
            if isinstance(layer, Conv2d | Linear):
                layer.weight = Parameter(layer.weight.shape, truncated_normal)

    def forward(self, x: Any) -> Tensor:
        """Images (N, in_channels, H, W) to logits (N, num_classes)."""
        return self.classifier(self.features(x).mean(axis=(2, 3), keepdims=True))


def _first_scale(generator: "np.random.Generator", shape: Shape) -> np.ndarray:
    return np.full(shape, FIRST_SCALE)
