"""VGG-mini: four convolutions with batch norm for images of 32x32, small enough to train on a laptop."""

from typing import Any

from gpucnn.autograd import Tensor
from gpucnn.layers import BatchNorm1d, BatchNorm2d, Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU, Sequential
from gpucnn.models.image_model import ImageModel


class VGGMini(ImageModel):
    """conv32-conv32-pool-conv64-conv64-pool-fc128-classes, batch norm and ReLU after all but the last.

    Takes (N, in_channels, image_size, image_size), 32x32 by default; gives logits (N, num_classes). ArgumentError for images
    smaller than 4x4. In the manner of Simonyan and Zisserman, "Very deep convolutional networks", ICLR 2015.
    """

    least_size = 4

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, image_size: int = 32, seed: int | None = None
    ) -> None:
        super().__init__(image_size, seed)
        size = image_size // 4
        self.features = Sequential(
            *_block(in_channels, 32), *_block(32, 32), MaxPool2d(2), *_block(32, 64), *_block(64, 64), MaxPool2d(2)
        )
        hidden = (Linear(64 * size * size, 128, bias=False), BatchNorm1d(128), ReLU())
        self.classifier = Sequential(Flatten(), *hidden, Linear(128, num_classes))

    def forward(self, x: Any) -> Tensor:
        """Images (N, in_channels, image_size, image_size) to logits (N, num_classes)."""
        return self.classifier(self.features(x))


def _block(in_channels: int, out_channels: int) -> tuple[Layer, ...]:
    """A 3x3 convolution, whose bias the batch norm that follows would take away."""
    return Conv2d(in_channels, out_channels, 3, padding=1, bias=False), BatchNorm2d(out_channels), ReLU()
