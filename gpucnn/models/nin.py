"""Network in network: convolutions that are followed by 1x1 convolutions, and a global average in place of a classifier.

Source: Lin, Chen and Yan, "Network in network", ICLR 2014, and its authors' Caffe model for CIFAR-10.
"""

from typing import Any

from gpucnn.autograd import Tensor
from gpucnn.layers import AvgPool2d, Conv2d, Dropout, Layer, MaxPool2d, ReLU, Sequential
from gpucnn.models.image_model import ImageModel


class NiN(ImageModel):
    """Three blocks of a convolution and two of 1x1, with pooling and dropout in between; the last has a map for each class.

    Takes (N, in_channels, H, W) of any size from 4x4, gives logits (N, num_classes), the means of the maps. The authors'
    model has a ReLU on these maps, too; here logits may be negative, so that no class can go silent for good.
    """

    least_size = 4

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, image_size: int = 32, seed: int | None = None
    ) -> None:
        super().__init__(image_size, seed)
        # Caffe rounds the sizes of pooled images up.
        self.features = Sequential(
            *_convolutions(in_channels, 5, 192, 160, 96), ReLU(), MaxPool2d(3, stride=2, ceil_mode=True), Dropout(0.5),
            *_convolutions(96, 5, 192, 192, 192), ReLU(), AvgPool2d(3, stride=2, ceil_mode=True), Dropout(0.5),
            *_convolutions(192, 3, 192, 192, num_classes),
        )  # fmt: skip

    def forward(self, x: Any) -> Tensor:
        """Images (N, in_channels, H, W) to logits (N, num_classes)."""
        return self.features(x).mean(axis=(2, 3))


def _convolutions(in_channels: int, kernel_size: int, first: int, second: int, third: int) -> tuple[Layer, ...]:
    """A convolution that keeps the image's size, and two that look at one pixel each, with ReLU in between."""
    spatial = Conv2d(in_channels, first, kernel_size, padding=kernel_size // 2)
    return spatial, ReLU(), Conv2d(first, second, 1), ReLU(), Conv2d(second, third, 1)
