"""ImageModel: what the models have in common."""

from gpucnn.checks import Shape, as_count
from gpucnn.errors import ArgumentError
from gpucnn.layers import Conv2d, Layer


class ImageModel(Layer):
    """A model of square images, built with (num_classes, in_channels, image_size, seed), each with a default.

    The class tells what it was made for, an instance may be built for other images:

    - `in_channels`, `image_size`: the images of its paper, and the constructor's defaults.
    - `least_size`: the smallest image size at which something is left for every layer.
    - `training_size`: the smallest image size that is worth training at; smaller images are enlarged to it.
    - `classifies`: whether it gives logits (N, num_classes), one row per image. If not, it labels every pixel.

    Raises ArgumentError unless `image_size` is an int of `least_size` or more.
    """

    in_channels: int = 3
    image_size: int = 32
    least_size: int = 1
    training_size: int = 32
    classifies: bool = True

    def __init__(self, image_size: int, seed: int | None) -> None:
        name, least = type(self).__name__, self.least_size
        if as_count(image_size, f"{name}: image_size") < least:
            raise ArgumentError(
                f"{name} takes images of {least}x{least} and more, got image_size={image_size}; enlarge the images"
            )
        self.image_size = int(image_size)
        if seed is not None:
            self.seed = seed

    def built_for(self) -> Shape:
        """(channels, height, width) of the images that this model takes."""
        convolutions = (layer for layer in self.modules() if isinstance(layer, Conv2d))
        channels = next((layer.in_channels for layer in convolutions), self.in_channels)
        return channels, self.image_size, self.image_size
