"""Samples that count more than others: in the loss, by what a batch's labels are made to."""

import numpy as np

from gpucnn.backend import Array, xp_of


class WeightedBatches:
    """A loader's `mix` with which the mean cross-entropy of a batch is weighted: sum(weight * loss) / sum(weight).

    `weights`: float64 (N,), above 0, one for each sample of the data set. Images stay as they are.
    """

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights

    def __call__(
        self, images: Array, labels: Array, indices: np.ndarray, seed: int, epoch: int, num_classes: int
    ) -> tuple[Array, Array]:
        """Labels (B,) as targets (B, classes) of the images' dtype: in the column of the label what the sample counts, else 0."""
        weights = self.weights[indices]
        xp = xp_of(labels)
        counts = xp.asarray((weights * (len(weights) / weights.sum())).astype(images.dtype))
        is_label = labels[:, None] == xp.arange(num_classes)
        return images, is_label * counts[:, None]
