"""Models, one file each, and their creation by name."""

from typing import Any

from gpucnn.errors import ArgumentError
from gpucnn.layers import Layer
from gpucnn.models.lenet5 import LeNet5 as LeNet5
from gpucnn.models.mlp import MLP as MLP
from gpucnn.models.resnet_cifar import ResNet20 as ResNet20
from gpucnn.models.resnet_cifar import ResNet32 as ResNet32
from gpucnn.models.resnet_cifar import ResNet56 as ResNet56
from gpucnn.models.simple_cnn import SimpleCNN as SimpleCNN
from gpucnn.models.simple_cnn import TwoStageCNN as TwoStageCNN
from gpucnn.models.vgg_mini import VGGMini as VGGMini

_BY_NAME: dict[str, Any] = {"lenet5": LeNet5, "simplecnn": SimpleCNN, "mlp": MLP, "vgg_mini": VGGMini, "resnet20": ResNet20}


def names() -> list[str]:
    """The names that `create` knows."""
    return list(_BY_NAME)


def create(
    name: str, num_classes: int = 10, in_channels: int = 1, image_size: int | None = None, seed: int | None = None
) -> Layer:
    """The model called `name`, for images (N, in_channels, image_size, image_size).

    `image_size` is by default what the model was made for. Raises ArgumentError for an unknown name or a size that the
    model cannot take.
    """
    model = _find(name)
    created: Layer = model(num_classes, in_channels, model.image_size if image_size is None else image_size, seed)
    return created


def image_size_for(name: str, native_size: int) -> int:
    """The image size to train the model called `name` at on images of `native_size`: its own if that is no smaller."""
    return max(native_size, int(_find(name).image_size))


def _find(name: str) -> Any:
    if name not in _BY_NAME:
        raise ArgumentError(f"unknown model {name!r}; expected one of {', '.join(_BY_NAME)}")
    return _BY_NAME[name]
