"""Where pixels are: in the memory of a batch, and in a part of an image."""

import numpy as np

from gpucnn.backend import Array, xp_of


def flat_places(images: Array, rows: Array, columns: Array) -> Array:
    """Where the pixels at `rows` and `columns` of each image stand in `images.reshape(-1)`.

    - `images`: (B, C, H, W).
    - `rows`, `columns`: integers within the images, (B, P, Q) when broadcast together.

    Returns integers (B, C, P, Q). One gather from flat memory takes a third of the time of one by four indices.
    """
    xp = xp_of(images)
    batch, channels, height, width = images.shape
    planes = xp.arange(batch * channels).reshape(batch, channels, 1, 1) * (height * width)
    return planes + (rows * width + columns)[:, None]


def boxes(centres: np.ndarray, sizes: np.ndarray, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Which rows and columns of images of `shape` (height, width) a box in each of them has, cut off at the edges.

    `centres` and `sizes` are integers (B, 2), (row, column) and (height, width). Returns bools (B, height), (B, width).
    """
    first = centres - sizes // 2
    rows, columns = (
        (np.arange(length) >= first[:, axis, None]) & (np.arange(length) < (first + sizes)[:, axis, None])
        for axis, length in enumerate(shape)
    )
    return rows, columns
