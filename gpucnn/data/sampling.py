"""Drawing samples by weight, for classes of unequal size."""

import numpy as np

from gpucnn.backend import Array, as_array, generator, to_host
from gpucnn.checks import as_count, labels_fix
from gpucnn.data.dataset import Dataset
from gpucnn.errors import ArgumentError
from gpucnn.text import shape_text


def class_weights(labels: Array, num_classes: int | None = None) -> np.ndarray:
    """Weights float64 (classes,) with which each class counts alike: N / (classes * samples of the class).

    For the loader's `weights`, or for the `weight` of `F.cross_entropy`. A class without samples has the weight 0.
    `labels` are integers (N,) on any device; `num_classes` is by default one more than the largest. Raises ArgumentError
    for other labels, or none.
    """
    own = to_host(as_array(labels))
    most = np.iinfo(np.int64).max if num_classes is None else as_count(num_classes, "class_weights: num_classes")
    if own.ndim != 1 or own.dtype.kind not in "iu" or not own.size or own.min() < 0 or own.max() >= most:
        below = "" if num_classes is None else f" and below num_classes={num_classes}"
        fix = labels_fix(own.shape)
        got = f"got {shape_text(own.shape)}, {fix}; " if fix else ""
        raise ArgumentError(f"class_weights: {got}labels must be integers (N,), one at least, from 0 on{below}")
    counts = np.bincount(own.astype(np.int64), minlength=num_classes or 0)
    weights: np.ndarray = len(own) / (np.count_nonzero(counts) * np.maximum(counts, 1)) * (counts > 0)
    return weights


def sample_weights(weights: np.ndarray, dataset: Dataset) -> np.ndarray:
    """`weights` float64 (N,), one per sample, from one per class or one per sample. ArgumentError if they are neither."""
    given = to_host(weights if isinstance(weights, np.ndarray) else as_array(weights, np.dtype(np.float64)))
    if given.dtype.kind not in "fiu":
        raise ArgumentError(f"weights must be numbers, got an array of {given.dtype}")
    given = given.astype(np.float64)
    if given.shape == (dataset.num_classes,):
        given = given[to_host(dataset.labels)]
    elif given.shape != (len(dataset),):
        raise ArgumentError(
            f"weights must be one per class, ({dataset.num_classes},), or one per image, ({len(dataset)},), "
            f"got {shape_text(given.shape)}"
        )
    if not np.isfinite(given).all() or given.min() < 0 or given.max() == 0:
        raise ArgumentError("weights must be finite numbers >= 0, and above 0 for one of the images at least")
    return given


def weighted_draws(weights: np.ndarray, seed: int, epoch: int) -> np.ndarray:
    """N indices int64 from 0 to N - 1, with replacement, by `weights` (N,): a function of (seed, epoch)."""
    up_to = np.cumsum(weights / weights.max())
    draws = generator(seed, "weighted sampling", epoch).random(len(weights))
    return np.searchsorted(up_to / up_to[-1], draws, side="right")  # on the right, so that a weight of 0 has no place


def occurrences(samples: np.ndarray) -> np.ndarray:
    """For each of `samples` (N,), how often it came before."""
    order = np.argsort(samples, kind="stable")
    ordered = samples[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    counts = np.empty_like(samples)
    counts[order] = np.arange(len(samples)) - np.repeat(starts, np.diff(np.r_[starts, len(samples)]))
    return counts
