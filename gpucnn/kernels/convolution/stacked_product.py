"""Products of stacks of matrices (S, groups, M, K) and (S, groups, K, N), as convolution needs them."""

from gpucnn.backend import Array
from gpucnn.backend.blas import matmul


def by_group(stack: Array, groups: int) -> Array:
    """A matrix (..., groups * R, W), or a stack of them, as (..., groups, R, W)."""
    *stacked, rows, width = stack.shape
    return stack.reshape(*stacked, groups, rows // groups, width)


def product(a: Array, b: Array, out: Array | None = None) -> Array:
    """The matrix products (..., M, N) of (..., M, K) and (..., K, N).

    A single one is multiplied as plain matrices: CuPy then takes transposed ones without copying them. A single group has
    no axis of its own, as CuPy makes tables of addresses axis by axis where one matrix serves for many.
    """
    if max(a.size // (a.shape[-1] * a.shape[-2]), b.size // (b.shape[-1] * b.shape[-2])) > 1:
        if not a.shape[-3] == b.shape[-3] == 1:
            return matmul(a, b, out=out)
        a, b, out = (None if stack is None else stack[..., 0, :, :] for stack in (a, b, out))
        return matmul(a, b, out)[..., None, :, :]
    single = matmul(_only(a), _only(b), out=None if out is None else _only(out))
    return single.reshape(*b.shape[:-2], *single.shape)


def add_products(a: Array, b: Array, total: Array, first: bool) -> None:
    """Add the products of two stacks up into `total` (groups, M, N), or, if they are the `first`, put them there."""
    if len(a) == 1 and first:
        product(a, b, out=total[None])
    elif first:
        product(a, b).sum(axis=0, out=total)
    else:
        total += product(a, b).sum(axis=0)


def _only(stack: Array) -> Array:
    """The only matrix of a stack."""
    return stack.reshape(stack.shape[-2:])
