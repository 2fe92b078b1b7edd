"""Airbench94, which learns CIFAR-10 in seconds on a large GPU, and the same with half the channels, for a CPU.

Source: Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv 2404.00498, 2024. What it is trained with is the
recipe "fast", see `gpucnn.runs.recipe`.
"""

from typing import Any

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.layers import BatchNorm2d, Conv2d, Layer, Linear, MaxPool2d
from gpucnn.models.image_model import ImageModel

SCALE = 1 / 9
"""Of the logits."""


class AirbenchBlock(Layer):
    """A 3x3 convolution, 2x2 max pooling and another convolution: (N, C, H, W) to (N, out_channels, H // 2, W // 2).

    Batch norm with a bias alone, and GELU, follow the pooling and the second convolution. Both convolutions begin by passing
    channels on.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        self.conv1 = Conv2d(in_channels, out_channels, 3, padding=1, bias=False, initialize="dirac")
        self.pool = MaxPool2d(2)
        self.norm1 = _norm(out_channels)
        self.conv2 = Conv2d(out_channels, out_channels, 3, padding=1, bias=False, initialize="dirac")
        self.norm2 = _norm(out_channels)

    def forward(self, x: Any) -> Tensor:
        """Feature maps to feature maps."""
        x = F.gelu(self.norm1(self.pool(self.conv1(x))))
        return F.gelu(self.norm2(self.conv2(x)))


class Airbench94(ImageModel):
    """A 2x2 convolution, three blocks of two 3x3 convolutions, the maximum of each map, and classes.

    Takes (N, in_channels, image_size, image_size), 32x32 by default; gives logits (N, num_classes). ArgumentError for images
    smaller than 9x9. `channels` are those of the blocks. The first convolution, `whiten`, has a filter and its opposite for each
    number of a patch, see `layers.whiten`: until that is called it begins at random.
    """

    least_size = 9
    channels: tuple[int, int, int] = (64, 256, 256)

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, image_size: int = 32, seed: int | None = None
    ) -> None:
        super().__init__(image_size, seed)
        first, second, third = self.channels
        self.whiten = Conv2d(in_channels, 8 * in_channels, 2)
        self.block1 = AirbenchBlock(8 * in_channels, first)
        self.block2 = AirbenchBlock(first, second)
        self.block3 = AirbenchBlock(second, third)
        self.pool = MaxPool2d((image_size - 1) // 8)
        self.fc = Linear(third, num_classes, bias=False)

    def forward(self, x: Any) -> Tensor:
        """Images (N, in_channels, image_size, image_size) to logits (N, num_classes)."""
        x = self.block3(self.block2(self.block1(F.gelu(self.whiten(x)))))
        return self.fc(F.flatten(self.pool(x))) * SCALE


class Airbench94Half(Airbench94):
    """The same with half the channels, which is about a quarter of the work."""

    channels = (32, 128, 128)


def _norm(channels: int) -> BatchNorm2d:
    """Statistics that hardly look back, as the training is short; without a scale, which the next convolution has."""
    return BatchNorm2d(channels, eps=1e-12, momentum=0.4, scale=False)
