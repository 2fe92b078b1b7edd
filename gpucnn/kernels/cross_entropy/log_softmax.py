"""The logarithm of softmax, the numerically safe core of softmax and of the cross-entropy loss."""

from gpucnn.backend import Array, xp_of


def log_softmax(logits: Array, axis: int | tuple[int, ...]) -> Array:
    """logits - log(sum(exp(logits))) along `axis`, or several together, of the same shape.

    The largest logit is taken off first, so that no exponential overflows.
    """
    xp = xp_of(logits)
    shifted = logits - logits.max(axis=axis, keepdims=True)
    shifted -= xp.log(xp.exp(shifted).sum(axis=axis, keepdims=True))
    return shifted
