"""A data set whose images and labels are arrays in memory."""

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from gpucnn.checks import shape_text
from gpucnn.errors import DataError

Batch: TypeAlias = tuple[np.ndarray, np.ndarray]


class ArrayDataset:
    """Images (N, C, H, W) with integer labels (N,).

    - `preprocess`: None, or a function from raw images (B, C, H, W) to float32 images, applied to what is asked for.
      Images so stay small in memory, e.g. as bytes.
    - `num_classes`: None, or the number of classes, which all labels must be below.

    `dataset[5]` is one (image, label), `dataset[indices]` a batch of them. Raises DataError if images and labels do not
    go together.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        preprocess: Callable[[np.ndarray], np.ndarray] | None = None,
        num_classes: int | None = None,
    ) -> None:
        self.images, self.labels = np.asarray(images), np.asarray(labels)
        self.preprocess = preprocess
        if self.images.ndim != 4 or self.labels.shape != self.images.shape[:1]:
            raise DataError(
                f"expected images (N, C, H, W) and labels (N,), got {shape_text(self.images.shape)} and "
                f"{shape_text(self.labels.shape)}; grey images need a channel axis: images[:, None]"
            )
        if self.labels.dtype.kind not in "iu":
            raise DataError(f"labels must be integers, got {self.labels.dtype}; convert with labels.astype('int64')")
        if num_classes is not None and self.labels.size:
            low, high = int(self.labels.min()), int(self.labels.max())
            if low < 0 or high >= num_classes:
                raise DataError(f"labels must be from 0 to {num_classes - 1}, got {low} to {high}")

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, indices: int | slice | np.ndarray) -> Batch:
        single = isinstance(indices, int | np.integer)
        chosen = np.array([indices]) if single else indices
        images, labels = self.images[chosen], self.labels[chosen].astype(np.int64)
        if self.preprocess is not None:
            images = self.preprocess(images)
        return (images[0], labels[0]) if single else (images, labels)
