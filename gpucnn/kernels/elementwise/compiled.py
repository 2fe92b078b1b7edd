"""ReLU, its gradient and sums in compiled loops, on all threads; and the sums of a gradient that passes ReLU on the way."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from gpucnn.backend import Array
from gpucnn.backend.host_memory import empty_like
from gpucnn.backend.threads import ELEMENT, cut
from gpucnn.kernels.compiler import loop
from gpucnn.kernels.compiler.loop import EACH, FREE, Argument, Loop, cached

if TYPE_CHECKING:
    from gpucnn.kernels.compiler.builder import Builder, Size, Vector

IN_TURN = 4
"""Sums of rows side by side, as each addition waits for the one before."""

Formula: TypeAlias = Literal["relu", "relu_gradient", "add", "add_relu"]


def relu(x: Array) -> Array:
    """See `relu` of this folder, as for the functions below."""
    return _computed("relu", x)


def relu_gradient(gradient: Array, output: Array) -> Array:
    """One pass over memory."""
    return _computed("relu_gradient", gradient, output)


def add(a: Array, b: Array, relu: bool) -> Array:
    """Of arrays that are alike."""
    return _computed("add_relu" if relu else "add", a, b)


def add_to(place: Array, more: Array) -> None:
    """Of arrays that are alike."""
    size = place.size
    flat = place.reshape(size)
    loop.run(formula_loop("add"), size, [flat, more.reshape(size), flat], cut(size, ELEMENT))


def add_rows(rows: Array, sums: Array) -> None:
    """Fill `sums` (size,) with those of rows (N, size), both contiguous."""
    count, size = rows.shape
    loop.run(row_sums_loop(size), size, [rows, sums], cut(size, count * ELEMENT))


def _computed(formula: Formula, *inputs: np.ndarray) -> np.ndarray:
    """What a formula makes of the elements of equally large arrays, in the shape of the first."""
    result, size = empty_like(inputs[0]), inputs[0].size
    arrays = [np.ascontiguousarray(array).reshape(size) for array in inputs]
    loop.run(formula_loop(formula), size, [*arrays, result.reshape(size)], cut(size, ELEMENT))
    return result


FORMULAS: dict[Formula, Callable[..., Vector]] = {
    "relu": lambda x: x.rectified(),
    "relu_gradient": lambda gradient, output: gradient.where_nonzero(output),
    "add": lambda a, b: a + b,
    "add_relu": lambda a, b: (a + b).rectified(),
}


@cached
def formula_loop(name: Formula) -> Loop:
    """An array (size,) for each argument of the formula of that name -> result (size,)."""
    formula, inputs = FORMULAS[name], FORMULAS[name].__code__.co_varnames

    def write(b: Builder) -> None:
        arrays, result = [b.pointer(array) for array in inputs], b.pointer("result")

        def one(i: Size, width: int) -> None:
            result.store(formula(*(array.load(i, width) for array in arrays)), i)

        b.sweep(b.index("first"), b.index("last"), one)

    arguments = [Argument(array, (EACH,)) for array in inputs]
    return Loop(name, (), (*arguments, Argument("result", (EACH,), written=True)), write)


@cached
def row_sums_loop(size: int) -> Loop:
    """rows (N, size) -> sums (size,), the items: a number for each column.

    Every fourth row is added to one of four sums, and these two by two: always in the same order.
    """

    def write(b: Builder) -> None:
        rows, sums, count = b.pointer("rows"), b.pointer("sums"), b.free_size()
        whole = count // IN_TURN * IN_TURN

        def some_columns(i: Size, width: int) -> None:
            def add(n: Size, totals: list[Vector]) -> list[Vector]:
                return [total + rows.load((n + k) * size + i, width) for k, total in enumerate(totals)]

            a, c, d, e = b.fold(0, whole, IN_TURN, [b.splat(0.0, width)] * IN_TURN, add)
            (total,) = b.fold(whole, count, 1, [(a + c) + (d + e)], add)
            sums.store(total, i)

        b.sweep(b.index("first"), b.index("last"), some_columns)

    arguments = (Argument("rows", (FREE, size)), Argument("sums", (EACH,), written=True))
    return Loop("row_sums", (size,), arguments, write)


@cached
def plane_sums_loop(positions: int, relu: bool) -> Loop:
    """gradient (P, positions) -> sums (P,), a number for each plane.

    With `relu` they are those of the gradient before ReLU, which is left in `rows`; `output` is what ReLU gave.
    """

    def write(b: Builder) -> None:
        gradient, sums = b.pointer("gradient"), b.pointer("sums")
        output, rows = (b.pointer("output"), b.pointer("rows")) if relu else (None, None)

        def passing(i: Size, width: int) -> Vector:
            passed = gradient.load(i, width)
            if output is not None and rows is not None:
                passed = passed.where_nonzero(output.load(i, width))
                rows.store(passed, i)
            return passed

        def one_plane(p: Size) -> None:
            sums.store(b.add_up(positions, 1, lambda i, width: [passing(p * positions + i, width)])[0], p)

        b.each(b.index("first"), b.index("last"), 1, one_plane)

    arguments = [Argument("gradient", (EACH, positions)), Argument("sums", (EACH,), written=True)]
    if relu:
        arguments += [Argument("output", (EACH, positions)), Argument("rows", (EACH, positions), written=True)]
    return Loop("plane_sums", (positions, relu), tuple(arguments), write)
