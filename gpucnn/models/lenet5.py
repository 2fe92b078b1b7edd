"""LeNet-5, with the chapter's max pooling and ReLU.

Source: chapter 5, "LeNet-5 Architecture"; LeCun et al., "Gradient-based learning applied to document recognition", 1998.
"""

from typing import Any

from gpucnn.autograd import Tensor
from gpucnn.errors import ArgumentError
from gpucnn.geometry import check_images
from gpucnn.layers import Conv2d, Flatten, Linear, MaxPool2d
from gpucnn.layers.container import in_turn
from gpucnn.models.image_model import ImageModel


class LeNet5(ImageModel):
    """32x32 images -> 6 maps of 28x28 -> 14x14 -> 16 maps of 10x10 -> 5x5 -> 400 -> 120 -> 84 -> classes.

    Takes (N, in_channels, 32, 32), gives logits (N, num_classes). ArgumentError for another image size.
    """

    in_channels = 1
    least_size = 32

    def __init__(
        self, num_classes: int = 10, in_channels: int = 1, image_size: int = 32, seed: int | None = None
    ) -> None:
        if image_size != self.image_size:
            raise ArgumentError(
                f"LeNet5 takes images of 32x32, got image_size={image_size}; pad or resize the images to 32"
            )
        super().__init__(image_size, seed)
        self.conv1 = Conv2d(in_channels, 6, 5, activation="relu")
        self.pool1 = MaxPool2d(2)
        self.conv2 = Conv2d(6, 16, 5, activation="relu")
        self.pool2 = MaxPool2d(2)
        self.flatten = Flatten()
        self.fc1 = Linear(16 * 5 * 5, 120, activation="relu")
        self.fc2 = Linear(120, 84, activation="relu")
        self.output = Linear(84, num_classes)

    def forward(self, x: Any) -> Tensor:
        """Images (N, in_channels, 32, 32) to logits (N, num_classes). ShapeError for images of another size."""
        if x.shape[2:] != (32, 32):
            check_images(self.label, x.shape, self.conv1.in_channels, 32)
        x = in_turn(x, self.conv1, self.pool1, self.conv2, self.pool2)
        x = self.fc2(self.fc1(self.flatten(x)))
        return self.output(x)
