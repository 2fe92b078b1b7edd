"""Images with a box of another one."""

import numpy as np

from gpucnn.autograd import on_their_device
from gpucnn.backend import Array, xp_of
from gpucnn.data.augment.draws import draws, whole
from gpucnn.data.augment.mix import as_alpha, mixed_labels, symmetric_beta
from gpucnn.data.augment.places import boxes


class CutMix:
    """Replace a box of each image by the same box of another of its batch, and mix their labels by area.

    The box has the image's proportions and 1 - share of its area, with share a draw of Beta(alpha, alpha). Its centre is
    any pixel; what lies outside is cut off, and labels are mixed by the pixels that are left. Each sample has its own box
    and partner, which may be itself, functions of (seed, epoch, its index) and the size of the batch. Raises
    ArgumentError unless alpha > 0.

    Source: Yun et al., "CutMix: regularization strategy to train strong classifiers with localizable features", ICCV 2019.
    """

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = as_alpha(alpha, "CutMix")

    @on_their_device
    def __call__(
        self, images: Array, labels: Array, indices: np.ndarray, seed: int, epoch: int, num_classes: int
    ) -> tuple[Array, Array]:
        """Images (B, C, H, W) and labels (B,) to mixed images and soft labels, float32 (B, num_classes).

        Raises ShapeError, DTypeError, and ArgumentError for labels out of range.
        """
        drawn = draws("CutMix", images, indices, seed, epoch, 5)
        xp = xp_of(images, labels)
        shape = images.shape[2:]
        sides = np.sqrt(1 - symmetric_beta(drawn[:, :2], self.alpha))
        sizes = np.rint(sides[:, None] * shape).astype(np.int64)
        rows, columns = boxes(whole(drawn[:, 3:], shape), sizes, shape)
        shares = 1 - rows.sum(1) * columns.sum(1) / (shape[0] * shape[1])
        partners = xp.asarray(whole(drawn[:, 2], len(images)))
        soft = mixed_labels("CutMix", labels, partners, shares, num_classes)
        box = xp.asarray(rows)[:, None, :, None] & xp.asarray(columns)[:, None, None]
        return xp.where(box, images[partners], images), soft
