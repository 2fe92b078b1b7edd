"""Models, one family a file, and their creation by name."""

import os
from typing import Any

from gpucnn.checks import Shape, as_count, known_name
from gpucnn.checks import public_names as _public_names
from gpucnn.checks import unknown_name as _unknown_name
from gpucnn.errors import StateError
from gpucnn.files.weights_file import SavedWeights
from gpucnn.files.weights_file import read_weights as read_weights
from gpucnn.models.airbench import Airbench94 as Airbench94
from gpucnn.models.airbench import Airbench94Half as Airbench94Half
from gpucnn.models.alexnet import AlexNet as AlexNet
from gpucnn.models.convnext import ConvNeXtTiny as ConvNeXtTiny
from gpucnn.models.densenet import DenseNet40 as DenseNet40
from gpucnn.models.image_model import ImageModel as ImageModel
from gpucnn.models.lenet5 import LeNet5 as LeNet5
from gpucnn.models.mlp import MLP as MLP
from gpucnn.models.mobilenet_v2 import MobileNetV2 as MobileNetV2
from gpucnn.models.nin import NiN as NiN
from gpucnn.models.resnet import ResNet18 as ResNet18
from gpucnn.models.resnet import ResNet34 as ResNet34
from gpucnn.models.resnet import ResNet50 as ResNet50
from gpucnn.models.resnet_cifar import ResNet20 as ResNet20
from gpucnn.models.resnet_cifar import ResNet32 as ResNet32
from gpucnn.models.resnet_cifar import ResNet56 as ResNet56
from gpucnn.models.resnet_cifar import WideResNet16x4 as WideResNet16x4
from gpucnn.models.simple_cnn import SimpleCNN as SimpleCNN
from gpucnn.models.simple_cnn import TwoStageCNN as TwoStageCNN
from gpucnn.models.squeezenet import SqueezeNet as SqueezeNet
from gpucnn.models.unet import UNet as UNet
from gpucnn.models.vgg import VGG11 as VGG11
from gpucnn.models.vgg import VGG11BN as VGG11BN
from gpucnn.models.vgg import VGG13 as VGG13
from gpucnn.models.vgg import VGG13BN as VGG13BN
from gpucnn.models.vgg import VGG16 as VGG16
from gpucnn.models.vgg import VGG16BN as VGG16BN
from gpucnn.models.vgg import VGGMini as VGGMini
from gpucnn.models.weights import TakenWeights as TakenWeights
from gpucnn.models.weights import count_of
from gpucnn.models.weights import load_weights as load_weights

_BY_NAME: dict[str, Any] = {
    "lenet5": LeNet5,
    "simplecnn": SimpleCNN,
    "mlp": MLP,
    "vgg_mini": VGGMini,
    "alexnet": AlexNet,
    "nin": NiN,
    "vgg11": VGG11,
    "vgg11_bn": VGG11BN,
    "vgg13": VGG13,
    "vgg13_bn": VGG13BN,
    "vgg16": VGG16,
    "vgg16_bn": VGG16BN,
    "resnet20": ResNet20,
    "resnet32": ResNet32,
    "resnet56": ResNet56,
    "resnet18": ResNet18,
    "resnet34": ResNet34,
    "resnet50": ResNet50,
    "wide_resnet16_4": WideResNet16x4,
    "airbench94": Airbench94,
    "airbench94_half": Airbench94Half,
    "densenet40_12": DenseNet40,
    "mobilenet_v2": MobileNetV2,
    "squeezenet": SqueezeNet,
    "convnext_tiny": ConvNeXtTiny,
    "unet": UNet,
}


def names() -> list[str]:
    """The names that `create` knows."""
    return list(_BY_NAME)


def classifier_names() -> list[str]:
    """The names of the models that give one row of logits an image: all but U-Net, which labels every pixel."""
    return [name for name, model in _BY_NAME.items() if model.classifies]


def create(
    name: str,
    num_classes: int = 10,
    in_channels: int | None = None,
    image_size: int | None = None,
    seed: int | None = None,
    weights: str | os.PathLike[str] | None = None,
) -> ImageModel:
    """The model called `name`, in upper or lower case, for images (N, in_channels, image_size, image_size).

    `in_channels` and `image_size` are by default what the model was made for. With `weights`, a file of them, it starts from
    these, see `load_weights`, and a line is printed of what was taken. Raises ArgumentError for an unknown name or a size that
    the model cannot take, StateError for weights that cannot be read, or are of another model.
    """
    model = _find(name)
    channels = model.in_channels if in_channels is None else as_count(in_channels, f"{model.__name__}: in_channels")
    size = model.image_size if image_size is None else as_count(image_size, f"{model.__name__}: image_size")
    created: ImageModel = model(as_count(num_classes, f"{model.__name__}: num_classes"), channels, size, seed)
    if weights is not None:
        print(load_weights(created, weights))
    return created


def of_weights(weights: str | os.PathLike[str]) -> str:
    """The name of the classifier that the weights in a file are of: the largest that finds all its arrays there.

    Raises StateError for a file that cannot be read, or is of no model here.
    """
    saved = read_weights(weights)
    if saved.create is not None and saved.create.get("name") in classifier_names():
        return str(saved.create["name"])
    counts = {name: count_of(saved, _BY_NAME[name]()) for name in classifier_names()}
    name = max(counts, key=lambda name: counts[name])
    if not counts[name]:
        shares = {name: _share_of(saved, _BY_NAME[name]()) for name in counts}
        near = max(shares, key=lambda name: shares[name])
        hint = (
            f"{near} is nearest: give that model, to be told what is missing"
            if shares[near] > 0.5
            else "give others, or none"
        )
        raise StateError(f"{saved.path}: weights of no model that is here; {hint}")
    return name


def _share_of(saved: SavedWeights, model: ImageModel) -> float:
    """How much of a model the weights have; none of its own is drawn."""
    return count_of(saved, model, in_part=True) / len([*model.named_parameters(), *model.named_buffers()])


def default_input(name: str) -> Shape:
    """(channels, height, width) of the images that the model called `name` was made for. ArgumentError if unknown."""
    model = _find(name)
    return model.in_channels, model.image_size, model.image_size


def image_size_for(name: str, native_size: int) -> int:
    """The image size to train the model called `name` at, on images of `native_size`: theirs, or 28 or 32 if that is larger.

    Which of the two is the model's `training_size`. ArgumentError for an unknown name.
    """
    return max(as_count(native_size, "native_size"), int(_find(name).training_size))


def _find(name: str) -> Any:
    return _BY_NAME[known_name(name, _BY_NAME, "model")]


__all__ = _public_names(globals(), "read_weights")


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    raise _unknown_name("models", name, __all__, {known: f'create("{known}")' for known in _BY_NAME})
