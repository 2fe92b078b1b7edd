"""What timm calls the layers of the models that are here, too, and what they are called here, as in torchvision.

Of its ResNets the names are the same. Its head for VGG is convolutions, whose numbers are those of our linear layers.
"""

from collections.abc import Callable

from gpucnn.layers import Layer
from gpucnn.models.convnext import BLOCKS, ConvNeXtTiny
from gpucnn.models.mobilenet_v2 import STAGES, MobileNetV2
from gpucnn.models.vgg import VGG


def names_of(model: Layer) -> dict[str, str]:
    """The path of a layer or parameter here, by its path in timm; empty for models of other families."""
    return next((names() for family, names in _FAMILIES.items() if isinstance(model, family)), {})


def _vgg() -> dict[str, str]:
    return {"pre_logits.fc1": "classifier.0", "pre_logits.fc2": "classifier.3", "head.fc": "classifier.6"}


def _convnext() -> dict[str, str]:
    names = {"stem.0": "features.0.0", "stem.1": "features.0.1", "head.norm": "classifier.0", "head.fc": "classifier.2"}
    inside = {
        "conv_dw": "block.0",
        "norm": "block.2",
        "mlp.fc1": "block.3",
        "mlp.fc2": "block.5",
        "gamma": "layer_scale",
    }
    for stage, count in enumerate(BLOCKS):
        names |= {f"stages.{stage}.downsample.{part}": f"features.{2 * stage}.{part}" for part in range(2) if stage}
        for block in range(count):
            there, here = f"stages.{stage}.blocks.{block}", f"features.{2 * stage + 1}.{block}"
            names |= {f"{there}.{theirs}": f"{here}.{ours}" for theirs, ours in inside.items()}
    return names


def _mobilenet_v2() -> dict[str, str]:
    names = {"conv_stem": "features.0.0", "bn1": "features.0.1", "classifier": "classifier.1"}
    unexpanded = {"conv_dw": "0.0", "bn1": "0.1", "conv_pw": "1", "bn2": "2"}
    expanded = {"conv_pw": "0.0", "bn1": "0.1", "conv_dw": "1.0", "bn2": "1.1", "conv_pwl": "2", "bn3": "3"}
    position = 1
    for stage, (expansion, _, count, _) in enumerate(STAGES):
        for block in range(count):
            inside = unexpanded if expansion == 1 else expanded
            there, here = f"blocks.{stage}.{block}", f"features.{position}.conv"
            names |= {f"{there}.{theirs}": f"{here}.{ours}" for theirs, ours in inside.items()}
            position += 1
    return names | {"conv_head": f"features.{position}.0", "bn2": f"features.{position}.1"}


_FAMILIES: dict[type[Layer], Callable[[], dict[str, str]]] = {
    VGG: _vgg,
    ConvNeXtTiny: _convnext,
    MobileNetV2: _mobilenet_v2,
}
