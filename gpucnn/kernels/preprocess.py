"""Images of bytes as a model takes them: gathered, over their full scale, padded or resized, and normalised."""

import functools
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from gpucnn.backend import Array, Device, current, device_of, xp_of
from gpucnn.kernels.kernel import Kernel
from gpucnn.kernels.launch import launch
from gpucnn.kernels.ways import Way, choose

KERNEL = Kernel(
    Path(__file__).with_suffix(".cu"),
    "preprocess",
    "const unsigned char* source, const long long* labels = null, const long long* order = null, const int* low = null, "
    "const float* shares = null, const float* means = null, const float* deviations = null, float* output, "
    "long long* chosen_labels = null, I elements, I images, Divisor channels, Divisor size, int count, int native, "
    "int margin, float full_scale",
)


class Preparation(NamedTuple):
    """What becomes of bytes: divided by `full_scale`, at `size`, resized or with a margin, and normalised if `mean` is there."""

    size: int
    full_scale: int
    resizes: bool
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None


Batch: TypeAlias = tuple[Array, Array | None]
"""Images and labels."""


def preprocess(source: Array, labels: Array | None, order: Array | None, preparation: Preparation) -> Batch:
    """`source`, bytes (count, channels, native, native), or what `order` chooses of it, as float32 (N, channels, size, size).

    And what it chooses of `labels` (count,), if they are there. `order` is an array that another takes as an index, on their
    device; int64 (N,), with labels of int64, is all one launch on a GPU.
    """
    if order is not None and not (order.ndim == 1 and order.dtype == np.int64):
        source, labels, order = source[order], None if labels is None else labels[order], None
    task = [source, labels, order]
    # What comes out is of a dtype that there are kernels for; bytes are not.
    way = choose(PREPROCESS, xp_of(source).empty(0, np.float32), task=task, suits=SUITS)
    return PREPROCESS[way](source, labels, order, preparation)


def _on_a_gpu(source: Array, labels: Array | None, order: Array | None, preparation: Preparation) -> Batch:
    size, full_scale, resizes, mean, std = preparation
    xp, (count, channels, native, _) = xp_of(source), source.shape
    images, device = count if order is None else len(order), device_of(source)
    output = xp.empty((images, channels, size, size), np.float32)
    chosen = None if labels is None else xp.empty(images, np.int64)
    places = _resizing_there(xp, device, native, size) if resizes else (None, None)
    numbers = (None, None) if mean is None or std is None else _normalization_there(xp, device, mean, std)
    margin = 0 if resizes else (size - native) // 2
    sizes = (output.size, images, channels, size, count, native, margin)
    launch(
        KERNEL, output.size, source, labels, order, *places, *numbers, output, chosen, *sizes, np.float32(full_scale)
    )
    return output, chosen


def _suits_a_gpu(task: list[Any]) -> bool:
    """Whether arrays have no strides, and labels and `order` are of int64."""
    source, *places = task
    fit = all(one is None or (one.flags.c_contiguous and one.dtype == np.int64) for one in places)
    return bool(fit and source.flags.c_contiguous)


def _plainly(source: Array, labels: Array | None, order: Array | None, preparation: Preparation) -> Batch:
    size, full_scale, resizes, mean, std = preparation
    xp = xp_of(source)
    if order is not None:
        source, labels = source[order], None if labels is None else labels[order]
    images = xp.divide(source, np.float32(full_scale), dtype=np.float32)
    margin = size - images.shape[-1]
    if resizes and margin:
        images = _resized(images, size)
    elif margin:
        padded = xp.zeros((*images.shape[:2], size, size), np.float32)
        inner = slice(margin // 2, margin // 2 + images.shape[-1])
        padded[:, :, inner, inner] = images
        images = padded
    if mean is None or std is None:
        return images, labels
    means, deviations = (xp.asarray(np.array(values, np.float32)[:, None, None]) for values in (mean, std))
    return (images - means) / deviations, labels


def _resized(images: Array, size: int) -> Array:
    """Images (N, C, S, S) at (N, C, size, size), bilinearly: pixel centres on pixel centres, edges repeated.

    Element by element, without a matrix product, so that an image comes out the same in whatever batch it is.
    """
    xp, native = xp_of(images), images.shape[-1]
    low, to_high = resizing(native, size)
    high, low = (xp.asarray(place) for place in (np.minimum(low + 1, native - 1), low))
    to_low, to_high = (xp.asarray(share) for share in (1 - to_high, to_high))
    rows = images[:, :, low] * to_low[:, None] + images[:, :, high] * to_high[:, None]
    return rows[:, :, :, low] * to_low + rows[:, :, :, high] * to_high


def resizing(native: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Of each of `size` pixels the one of `native` to its left, int32, and the share of the next one, float32."""
    centres = np.clip((np.arange(size) + 0.5) * native / size - 0.5, 0, native - 1)
    low = np.floor(centres).astype(np.int32)
    return low, (centres - low).astype(np.float32)


@functools.lru_cache(maxsize=16)
def _resizing_there(xp: ModuleType, device: Device, native: int, size: int) -> tuple[Array, Array]:
    """`resizing`, sent to a GPU once. `xp`: whose arrays they are."""
    with current(device):
        low, shares = resizing(native, size)
        return xp.asarray(low), xp.asarray(shares)


@functools.lru_cache(maxsize=16)
def _normalization_there(
    xp: ModuleType, device: Device, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[Array, Array]:
    """Mean and standard deviation of each channel, sent to a GPU once."""
    with current(device):
        return xp.asarray(np.array(mean, np.float32)), xp.asarray(np.array(std, np.float32))


PREPROCESS = {Way.CUDA: _on_a_gpu, Way.PLAIN: _plainly}
SUITS = {Way.CUDA: _suits_a_gpu}
