"""What suits a data set, the images of a folder, and an optimizer, unless the user says otherwise; and recipes by name."""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from gpucnn import models
from gpucnn.data import Inspection
from gpucnn.data.catalog import FOLDER
from gpucnn.runs.network import is_onnx


class Recipe(NamedTuple):
    """What suits a data set. Without an image size it is that of its images, or the smallest that suits the model."""

    epochs: int
    batch_size: int
    label_smoothing: float = 0.0
    augment: tuple[str, ...] = ()
    mode: str | None = None
    model: str = "lenet5"
    image_size: int | None = None


class OptimizerDefaults(NamedTuple):
    """What suits an optimizer: its peak learning rate, the one with weights to start from, and its weight decay."""

    lr: float
    lr_with_weights: float
    weight_decay: float = 0.0


class NamedRecipe(NamedTuple):
    """Settings that go together."""

    settings: Mapping[str, Any]
    """Of a RunConfig, by name, but for the learning rate."""
    lr_per_image: float
    """The peak learning rate for each image of a batch: a batch of twice as many takes a step twice as long."""


class Photos(NamedTuple):
    """What decides on the recipe of a folder of images."""

    number: int
    side: int
    """Pixels of the shorter side, of the middle one of all images in the order of their sizes."""
    longest: int
    """Pixels of the longest side of all."""

    @classmethod
    def of(cls, seen: Inspection) -> Self | None:
        """Those of a folder that was looked at; None if none of its images can be read."""
        sides = sorted(min(image.size) for image in seen.images)
        if not sides:
            return None
        return cls(len(sides), sides[len(sides) // 2], max(max(image.size) for image in seen.images))


DATA_SETS = {
    "digits": Recipe(40, 32, label_smoothing=0.1, augment=("shift:2",)),
    "mnist": Recipe(3, 64),
    "fashion-mnist": Recipe(10, 64),
    "cifar10": Recipe(10, 64, augment=("flip", "shift:4")),
    "cifar100": Recipe(20, 64, augment=("flip", "shift:4")),
    "cifar100-coarse": Recipe(20, 64, augment=("flip", "shift:4")),
    "svhn": Recipe(10, 64),
    "emnist-byclass": Recipe(3, 64),
    "emnist-bymerge": Recipe(3, 64),
    "emnist-balanced": Recipe(5, 64),
    "emnist-letters": Recipe(5, 64),
    "emnist-digits": Recipe(3, 64),
    "emnist-mnist": Recipe(3, 64),
    FOLDER: Recipe(20, 32, label_smoothing=0.1, augment=("crop", "flip"), mode="rgb", model="resnet20", image_size=64),
}
"""That of a folder is for photos, and changed by `for_folder` to what they are."""

MOST_PHOTOS = {40: 2_000, 20: 20_000, 10: 1 << 62}
"""By the number of epochs, how many photos they are for at most: of fewer each must be seen more often."""

WITH_WEIGHTS = 4
"""How many times as many epochs a model takes that learns from scratch."""

LARGE_SIZE, PHOTO_SIZE = 224, 128
"""Pixels at which models that were made for photos learn them: with weights, which are for the first, as many as MOST_LARGE."""

MOST_LARGE = 1_000

TINY = 40
"""Pixels: images none of whose sides is longer are learned at their own size, and moved instead of cropped."""

TINY_AUGMENT = ("flip", "shift:12%,reflect")

TYPICAL = Photos(2_000, 375, 500)

OPTIMIZERS = {
    "adam": OptimizerDefaults(0.003, 0.001),
    "adamw": OptimizerDefaults(0.003, 0.001, weight_decay=0.01),
    "sgd": OptimizerDefaults(0.03, 0.01),
    "rmsprop": OptimizerDefaults(0.001, 0.0003),
    "adagrad": OptimizerDefaults(0.03, 0.01),
    "lion": OptimizerDefaults(0.0003, 0.0001),
}


_FAST_MOMENTUM = 0.85
_FAST_SCALE = 1 + 1 / (1 - _FAST_MOMENTUM)
"""How much longer steps are, in the end, than the gradient times the rate: what the recipe's rates are divided by."""

RECIPES = {
    "fast": NamedRecipe(
        {
            "model": "airbench94",
            "whiten": 3,
            "normalize": True,
            "augment": ("alternating_flip", "shift:2,reflect"),
            "batch_size": 128,
            "drop_last": True,
            "epochs": 10,
            "optimizer": f"sgd:momentum={_FAST_MOMENTUM},nesterov=true",
            "weight_decay": 0.0153 / 11.5,
            "norm_bias_factor": 64.0,
            "schedule": "triangle:warmup=0.23,start=0.2,end=0.07",
            "label_smoothing": 0.2,
            "lookahead": 5,
        },
        lr_per_image=11.5 / 1024 / _FAST_SCALE,
    )
}
"""Named recipes. "fast" is that of airbench94, see `gpucnn.models.airbench`, whose weight decay, 0.0153, is that of a step at the
rate 11.5; it has batches of 1024, with which a small training set takes too few steps."""


def for_data_set(
    name: str, mode: str | None, model: str | None, has_weights: bool = False, photos: Photos | None = None
) -> Recipe:
    """What suits a data set whose images are of `mode`, and the `model`, if one was chosen, which may start from weights.

    `photos` tells of a folder's images; those that are not known are taken for typical ones.
    """
    recipe = for_folder(photos or TYPICAL, model, has_weights) if name == FOLDER else DATA_SETS[name]
    # Grey images are often of characters or measurements, which a mirror turns into something else.
    return recipe._replace(augment=()) if mode == "grey" else recipe


def for_folder(photos: Photos, model: str | None, has_weights: bool) -> Recipe:
    """What suits the images of a folder, and the `model`, if one was chosen."""
    recipe = DATA_SETS[FOLDER]
    epochs = next(epochs for epochs, most in MOST_PHOTOS.items() if photos.number <= most)
    is_tiny = photos.longest <= TINY
    size = photos.side if is_tiny else min(photos.side, recipe.image_size or 0)
    return recipe._replace(
        epochs=-(-epochs // WITH_WEIGHTS) if has_weights else epochs,
        augment=TINY_AUGMENT if is_tiny else recipe.augment,
        image_size=size if model is None else _size_for(model, photos, has_weights),
    )


def _size_for(model: str, photos: Photos, has_weights: bool) -> int:
    """The image size for a model that was chosen: those for small images have one, those made for photos take any."""
    if is_onnx(model):  # the file tells, which is read later; one that takes any size is of photos
        return min(photos.side, PHOTO_SIZE)
    least = models.image_size_for(model, 1)
    if models.default_input(model)[1] <= least:
        return least
    return max(least, min(photos.side, LARGE_SIZE if has_weights and photos.number <= MOST_LARGE else PHOTO_SIZE))


def why(photos: Photos) -> str:
    """Why a folder's images get the model that they get, for people to read."""
    if photos.longest <= TINY:
        return f"chosen for images of at most {TINY} pixels; --model chooses another"
    return f"chosen for {photos.number:,} photos of {photos.side} pixels without --weights; --model chooses another"
