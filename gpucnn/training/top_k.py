"""Top-k accuracy: whether the label is among the k classes with the highest scores."""

from gpucnn.autograd import on_their_device
from gpucnn.backend import Array, xp_of
from gpucnn.checks import as_count, shape_text
from gpucnn.errors import ShapeError


@on_their_device
def in_top_k(logits: Array, labels: Array, k: int) -> Array:
    """Truth values (N,): whether fewer than `k` classes come before the label.

    `logits` are (N, classes), `labels` (N,) integers on the same device. Of equal scores the class with the lower number
    comes first, as with argmax. A row with a NaN has no order: its label is in no top k. Raises ArgumentError unless `k`
    is an int >= 1, ShapeError if logits and labels do not go together.
    """
    k = as_count(k, "k")
    if logits.ndim != 2 or labels.shape != logits.shape[:1]:
        raise ShapeError(
            f"in_top_k: expected logits (N, classes) and labels (N,), got {shape_text(logits.shape)} and "
            f"{shape_text(labels.shape)}"
        )
    xp = xp_of(logits, labels)
    classes = xp.arange(logits.shape[1])
    own = logits[xp.arange(len(labels)), labels][:, None]
    before = (logits > own) | ((logits == own) & (classes < labels[:, None]))
    return (before.sum(axis=1) < k) & ~xp.isnan(logits).any(axis=1)
