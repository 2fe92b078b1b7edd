"""The chapter's two SimpleCNN listings.

The first declares its first dense layer for 8*26*26 inputs, but pools before it: the right number is 8*13*13 = 1352.
"""

from typing import Any

from gpucnn.autograd import Tensor
from gpucnn.layers import ConvLayer, Flatten, Layer, Linear, MaxPoolLayer
from gpucnn.models.image_model import ImageModel


class SimpleCNN(ImageModel):
    """Convolution with 8 filters of 3x3, ReLU, 2x2 max pooling, 128 hidden units, classes.

    Takes (N, in_channels, image_size, image_size), 28x28 in the chapter; gives logits (N, num_classes). ArgumentError
    for images smaller than 4x4. Source: chapter 5, "Simple CNN Implementation".
    """

    in_channels = 1
    image_size = training_size = 28
    least_size = 4

    def __init__(
        self, num_classes: int = 10, in_channels: int = 1, image_size: int = 28, seed: int | None = None
    ) -> None:
        super().__init__(image_size, seed)
        pooled_size = (image_size - 2) // 2
        self.conv = ConvLayer(in_channels, 8, 3, activation="relu")
        self.pool = MaxPoolLayer(2)
        self.flatten = Flatten()
        self.fc = Linear(8 * pooled_size * pooled_size, 128, activation="relu")
        self.output = Linear(128, num_classes)

    def forward(self, x: Any) -> Tensor:
        """Images (N, in_channels, image_size, image_size) to logits (N, num_classes)."""
        x = self.pool(self.conv(x))
        return self.output(self.fc(self.flatten(x)))


class TwoStageCNN(Layer):
    """Two stages of 3x3 convolution, ReLU and 2x2 max pooling: (N, 1, 28, 28) to feature maps (N, 16, 7, 7).

    Source: chapter 5, "Full CNN with PyTorch-style Structure", where it is called SimpleCNN, too.
    """

    def __init__(self, seed: int | None = None) -> None:
        if seed is not None:
            self.seed = seed
        self.conv1 = ConvLayer(1, 8, 3, stride=1, padding=1, activation="relu")
        self.pool1 = MaxPoolLayer(2, stride=2)
        self.conv2 = ConvLayer(8, 16, 3, stride=1, padding=1, activation="relu")
        self.pool2 = MaxPoolLayer(2, stride=2)

    def forward(self, x: Any) -> Tensor:
        """Images (N, 1, H, W) to feature maps (N, 16, H // 4, W // 4)."""
        return self.pool2(self.conv2(self.pool1(self.conv1(x))))
