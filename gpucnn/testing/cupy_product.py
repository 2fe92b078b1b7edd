"""Which operands of a matrix product CuPy copies first, as cuBLAS does not take them as they lie in memory."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from gpucnn.testing.cupy_array import owner_of


def copied_operands(name: str, arguments: Sequence[Any], options: dict[str, Any]) -> list[np.ndarray]:
    """Those that CuPy copies in a call of its function `name`, whose arguments are given as NumPy arrays.

    cuBLAS takes a matrix that is contiguous in either order, and a batch of matrices if it is C-contiguous. What
    `einsum` does is not looked into.
    """
    if name == "einsum":
        return []
    first, second = operands = arguments[:2]
    if not first.ndim or not second.ndim:
        return []
    if name == "vdot" or (name == "matmul" and max(first.ndim, second.ndim) > 2):
        return [operand for operand in operands if not operand.flags.c_contiguous]
    if name == "matmul" or (name == "dot" and max(first.ndim, second.ndim) <= 2):
        return [operand for operand in operands if not operand.flags.forc]
    if name == "tensordot":
        contracted = _contracted_axes(first, *arguments[2:], **options)
    else:
        contracted = (-1,), (-1 if name == "inner" or second.ndim == 1 else -2,)
    return [operand for operand, axes in zip(operands, contracted, strict=True) if not _is_matrix(operand, axes)]


def pointer_kernels(name: str, arguments: Sequence[Any]) -> int:
    """How many kernels CuPy needs in a call of its function `name` to tell cuBLAS where each matrix of a batch lies.

    None where all lie at equal distances. Where one matrix serves for several, both operands and the result have a table
    of addresses, which is made axis by axis.
    """
    if name != "matmul":
        return 0
    first, second = arguments[:2]
    axes = max(first.ndim, second.ndim) - 2
    batches = [(1,) * (axes + 2 - operand.ndim) + operand.shape[:-2] for operand in (first, second)]
    return 0 if axes < 1 or batches[0] == batches[1] else 3 * axes


def _contracted_axes(first: np.ndarray, /, axes: Any = 2, **_: Any) -> tuple[tuple[int, ...], ...]:
    if isinstance(axes, int | np.integer):
        return tuple(range(first.ndim - axes, first.ndim)), tuple(range(axes))
    return tuple((own,) if isinstance(own, int | np.integer) else tuple(own) for own in axes)


def _is_matrix(array: np.ndarray, axes: tuple[int, ...]) -> bool:
    """Whether `array` is such a matrix once `axes` are put first and joined, and so are the others."""
    if array.ndim == 2 and len(axes) == 1:
        return array.flags.forc
    head = np.moveaxis(array, axes, range(len(axes)))
    matrix = head.reshape(math.prod(head.shape[: len(axes)]), math.prod(head.shape[len(axes) :]))
    return owner_of(matrix) is owner_of(array) and matrix.flags.forc
