"""The check of image sizes that models share."""

from gpucnn.checks import as_count
from gpucnn.errors import ArgumentError
from gpucnn.layers import Layer


def check_image_size(model: Layer, image_size: int, least: int) -> None:
    """Raise ArgumentError, which names the model, unless `image_size` is an int of `least` or more."""
    name = type(model).__name__
    if as_count(image_size, f"{name}: image_size") < least:
        raise ArgumentError(
            f"{name} takes images of {least}x{least} and more, got image_size={image_size}; enlarge the images"
        )
