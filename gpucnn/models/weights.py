"""Weights from elsewhere for a model that is here: which arrays of a file belong where, and what starts new."""

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gpucnn.data.normalization import Normalization, as_normalization
from gpucnn.errors import ArgumentError, StateError
from gpucnn.files.weights_file import SavedWeights, read_weights
from gpucnn.layers.saved_arrays import StateKeys
from gpucnn.models.convnext import ConvNeXtTiny
from gpucnn.models.image_model import ImageModel
from gpucnn.models.mobilenet_v2 import MobileNetV2
from gpucnn.models.resnet import ResNet
from gpucnn.models.squeezenet import SqueezeNet
from gpucnn.models.timm_names import names_of
from gpucnn.models.vgg import VGG
from gpucnn.regular_file import read_regular
from gpucnn.text import names_text, printed, shape_text

PREFIXES = ("module.", "_orig_mod.", "model.", "state_dict.")
"""What DataParallel, torch.compile, Lightning and others put before all names."""

MOST_LEFT = 0.1
"""The share of a file's arrays that may have no place; of a file of a larger model more would have none."""

MOST_NAMED = 3

PUBLISHED = (ResNet, VGG, MobileNetV2, SqueezeNet, ConvNeXtTiny)
"""The families whose weights torchvision and timm publish, all for images that are normalised alike: timm has other values,
a mean of 0.5, for families that are not here."""

IMAGENET: Normalization = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""The mean and the standard deviation of ImageNet's red, green and blue, as PyTorch's first example has them."""


class TakenWeights(NamedTuple):
    """What `load_weights` did; as text, a line that says so."""

    path: Path
    taken: int
    """How many arrays were taken."""
    total: int
    """How many the model has."""
    new: str
    """Of the head, why it starts new; empty if it was taken, too."""
    left: list[str]
    """The names of arrays in the file that have no place in the model."""
    normalization: Normalization | None
    """What the images were normalised with on which the weights were trained; None for not at all, or if that is not known."""
    normalized_by: str
    """The same in words."""

    def __str__(self) -> str:
        return f"{self.summary()}; normalisation: {self.normalized_by}"

    def summary(self) -> str:
        """All but the normalisation."""
        left = (
            f"; {len(self.left)} of the file's have no place ({names_text(self.left, MOST_NAMED)})" if self.left else ""
        )
        new = f"; {self.new}" if self.new else ""
        return f"weights: {printed(self.path.name)}: {self.taken} of {self.total} arrays taken{new}{left}"


def load_weights(model: ImageModel, weights: str | os.PathLike[str]) -> TakenWeights:
    """Take the weights in the file `weights` into `model`, by their names; what was taken.

    The file is one of safetensors, of gpucnn or of others, or of `torch.save`, see `read_weights`. Names are ours, which are
    torchvision's, or timm's for ResNet, VGG, ConvNeXt and MobileNetV2. The head of a file for another number of classes is
    left, and the model's starts as it was drawn; all else has to fit. Raises StateError, which names the file and some names of
    both sides, if it does not, and for a file that cannot be read; the model is then as it was.
    """
    if not isinstance(model, ImageModel):
        raise ArgumentError(
            f"load_weights: expected a model of gpucnn.models, got {type(model).__name__}; for layers of your own take "
            f"load_state_dict(read_weights(FILE).arrays, strict=False)"
        )
    saved = read_weights(weights)
    own = {path: member.shape for path, member in (*model.named_parameters(), *model.named_buffers())}
    found = _by_our_names(saved.arrays, model, own)
    head = [path for path in own if path.rpartition(".")[0] == model.head_path()]
    new = _why_new(model.head_path(), own, found, head)
    taken = {path: found[path] for path in own if path in found and not (new and path in head)}
    missing = [path for path in own if path not in taken and not (new and path in head)]
    keys = StateKeys(missing, StateKeys.of(own, found).unexpected_keys)
    _refuse_another_model(model, saved, own, taken, keys)
    try:
        model.load_state_dict(taken, strict=False)
    except StateError as error:
        raise StateError(f"{saved.path}: {error}") from None
    normalization, by = _normalization(model, saved)
    return TakenWeights(saved.path, len(taken), len(own), new, keys.unexpected_keys, normalization, by)


def count_of(saved: SavedWeights, model: ImageModel, in_part: bool = False) -> int:
    """How many arrays of `model` are in a file, by name and shape; 0 unless all are but those of the head, or `in_part`.

    The channels that it takes may be others.
    """
    own = {path: member.shape for path, member in (*model.named_parameters(), *model.named_buffers())}
    found, first, head = _by_our_names(saved.arrays, model, own), next(iter(own)), model.head_path()
    there = {path for path, shape in own.items() if path in found and (path == first or found[path].shape == shape)}
    missing = [path for path in own if path not in there and path.rpartition(".")[0] != head]
    return 0 if missing and not in_part else len(there)


def _by_our_names(arrays: Mapping[str, np.ndarray], model: ImageModel, own: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The arrays by the names that they have here, without prefixes; those of timm in our shape."""
    bare = _without_prefixes(arrays, own)
    timm = names_of(model)
    found: dict[str, np.ndarray] = {}
    for name, array in bare.items():
        layer, _, last = name.rpartition(".")
        other = timm[name] if name in timm else f"{timm[layer]}.{last}" if layer in timm else ""
        if name in own or other not in own:
            found[name] = array
        else:  # timm's scales of blocks have one axis, and its heads of VGG are convolutions
            shape = own[other]
            fits = array.size == np.prod(shape) and array.shape[:1] == shape[:1]
            flat = array.ndim == 4 and len(shape) == 2 and array[0].size == shape[1]
            found[other] = array.reshape(shape) if fits else array.reshape(len(array), -1) if flat else array
    return found


def _without_prefixes(arrays: Mapping[str, np.ndarray], own: Iterable[str]) -> Mapping[str, np.ndarray]:
    """The arrays without what stands before most of their names, one prefix after the other."""
    own = tuple(own)

    def before_most(prefix: str) -> bool:
        begun = sum(name.startswith(prefix) for name in arrays)
        return 2 * begun > len(arrays) and not any(path.startswith(prefix) for path in own)

    while prefix := next(filter(before_most, PREFIXES), None):
        others = {name: array for name, array in arrays.items() if not name.startswith(prefix)}
        begun = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
        arrays = {**others, **begun}
    return arrays


def _why_new(
    head: str, own: Mapping[str, tuple[int, ...]], found: Mapping[str, np.ndarray], paths: Iterable[str]
) -> str:
    """Why the head cannot be taken; "" if it can, or is of another kind, which others refuse."""
    shapes = [(own[path], found[path].shape if path in found else None) for path in paths]
    if all(there is None for _, there in shapes):
        return f"{head} starts new (the file has none)"
    if any(there is None or len(there) != len(here) or there[1:] != here[1:] for here, there in shapes):
        return ""
    here, there = shapes[0]
    return "" if here == there or there is None else f"{head} starts new ({there[0]} -> {here[0]})"


def _refuse_another_model(
    model: ImageModel,
    saved: SavedWeights,
    own: Mapping[str, tuple[int, ...]],
    taken: Mapping[str, np.ndarray],
    keys: StateKeys,
) -> None:
    """StateError if the file is of another model, or of one that was built for other images."""
    name = type(model).__name__
    others = {path: array.shape for path, array in taken.items() if array.shape != own[path]}
    first = next(iter(own))
    if first in others and others[first][:1] + others[first][2:] == own[first][:1] + own[first][2:]:
        raise StateError(
            f"{saved.path}: its {first} is for images of {others[first][1]} channels, and {name} was built for {own[first][1]}; "
            f"take images of {others[first][1]} channels, of a folder with mode rgb, or leave the weights out"
        )
    if not others and not keys.missing_keys and len(keys.unexpected_keys) <= MOST_LEFT * len(saved.arrays):
        return
    made = f" ({saved.create.get('name')} of {saved.create.get('image_size')} pixels)" if saved.create else ""
    shapes = [
        f"{path} has shape {shape_text(shape)}, expected {shape_text(own[path])}" for path, shape in others.items()
    ]
    parts = [
        *([f"{name} also has {names_text(keys.missing_keys, MOST_NAMED)}"] if keys.missing_keys else []),
        *([f"the file also has {names_text(keys.unexpected_keys, MOST_NAMED)}"] if keys.unexpected_keys else []),
        *shapes[:2],
        *([f"and {len(shapes) - 2} more of other shapes"] if len(shapes) > 2 else []),
    ]
    raise StateError(
        f"{saved.path}: weights of another model{made}: {len(taken) - len(others)} of {name}'s {len(own)} arrays are there; {'; '.join(parts)}; "
        f"give the model, and the image size, that the weights are of; without --model, gpucnn train takes theirs"
    )


def _normalization(model: ImageModel, saved: SavedWeights) -> tuple[Normalization | None, str]:
    """What images were normalised with for these weights, and in words."""
    if saved.create is not None:
        return _normalization_of_run(saved.path.parent / "config.json", saved.create.get("preprocess"))
    if isinstance(model, PUBLISHED):
        return IMAGENET, "ImageNet's mean and std"
    return None, "not known"


def _normalization_of_run(config_file: Path, exported: Any) -> tuple[Normalization | None, str]:
    """What the run has in its config, in whose folder the weights are, or in the file itself, if it was exported."""
    try:
        written = json.loads(read_regular(config_file).decode())["preprocess"] if exported is None else exported
        found = as_normalization(written["mean"], written["std"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        where = (
            f"as no {config_file.name} of their run is beside the weights"
            if exported is None
            else "as the file's is damaged"
        )
        return None, f"not known, {where}"
    return found, "none, as in their run" if found is None else "that of their run"
