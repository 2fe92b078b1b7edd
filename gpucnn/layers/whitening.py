"""A first convolution that whitens: its filters are the principal components of the images' patches."""

from typing import Any

import numpy as np

from gpucnn.autograd import Tensor
from gpucnn.backend import as_array, to_host
from gpucnn.checks import as_number
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.kernels.gemm import matmul
from gpucnn.layers.conv import Conv2d
from gpucnn.text import shape_text, value_text

AT_A_TIME = 256
"""Images whose patches are laid out together."""

LEAST = 1e-12
"""Of the largest eigenvalue: below that the least is rounding."""


def whiten(conv: Conv2d, images: Any, eps: float = 5e-4) -> None:
    """Set the weight of a convolution from the patches of some images, and freeze it; the bias stays, and learns.

    The filters are the eigenvectors of the covariance of all patches of the filters' size, each divided by the square root of
    its eigenvalue + `eps`, the largest first; and then the same with the other sign, of which a ReLU leaves the other half. What
    the first half gives, before the bias, then has variance 1, less where the eigenvalue is not far above `eps`, and no
    covariance. A network that starts so learns sooner.

    - `conv`: 2 * C * KH * KW filters (C, KH, KW) without groups, e.g. `Conv2d(3, 24, 2)`.
    - `images`: (N, C, H, W), as the convolution will see them, of KHxKW pixels or more; a few thousand are enough. They may be
      on any device.
    - `eps`: a number >= 0; with 0 patches that lie in a plane of fewer dimensions are refused.

    The same images give the same filters; eigenvectors, whose sign is chance, have their largest element above 0. Raises
    ArgumentError for another convolution, ShapeError for images that do not fit, ArgumentError for those without a covariance.
    Source: Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", arXiv 2404.00498, 2024, section 3.2, after Page, 2019.
    """
    if not isinstance(conv, Conv2d):
        raise ArgumentError(f"whiten: expected a Conv2d, got {value_text(conv)}")
    eps = as_number(eps, "whiten: eps")
    filters, channels, rows, columns = conv.weight.shape
    size = channels * rows * columns
    if conv.groups != 1 or filters != 2 * size:
        raise ArgumentError(
            f"whiten: a convolution of {channels} channels with filters of {rows}x{columns} needs {2 * size} of them in one group, "
            f"two for each number of a patch; got {filters} in {conv.groups}: give Conv2d({channels}, {2 * size}, ({rows}, {columns}))"
        )
    array = to_host(images.array if isinstance(images, Tensor) else as_array(images))
    if (
        array.ndim != 4
        or array.shape[1] != channels
        or not array.size
        or array.shape[2] < rows
        or array.shape[3] < columns
    ):
        raise ShapeError(
            f"whiten: expected images (N, {channels}, H, W) of {rows}x{columns} pixels or more, got {shape_text(array.shape)}"
        )
    covariance = _covariance(array, rows, columns)
    is_finite = bool(np.isfinite(covariance).all())
    values, vectors = np.linalg.eigh(covariance if is_finite else np.zeros_like(covariance))
    if not is_finite or not values[0] + eps > LEAST * values[-1]:
        raise ArgumentError(
            f"whiten: the patches of {len(array):,} images have no covariance of {size} dimensions that can be divided by (finite: "
            f"{is_finite}, least eigenvalue {values[0]:.3g}, eps {eps:g}); give more images, without NaN, or a larger eps"
        )
    # Of a covariance without rounding no eigenvalue is below 0.
    scaled = (vectors / np.sqrt(np.maximum(values, 0) + eps)).T[::-1]
    largest = np.take_along_axis(scaled, np.abs(scaled).argmax(axis=1)[:, None], axis=1)
    scaled = (scaled * np.sign(largest)).reshape(size, channels, rows, columns)
    conv.weight.assign(np.ascontiguousarray(np.concatenate([scaled, -scaled])))
    conv.weight.requires_grad = False


def _covariance(images: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """That of all patches (C, rows, columns), as vectors, in float64."""
    count, channels = images.shape[:2]
    size = channels * rows * columns
    total, products, number = np.zeros(size), np.zeros((size, size)), 0
    with np.errstate(over="ignore", invalid="ignore"):
        centre = images.mean(
            axis=(0, 2, 3), keepdims=True, dtype=np.float64
        )  # so that squares do not swallow differences
        for start in range(0, count, AT_A_TIME):
            windows = np.lib.stride_tricks.sliding_window_view(
                images[start : start + AT_A_TIME] - centre, (rows, columns), axis=(2, 3)
            )
            patches = windows.transpose(0, 2, 3, 1, 4, 5).reshape(-1, size)
            total, products = total + patches.sum(axis=0), products + matmul(patches.T, patches)
            number += len(patches)
        mean = total / number
        return products / number - np.outer(mean, mean)
