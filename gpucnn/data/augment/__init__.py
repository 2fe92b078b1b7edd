"""Random changes of training images, each drawn for its sample alone, and mixes of the images of a batch."""

from gpucnn.checks import public_names as _public_names
from gpucnn.data.augment.affine import RandomAffine as RandomAffine
from gpucnn.data.augment.augment import Augment as Augment
from gpucnn.data.augment.augment import Compose as Compose
from gpucnn.data.augment.augment import Range as Range
from gpucnn.data.augment.color_jitter import ColorJitter as ColorJitter
from gpucnn.data.augment.crop import RandomResizedCrop as RandomResizedCrop
from gpucnn.data.augment.cutout import Cutout as Cutout
from gpucnn.data.augment.erasing import RandomErasing as RandomErasing
from gpucnn.data.augment.flip import AlternatingFlip as AlternatingFlip
from gpucnn.data.augment.flip import RandomFlip as RandomFlip
from gpucnn.data.augment.mix import CutMix as CutMix
from gpucnn.data.augment.mix import Mix as Mix
from gpucnn.data.augment.mix import Mixup as Mixup
from gpucnn.data.augment.rand_augment import RandAugment as RandAugment
from gpucnn.data.augment.shift import RandomShift as RandomShift

__all__ = _public_names(globals(), "Augment", "Mix", "Range")


def __dir__() -> list[str]:
    return __all__
