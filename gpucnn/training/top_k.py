"""Top-k accuracy: whether the label is among the k classes with the highest scores."""

import numpy as np

from gpucnn.autograd import Tensor, on_their_device
from gpucnn.backend import Array, as_array, xp_of
from gpucnn.checks import as_count, labels_fix
from gpucnn.errors import ArgumentError, DTypeError, ShapeError
from gpucnn.text import shape_text


@on_their_device
def in_top_k(logits: Array, labels: Array, k: int) -> Array:
    """Truth values (N,): whether fewer than `k` classes come before the label.

    `logits` are (N, classes), `labels` (N,) integers on the same device. Of equal scores the class with the lower number
    comes first, as with argmax. A row with a NaN has no order: its label is in no top k. Raises ArgumentError unless `k`
    is an int >= 1, ShapeError if logits and labels do not go together.
    """
    k = as_count(k, "k")
    logits, labels = (value.data if isinstance(value, Tensor) else as_array(value) for value in (logits, labels))
    if labels.dtype.kind not in "iu":
        raise DTypeError(f"in_top_k: labels must be integers, got {labels.dtype}; convert with astype('int64')")
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        fix = labels_fix(labels.shape, len(logits) if logits.ndim else None)
        raise ShapeError(
            f"in_top_k: expected logits (N, classes) and labels (N,), got {shape_text(logits.shape)} and "
            f"{shape_text(labels.shape)}{f'; {fix}' if fix else ''}"
        )
    xp = xp_of(logits, labels)
    if xp is np and labels.size and not 0 <= labels.min() <= labels.max() < logits.shape[1]:
        raise ArgumentError(
            f"in_top_k: labels must be from 0 to {logits.shape[1] - 1}, got {labels.min()} to {labels.max()}"
        )
    classes = xp.arange(logits.shape[1])
    own = logits[xp.arange(len(labels)), labels][:, None]
    before = (logits > own) | ((logits == own) & (classes < labels[:, None]))
    return (before.sum(axis=1) < k) & ~xp.isnan(logits).any(axis=1)
