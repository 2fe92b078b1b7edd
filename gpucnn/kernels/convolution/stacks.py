"""Stacks of matrices, as convolution has them: cut by group, and their products added up."""

from gpucnn.backend import Array
from gpucnn.kernels.gemm import matmul


def by_group(stack: Array, groups: int) -> Array:
    """A matrix (..., groups * R, W), or a stack of them, as (..., groups, R, W)."""
    *stacked, rows, width = stack.shape
    return stack.reshape(*stacked, groups, rows // groups, width)


def add_products(a: Array, b: Array, total: Array, first: bool) -> None:
    """Add the products of two stacks up into `total` (groups, M, N), or, if they are the `first`, put them there."""
    if len(a) == 1 and first:
        matmul(a, b, out=total[None])
    elif first:
        matmul(a, b).sum(axis=0, out=total)
    else:
        total += matmul(a, b).sum(axis=0)
