"""What an augmentation is, and several as one."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from gpucnn.autograd import on_their_device
from gpucnn.backend import Array, generator
from gpucnn.checks import as_function

Augment: TypeAlias = Callable[[Array, np.ndarray, int, int], Array]
"""From images (B, C, H, W) on any device, their indices (B,) in the data set, seed and epoch to changed images.

What becomes of an image is a function of (seed, epoch, its index), of neither the batch it comes in nor the device.
"""


class Compose:
    """Several augmentations, one after the other.

    Those of one class draw under one name; all but the first of them get a seed of their own, a function of the given
    one, so that two `Cutout` blank two places.
    """

    def __init__(self, *augmentations: Augment) -> None:
        for augment in augmentations:
            as_function(augment, "Compose: an augmentation", "of (images, indices, seed, epoch), e.g. RandomFlip()")
        self.augmentations = augmentations

    @on_their_device
    def __call__(self, images: Array, indices: np.ndarray, seed: int, epoch: int) -> Array:
        """Images (B, C, H, W) through all augmentations in turn."""
        kinds = [type(augment) for augment in self.augmentations]
        for place, augment in enumerate(self.augmentations):
            repeat = kinds[:place].count(kinds[place])
            own = int(generator(seed, "Compose", repeat).integers(1 << 63)) if repeat else seed
            images = augment(images, indices, own, epoch)
        return images
