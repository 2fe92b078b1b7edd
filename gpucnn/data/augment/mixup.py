"""Images blended in pairs."""

import numpy as np

from gpucnn.autograd import on_their_device
from gpucnn.backend import Array, xp_of
from gpucnn.data.augment.draws import check_floats, draws, whole
from gpucnn.data.augment.mix import as_alpha, mixed_labels, symmetric_beta


class Mixup:
    """Blend each image, and its label, with another of its batch: share * one + (1 - share) * other.

    The share is a draw of Beta(alpha, alpha): near 0 or 1 for a small alpha, near a half for a large one. Each sample has
    its own share and partner, which may be itself, functions of (seed, epoch, its index) and the size of the batch.
    Raises ArgumentError unless alpha > 0.

    Source: Zhang et al., "mixup: beyond empirical risk minimization", ICLR 2018.
    """

    def __init__(self, alpha: float = 0.2) -> None:
        self.alpha = as_alpha(alpha, "Mixup")

    @on_their_device
    def __call__(
        self, images: Array, labels: Array, indices: np.ndarray, seed: int, epoch: int, num_classes: int
    ) -> tuple[Array, Array]:
        """Float images (B, C, H, W) and labels (B,) to mixed images and soft labels, float32 (B, num_classes).

        Raises ShapeError, DTypeError, and ArgumentError for labels out of range.
        """
        check_floats("Mixup", images)
        drawn = draws("Mixup", images, indices, seed, epoch, 3)
        xp = xp_of(images, labels)
        shares = symmetric_beta(drawn[:, :2], self.alpha)
        partners = xp.asarray(whole(drawn[:, 2], len(images)))
        soft = mixed_labels("Mixup", labels, partners, shares, num_classes)
        own = xp.asarray(shares.astype(images.dtype)[:, None, None, None])
        return images * own + images[partners] * (1 - own), soft
