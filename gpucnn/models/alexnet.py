"""AlexNet for images of 32x32: its five convolutions, and one linear layer in place of its three.

Source: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", arXiv:1404.5997, whose widths and
kernels torchvision's AlexNet has, too; the form for CIFAR is that of github.com/bearpaw/pytorch-classification, with
2.47 million parameters.
"""

from typing import Any

from gpucnn.autograd import Tensor
from gpucnn.layers import Conv2d, Flatten, Linear, MaxPool2d, ReLU, Sequential
from gpucnn.models.image_model import ImageModel


class AlexNet(ImageModel):
    """conv64 11x11/4 - pool - conv192 5x5 - pool - conv384 - conv256 - conv256 - pool - classes, ReLU after the convolutions.

    Takes (N, in_channels, image_size, image_size), gives logits (N, num_classes). ArgumentError for images smaller than
    29x29. The convolutions are named as in torchvision's AlexNet, whose weights fit them.
    """

    least_size = 29

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, image_size: int = 32, seed: int | None = None
    ) -> None:
        super().__init__(image_size, seed)
        size = (image_size + 3) // 4 // 8
        self.features = Sequential(
            *(Conv2d(in_channels, 64, 11, stride=4, padding=5), ReLU(), MaxPool2d(2)),
            *(Conv2d(64, 192, 5, padding=2), ReLU(), MaxPool2d(2)),
            *(Conv2d(192, 384, 3, padding=1), ReLU()),
            *(Conv2d(384, 256, 3, padding=1), ReLU()),
            *(Conv2d(256, 256, 3, padding=1), ReLU(), MaxPool2d(2)),
        )
        self.flatten = Flatten()
        self.classifier = Linear(256 * size * size, num_classes)

    def forward(self, x: Any) -> Tensor:
        """Images (N, in_channels, image_size, image_size) to logits (N, num_classes)."""
        return self.classifier(self.flatten(self.features(x)))
