"""One of every augmentation and mix, and the images that tests give them."""

from collections.abc import Callable
from typing import Any

import numpy as np

from gpucnn.data import (
    AlternatingFlip,
    ColorJitter,
    Compose,
    CutMix,
    Cutout,
    Mixup,
    RandAugment,
    RandomAffine,
    RandomErasing,
    RandomFlip,
    RandomResizedCrop,
    RandomShift,
)
from gpucnn.data.augment import Augment, Mix

AUGMENTATIONS: dict[str, Augment] = {
    "shift": RandomShift(3),
    "shift, reflected": RandomShift(3, "reflect"),
    "shift, a share": RandomShift(0.3),
    "flip": RandomFlip(),
    "alternating flip": AlternatingFlip(),
    "crop": RandomResizedCrop(scale=(0.2, 0.9)),
    "affine": RandomAffine(30, 0.2, (0.7, 1.4), 15),
    "affine, reflected": RandomAffine(30, 0.2, (0.7, 1.4), 15, "reflect"),
    "color jitter": ColorJitter(0.4, 0.5, 0.6),
    "color jitter, normalised": ColorJitter(0.4, 0.5, 0.6, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)),
    "cutout": Cutout(4),
    "randaugment": RandAugment(),
    "randaugment, normalised": RandAugment(3, 6, "reflect", (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)),
    "erase": RandomErasing(0.9),
    "erase, noise": RandomErasing(0.9, fill="noise", mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.25)),
    "color erase, mean": RandomErasing(0.9, fill="mean"),
    "composed": Compose(RandomFlip(), Cutout(3), RandomShift(2), Cutout(3)),
}
MIXES: dict[str, Mix] = {"mixup": Mixup(0.4), "cutmix": CutMix(1.0)}

FLOATS_ALONE = ("affine", "crop", "randaugment", "erase", "color jitter", "mixup")
"""Those that compute with pixels; the others move them, whatever they are."""


def images_of(batch: int, channels: int = 3, height: int = 9, width: int = 7, dtype: Any = np.float32) -> np.ndarray:
    """Pixels from 0.05 to 1, so that a 0 is one that came in."""
    return np.random.default_rng(4).uniform(0.05, 1, (batch, channels, height, width)).astype(dtype)


def labels_of(batch: int, classes: int = 5) -> np.ndarray:
    return np.random.default_rng(5).integers(0, classes, batch)


def transform(name: str) -> Callable[..., np.ndarray]:
    """The images that an augmentation or a mix makes."""
    if name in AUGMENTATIONS:
        return AUGMENTATIONS[name]

    def mixed(images: np.ndarray, indices: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        return MIXES[name](images, labels_of(len(images)), indices, seed, epoch, 5)[0]

    return mixed
