"""Compiled products of a matrix of vectors, one per image, with a small matrix of weights.

Every product goes tile by tile, some rows times some columns of what comes out, whose sums stay in registers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from gpucnn.backend import Array
from gpucnn.backend.host_memory import empty
from gpucnn.backend.threads import Parts, cut
from gpucnn.kernels.compiler import processor
from gpucnn.kernels.compiler.loop import EACH, FREE, Argument, Loop, cached, run
from gpucnn.kernels.compiler.processor import Processor
from gpucnn.kernels.elementwise import compiled as elementwise_loops

if TYPE_CHECKING:
    from gpucnn.kernels.compiler.builder import Builder, Pointer, Size, Vector

OUTPUTS_PER_TILE = 4

FEW_PARTS = 4
"""See `cut`: each part goes through the whole smaller matrix. This and what follows is measured by `gpucnn bench --operations`."""

ROWS_TOGETHER = 8
"""The most rows of a tile; parts begin at multiples of it."""

LARGEST_MATRIX = 4 << 20
"""Bytes of a matrix that is read again for each part; of more, a BLAS makes better use of the cache."""


def suits(matrices: Sequence[Array | None]) -> bool:
    """Whether loops make the product of some of these matrices: they are small, and not empty."""
    return all(0 < matrix.nbytes <= LARGEST_MATRIX for matrix in matrices if matrix is not None)


def linear(vectors: Array, weight: Array, bias: Array | None, relu: bool) -> Array:
    """A product, with bias and ReLU while its sums are in registers."""
    outputs, inputs = weight.shape
    output = empty((len(vectors), outputs), vectors.dtype)
    arrays = [np.ascontiguousarray(vectors), np.ascontiguousarray(weight), output]
    if bias is not None:
        arrays.append(np.ascontiguousarray(bias))
    loop = linear_loop(inputs, outputs, bias is not None, relu, processor.processor())
    run(loop, len(vectors), arrays, _row_parts(len(vectors), weight.size))
    return output


def vectors_gradient(gradient: Array, weight: Array, relu_output: Array | None) -> tuple[Array, Array]:
    """ReLU's gradient, and a product of what has passed it while that is in the cache."""
    outputs, inputs = weight.shape
    result = empty((len(gradient), inputs), gradient.dtype)
    arrays = [np.ascontiguousarray(gradient), np.ascontiguousarray(weight), result]
    if relu_output is not None:
        gradient = empty(gradient.shape, gradient.dtype)
        arrays += [np.ascontiguousarray(relu_output), gradient]
    loop = vectors_gradient_loop(inputs, outputs, relu_output is not None, processor.processor())
    run(loop, len(gradient), arrays, _row_parts(len(gradient), weight.size))
    return result, gradient


def weight_gradient(gradient: Array, vectors: Array, weight_gradient: Array, bias_gradient: Array | None) -> None:
    """A product, with the sums over images for the bias."""
    outputs, inputs = weight_gradient.shape
    arrays = [np.ascontiguousarray(gradient), np.ascontiguousarray(vectors), weight_gradient]
    if bias_gradient is not None:
        arrays.append(bias_gradient)
    loop = weight_gradient_loop(inputs, outputs, bias_gradient is not None, processor.processor())
    run(loop, outputs, arrays, _row_parts(outputs, vectors.size))


def bias_gradient(gradient: Array, relu_output: Array | None, bias_gradient: Array) -> None:
    """The sums of the gradient over images."""
    passed = gradient if relu_output is None else elementwise_loops.relu_gradient(gradient, relu_output)
    elementwise_loops.add_rows(np.ascontiguousarray(passed), bias_gradient)


def _row_parts(rows: int, work: int) -> Parts:
    """`rows` of `work` multiply-adds each, in parts that are whole tiles."""
    return cut(rows, work, step=ROWS_TOGETHER, few=FEW_PARTS)


@cached
def linear_loop(inputs: int, outputs: int, bias: bool, relu: bool, machine: Processor) -> Loop:
    """vectors (N, I), weight (O, I), bias (O,) -> output (N, O).

    Both matrices are read along their rows:

                     rows of weight ->
                  +------+------+------+
        rows of   | sums | sums | sums |     sums += vectors[n, places] * weight[o, places]
        vectors   +------+------+------+
           |      | sums | sums | sums |     for all places of a row, a vector at a time
           v      +------+------+------+

    The sums are vectors, whose numbers are only added up at the end.
    """
    width = _power_of_two(min(inputs, machine.lanes))
    outputs_per_tile = _power_of_two(min(outputs, OUTPUTS_PER_TILE))

    def write(b: Builder) -> None:
        vectors, weight, output = b.pointer("vectors"), b.pointer("weight"), b.pointer("output")
        offsets = b.pointer("bias") if bias else None
        zero = b.splat(0.0, width)

        def some_outputs(o: Size) -> None:
            most = machine.filters_per_tile // 2
            b.in_tiles(b.index("first"), b.index("last"), most, lambda n, rows: tile(n, o, rows))

        def tile(n: Size, o: Size, rows: int) -> None:
            lines = [vectors + (n + row) * inputs for row in range(rows)]
            filters = [weight + (o + k) * inputs for k in range(outputs_per_tile)]

            def add(i: Size, sums: list[Vector], seen: Vector | None = None) -> list[Vector]:
                values, factors = ([line.load(i, width) for line in some] for some in (lines, filters))
                if seen is not None:
                    values, factors = ([seen.select(one, zero) for one in some] for some in (values, factors))
                products = [(value, factor) for value in values for factor in factors]
                return [b.fma(*product, total) for product, total in zip(products, sums, strict=True)]

            whole = inputs // width * width
            sums = b.fold(0, whole, width, [zero] * (rows * outputs_per_tile), add)
            if whole < inputs:  # the last vector of a row, without what was there already
                fresh = b.within(b.count_up(inputs - width - whole, 1, width), width)
                sums = add(inputs - width, sums, fresh)
            for row in range(rows):
                total = b.sums(sums[row * outputs_per_tile : (row + 1) * outputs_per_tile])
                if offsets is not None:
                    total = total + offsets.load(o, outputs_per_tile)
                output.store(total.rectified() if relu else total, (n + row) * outputs + o)

        whole = outputs // outputs_per_tile * outputs_per_tile
        b.each(0, whole, outputs_per_tile, some_outputs)
        if whole < outputs:
            some_outputs(outputs - outputs_per_tile)

    arguments = [
        Argument("vectors", (EACH, inputs)),
        Argument("weight", (outputs, inputs)),
        Argument("output", (EACH, outputs), written=True),
    ]
    if bias:
        arguments.append(Argument("bias", (outputs,)))
    return Loop("linear_forward", (inputs, outputs, bias, relu, machine.filters_per_tile), tuple(arguments), write)


@cached
def vectors_gradient_loop(inputs: int, outputs: int, relu: bool, machine: Processor) -> Loop:
    """gradient (N, O), weight (O, I) -> vectors_gradient (N, I).

    With `relu` the gradient is that of ReLU's `output` (N, O); what passes, where that is not 0, is left in `passed` (N, O).
    """

    def write(b: Builder) -> None:
        weight, result = b.pointer("weight"), b.pointer("vectors_gradient")
        gradient = _pass_on(b, outputs) if relu else b.pointer("gradient")
        tile = machine.filters_per_tile
        _add_rows(b, inputs, outputs, tile, weight, lambda n, o, k: gradient + (n * outputs + o) + k * outputs, result)

    arguments = [
        Argument("gradient", (EACH, outputs)),
        Argument("weight", (outputs, inputs)),
        Argument("vectors_gradient", (EACH, inputs), written=True),
    ]
    if relu:
        arguments += [Argument("output", (EACH, outputs)), Argument("passed", (EACH, outputs), written=True)]
    sizes = (inputs, outputs, relu, machine.filters_per_tile)
    return Loop("linear_vectors_gradient", sizes, tuple(arguments), write)


def _pass_on(b: Builder, outputs: int) -> Pointer:
    """Fill the items of `passed`; where it begins."""
    gradient, output, passed = (b.pointer(name) for name in ("gradient", "output", "passed"))

    def one(i: Size, width: int) -> None:
        passed.store(gradient.load(i, width).where_nonzero(output.load(i, width)), i)

    b.sweep(b.index("first") * outputs, b.index("last") * outputs, one)
    return passed


@cached
def weight_gradient_loop(inputs: int, outputs: int, bias: bool, machine: Processor) -> Loop:
    """gradient (N, O), vectors (N, I) -> weight_gradient (O, I) and bias_gradient (O,); the items are rows of weights."""

    def write(b: Builder) -> None:
        gradient, vectors, result = b.pointer("gradient"), b.pointer("vectors"), b.pointer("weight_gradient")
        batch = b.free_size()
        tile = machine.filters_per_tile
        _add_rows(b, inputs, batch, tile, vectors, lambda o, n, k: gradient + (n * outputs + o) + k, result)
        if bias:
            total = b.pointer("bias_gradient")

            def some_sums(o: Size, width: int) -> None:
                def add(n: Size, sums: list[Vector]) -> list[Vector]:
                    return [sums[0] + gradient.load(n * outputs + o, width)]

                total.store(b.fold(0, batch, 1, [b.splat(0.0, width)], add)[0], o)

            b.sweep(b.index("first"), b.index("last"), some_sums)

    arguments = [
        Argument("gradient", (FREE, outputs)),
        Argument("vectors", (FREE, inputs)),
        Argument("weight_gradient", (EACH, inputs), written=True),
    ]
    if bias:
        arguments.append(Argument("bias_gradient", (EACH,), written=True))
    return Loop("linear_weight_gradient", (inputs, outputs, bias, machine.filters_per_tile), tuple(arguments), write)


def _add_rows(
    b: Builder,
    columns: int,
    count: Size,
    rows_per_tile: int,
    matrix: Pointer,
    factor: Callable[[Size, Size, int], Pointer],
    output: Pointer,
) -> None:
    """output[row + k] = the sum of factor(row, i, k) * matrix[i] over all i below `count`, for the rows from first to last.

                      columns ->
                 +--------+--------+
    rows of the  |  sums  |  sums  |     sums += factor (one number, spread) * matrix[i, columns] (a vector)
    output       +--------+--------+
       |         |  sums  |  sums  |     for every i
       v         +--------+--------+
    """
    width = _power_of_two(min(columns, b.lanes))

    def some_columns(places: list[Size]) -> None:
        b.in_tiles(b.index("first"), b.index("last"), rows_per_tile, lambda row, rows: tile(row, rows, places))

    def tile(row: Size, rows: int, places: list[Size]) -> None:
        def add(i: Size, sums: list[Vector]) -> list[Vector]:
            vectors = [matrix.load(i * columns + x, width) for x in places]
            numbers = [factor(row, i, k).spread(0, width) for k in range(rows)]
            products = [(number, vector) for number in numbers for vector in vectors]
            return [b.fma(*product, total) for product, total in zip(products, sums, strict=True)]

        sums = b.fold(0, count, 1, [b.splat(0.0, width)] * (rows * len(places)), add)
        for k in range(rows):
            for j, x in enumerate(places):
                output.store(sums[k * len(places) + j], (row + k) * columns + x)

    whole = columns // (2 * width) * (2 * width)
    b.each(0, whole, 2 * width, lambda x: some_columns([x, x + width]))
    if columns - whole > width:
        some_columns([whole, columns - width])
    elif columns > whole:
        some_columns([columns - width])


def _power_of_two(size: int) -> int:
    """The largest that is not above `size`."""
    return 1 << (size.bit_length() - 1)
