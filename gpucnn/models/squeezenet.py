"""SqueezeNet 1.1: AlexNet's accuracy with a fiftieth of its parameters.

Source: Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters", arXiv:1602.07360, in version 1.1
of its authors' repository, which needs 2.4 times fewer multiplications. Parameters are named as in torchvision's
squeezenet1_1, whose weights fit.
"""

from typing import Any

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.layers import Conv2d, Dropout, Layer, MaxPool2d, ReLU, Sequential
from gpucnn.models.image_model import ImageModel


class Fire(Layer):
    """A 1x1 convolution to few channels; 1x1 and 3x3 convolutions of those, side by side; ReLU after each.

    (N, in_channels, H, W) to (N, 2 * expanded, H, W).
    """

    def __init__(self, in_channels: int, squeezed: int, expanded: int) -> None:
        self.squeeze = Conv2d(in_channels, squeezed, 1, activation="relu")
        self.expand1x1 = Conv2d(squeezed, expanded, 1, activation="relu")
        self.expand3x3 = Conv2d(squeezed, expanded, 3, padding=1, activation="relu")

    def forward(self, x: Any) -> Tensor:
        """Feature maps to feature maps."""
        x = self.squeeze(x)
        return F.concatenate([self.expand1x1(x), self.expand3x3(x)], axis=1)


class SqueezeNet(ImageModel):
    """A 3x3 convolution, eight fire modules with three max poolings, a 1x1 convolution to a map for each class.

    Takes (N, in_channels, H, W) of any size from 17x17, gives logits (N, num_classes), the means of the maps after a
    ReLU, as in the paper.
    """

    image_size = 224
    least_size = 17

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, image_size: int = 224, seed: int | None = None
    ) -> None:
        super().__init__(image_size, seed)
        self.features = Sequential(
            *(Conv2d(in_channels, 64, 3, stride=2), ReLU(), _pool()),
            *(Fire(64, 16, 64), Fire(128, 16, 64), _pool()),
            *(Fire(128, 32, 128), Fire(256, 32, 128), _pool()),
            *(Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)),
        )
        self.classifier = Sequential(Dropout(0.5), Conv2d(512, num_classes, 1), ReLU())

    def forward(self, x: Any) -> Tensor:
        """Images (N, in_channels, H, W) to logits (N, num_classes)."""
        return self.classifier(self.features(x)).mean(axis=(2, 3))


def _pool() -> MaxPool2d:
    return MaxPool2d(3, stride=2, ceil_mode=True)
