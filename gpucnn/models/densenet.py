"""DenseNet-40-12: each layer sees the maps of all layers before it, for images of 32x32.

Source: Huang et al., "Densely connected convolutional networks", CVPR 2017: 40 layers, growth rate 12, without
bottlenecks and compression, without dropout as on augmented CIFAR.
"""

from typing import Any

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.layers import AvgPool2d, BatchNorm2d, Conv2d, Layer, Linear, Sequential
from gpucnn.models.image_model import ImageModel

LAYERS_IN_A_BLOCK, GROWTH = 12, 12


class DenseLayer(Layer):
    """Batch norm, ReLU and a 3x3 convolution, whose maps join those that came in: (N, C, H, W) to (N, C + GROWTH, H, W)."""

    def __init__(self, in_channels: int) -> None:
        self.norm = BatchNorm2d(in_channels)
        self.conv = Conv2d(in_channels, GROWTH, 3, padding=1, bias=False)

    def forward(self, x: Any) -> Tensor:
        """Feature maps to those and GROWTH new ones."""
        return F.concatenate([x, self.conv(F.relu(self.norm(x)))], axis=1)


class Transition(Layer):
    """Batch norm, ReLU, a 1x1 convolution and 2x2 average pooling: (N, C, H, W) to (N, C, H // 2, W // 2)."""

    def __init__(self, channels: int) -> None:
        self.norm = BatchNorm2d(channels)
        self.conv = Conv2d(channels, channels, 1, bias=False)
        self.pool = AvgPool2d(2)

    def forward(self, x: Any) -> Tensor:
        """Feature maps to as many of half the size."""
        return self.pool(self.conv(F.relu(self.norm(x))))


class DenseNet40(ImageModel):
    """A 3x3 convolution, three blocks of 12 dense layers with transitions in between, global average pooling, classes.

    Takes (N, in_channels, H, W) of any size from 4x4, gives logits (N, num_classes).
    """

    least_size = 4

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, image_size: int = 32, seed: int | None = None
    ) -> None:
        super().__init__(image_size, seed)
        growth = LAYERS_IN_A_BLOCK * GROWTH
        self.conv = Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.block1 = _block(16)
        self.transition1 = Transition(16 + growth)
        self.block2 = _block(16 + growth)
        self.transition2 = Transition(16 + 2 * growth)
        self.block3 = _block(16 + 2 * growth)
        self.norm = BatchNorm2d(16 + 3 * growth)
        self.classifier = Linear(16 + 3 * growth, num_classes)

    def forward(self, x: Any) -> Tensor:
        """Images (N, in_channels, H, W) to logits (N, num_classes)."""
        x = self.transition1(self.block1(self.conv(x)))
        x = self.block3(self.transition2(self.block2(x)))
        return self.classifier(F.relu(self.norm(x)).mean(axis=(2, 3)))


def _block(in_channels: int) -> Sequential:
    return Sequential(*(DenseLayer(in_channels + index * GROWTH) for index in range(LAYERS_IN_A_BLOCK)))
