"""The multi-layer perceptron that the chapter compares CNNs with."""

from typing import Any

from gpucnn.autograd import Tensor
from gpucnn.geometry import check_images
from gpucnn.layers import Flatten, Linear
from gpucnn.models.image_model import ImageModel


class MLP(ImageModel):
    """Pixels -> 100 hidden units -> classes: 784-100-10 for 28x28 images, with 78,500 parameters in the first layer.

    Takes (N, in_channels, image_size, image_size), gives logits (N, num_classes).
    Source: chapter 5, "The Parameter Explosion Problem".
    """

    in_channels = 1
    image_size = training_size = 28

    def __init__(
        self, num_classes: int = 10, in_channels: int = 1, image_size: int = 28, seed: int | None = None
    ) -> None:
        super().__init__(image_size, seed)
        self.in_channels = in_channels
        self.flatten = Flatten()
        self.hidden = Linear(in_channels * image_size * image_size, 100, activation="relu")
        self.output = Linear(100, num_classes)

    def forward(self, x: Any) -> Tensor:
        """Images (N, in_channels, image_size, image_size) to logits (N, num_classes).

        ShapeError without a batch axis, and for images (N, H, W, C), whose pixels would come in another order.
        """
        check_images(self.label, x.shape, self.in_channels)
        return self.output(self.hidden(self.flatten(x)))
