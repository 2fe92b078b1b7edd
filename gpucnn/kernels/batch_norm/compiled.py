"""Batch normalisation in four compiled loops over pixels: moments of every plane, normalisation; sums for the gradient, gradient.

Between them stand a few numbers a plane. Small loops combine them in float64, channel by channel, and move the running
statistics. ReLU and the sum with a residual take no loop of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from gpucnn.backend import Array
from gpucnn.backend.host_memory import empty_like
from gpucnn.backend.threads import ELEMENT, cut
from gpucnn.kernels.batch_norm.plain import Gradients, Running, Statistics, unbiased
from gpucnn.kernels.compiler import loop
from gpucnn.kernels.compiler.loop import EACH, FREE, Argument, Loop, cached
from gpucnn.kernels.ways import Way

if TYPE_CHECKING:
    from gpucnn.kernels.compiler.builder import Builder, Pointer, Size, Vector

LEAST_POSITIONS = 16
"""Planes of fewer positions leave vectors empty; NumPy's own loops are faster. Measured by `gpucnn bench --operations`."""

MEAN, VARIANCE, INVERSE, FACTOR, SHIFT = range(5)
"""What stands in which row of `statistics`: of every channel mean, biased variance, and 1 / sqrt(variance + eps); the output
is (values - mean) * factor + shift."""


def suits(values: Array) -> bool:
    """Whether loops over its planes make good use of vectors."""
    return bool(values.shape[2] >= LEAST_POSITIONS)


def batch_norm(
    values: Array,
    weight: Array | None,
    bias: Array | None,
    eps: float,
    relu: bool,
    residual: Array | None,
    running: Running | None,
) -> tuple[Array, Statistics]:
    """See `batch_norm` of this folder."""
    batch, channels, positions = values.shape
    parts = cut(batch, channels * positions * ELEMENT)
    moments, table = np.empty((batch, 2, channels), values.dtype), np.empty((5, channels), values.dtype)
    loop.run(moments_loop(channels, positions), batch, [values, moments], parts)
    affine = [np.ascontiguousarray(array) for array in (weight, bias) if array is not None]
    combine = statistics_loop(channels, positions, weight is not None, bias is not None, eps)
    loop.run(combine, channels, [moments, *affine, table])
    output, added = empty_like(values), [] if residual is None else [residual]
    loop.run(normalize_loop(channels, positions, relu, bool(added)), batch, [values, table, *added, output], parts)
    if running is not None:
        _move(running, table, unbiased(values))
    mean, variance, inverse = table[:3]
    return output, Statistics(mean, variance, inverse, Way.COMPILED, table)


def batch_norm_gradients(
    gradient: Array,
    values: Array,
    weight: Array | None,
    statistics: Statistics,
    found: Gradients,
    output: Array | None,
    added: bool,
) -> Array:
    """See `batch_norm_gradients` of this folder."""
    batch, channels, positions = values.shape
    parts, relu, table = cut(batch, channels * positions * ELEMENT), output is not None, statistics.table
    sums, numbers = np.empty((batch, 2, channels), values.dtype), np.empty((3, channels), values.dtype)
    if relu and added:
        passed = empty_like(values) if found.residual is None else found.residual
        loop.run(passed_loop(channels, positions), batch, [gradient, values, output, table, passed, sums], parts)
        gradient, relu = passed, False
    else:
        loop.run(products_loop(channels, positions, relu), batch, [gradient, values, table, sums], parts)
    own = [np.empty(channels, values.dtype) if array is None else array for array in (found.weight, found.bias)]
    scale = [] if weight is None else [np.ascontiguousarray(weight)]
    combine = coefficients_loop(channels, positions, weight is not None)
    loop.run(combine, channels, [sums, table, *scale, numbers, *own])
    result = empty_like(values)
    loop.run(gradient_loop(channels, positions, relu), batch, [gradient, values, table, numbers, result], parts)
    return result


def next_share(count: Array) -> Array:
    """See `next_share` of this folder."""
    share = np.empty((), count.dtype)
    loop.run(share_loop(), 1, [count.reshape(1), share.reshape(1)])
    return share


def _move(running: Running, table: Array, factor: float) -> None:
    """`plain.move`, in a loop, to the same bits."""
    is_number = isinstance(running.share, float)
    share = [1 - running.share, running.share] if is_number else [0, 0]
    numbers = np.array([*share, factor], table.dtype)
    numbers.flags.writeable = False  # a constant, which a recorded step may read
    moved = [np.empty(table.shape[1], table.dtype) if array is None else array for array in running[:2]]
    given = [] if is_number else [np.ascontiguousarray(running.share).reshape(1)]
    loop.run(running_loop(table.shape[1], not is_number), table.shape[1], [table, numbers, *given, *moved])


@cached
def moments_loop(channels: int, positions: int) -> Loop:
    """values (N, C, P) -> moments (N, 2, C): means, and sums of the squares of what differs from those means."""

    def write(b: Builder) -> None:
        values, found = b.pointer("values"), b.pointer("moments")

        def one_plane(n: Size, c: Size) -> None:
            plane, means = values + (n * channels + c) * positions, found + n * (2 * channels)
            (total,) = b.add_up(positions, 1, lambda i, width: [plane.load(i, width)])
            means.store(total * b.splat(1.0 / positions, 1), c)
            mean = spread(b, means, c)

            def square(i: Size, width: int) -> list[Vector]:
                centred = plane.load(i, width) - mean[width]
                return [centred * centred]

            means.store(b.add_up(positions, 1, square)[0], c + channels)

        each_plane(b, channels, one_plane)

    arguments = (
        Argument("values", (EACH, channels, positions)),
        Argument("moments", (EACH, 2, channels), written=True),
    )
    return Loop("batch_norm_moments", (channels, positions), arguments, write)


@cached
def statistics_loop(channels: int, positions: int, weight: bool, bias: bool, eps: float) -> Loop:
    """moments (N, 2, C), and weight, bias (C,) -> statistics (5, C), see MEAN; the items are channels.

    Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.
    """
    affine = [name for name, given in (("weight", weight), ("bias", bias)) if given]

    def write(b: Builder) -> None:
        found, results, batch = b.pointer("moments"), b.pointer("statistics"), b.free_size()

        def some_channels(c: Size, width: int) -> None:
            images, zero = b.number(batch, width), b.splat(0.0, width, b.DOUBLE)
            given = {name: b.pointer(name).load(c, width).widened() for name in affine}

            def add(n: Size, totals: list[Vector]) -> list[Vector]:
                return [totals[0] + found.load(n * (2 * channels) + c, width).widened()]

            mean = b.fold(0, batch, 1, [zero], add)[0] / images

            def add_squares(n: Size, totals: list[Vector]) -> list[Vector]:
                mean_of_plane, squares = (found.load((n * 2 + k) * channels + c, width).widened() for k in (0, 1))
                centred = mean_of_plane - mean
                return [totals[0] + squares, totals[1] + centred * centred]

            within, between = b.fold(0, batch, 1, [zero, zero], add_squares)
            variance = (within / b.splat(positions, width, b.DOUBLE) + between) / images
            inverse = b.splat(1.0, width, b.DOUBLE) / b.sqrt(variance + b.splat(eps, width, b.DOUBLE))
            factor = inverse * given["weight"] if weight else inverse
            shift = (mean.narrowed().widened() - mean) * factor  # what the mean loses when it is rounded
            if bias:
                shift += given["bias"]
            for row, number in enumerate((mean, variance, inverse, factor, shift)):
                results.store(number.narrowed(), c + row * channels)

        b.sweep(b.index("first"), b.index("last"), some_channels)

    arguments = (
        Argument("moments", (FREE, 2, channels)),
        *(Argument(name, (channels,)) for name in affine),
        Argument("statistics", (5, channels), written=True),
    )
    return Loop("batch_norm_statistics", (channels, positions, weight, bias, eps), arguments, write)


@cached
def running_loop(channels: int, given: bool) -> Loop:
    """statistics (5, C), numbers (3,) -> running_mean, running_variance (C,), moved in place; the items are channels.

    The numbers are the share that stays, that which moves, and what makes the variance that of a sample. If the share is
    `given` it is an array (1,), and the first two do not count.
    """

    def write(b: Builder) -> None:
        fresh, numbers = b.pointer("statistics"), b.pointer("numbers")

        def some_channels(c: Size, width: int) -> None:
            stays, share, factor = (numbers.spread(place, width) for place in range(3))
            if given:
                share = b.pointer("share").spread(0, width)
                stays = b.splat(1.0, width) - share
            variance = fresh.load(c + VARIANCE * channels, width) * factor
            for name, one in (("mean", fresh.load(c + MEAN * channels, width)), ("variance", variance)):
                running = b.pointer(f"running_{name}")
                running.store(stays * running.load(c, width) + share * one, c)

        b.sweep(b.index("first"), b.index("last"), some_channels)

    arguments = (
        Argument("statistics", (5, channels)),
        Argument("numbers", (3,)),
        *([Argument("share", (1,))] if given else []),
        *(Argument(f"running_{name}", (EACH,), written=True) for name in ("mean", "variance")),
    )
    return Loop("batch_norm_running", (channels, given), arguments, write)


@cached
def share_loop() -> Loop:
    """count (1,), one more in place -> share (1,), 1 / count."""

    def write(b: Builder) -> None:
        count, share, one = b.pointer("count"), b.pointer("share"), b.splat(1.0, 1)
        fresh = count.load(0, 1) + one
        count.store(fresh)
        share.store(one / fresh)

    arguments = tuple(Argument(name, (EACH,), written=True) for name in ("count", "share"))
    return Loop("batch_norm_share", (), arguments, write)


@cached
def normalize_loop(channels: int, positions: int, relu: bool, added: bool = False) -> Loop:
    """values (N, C, P) and statistics (5, C) -> output (N, C, P): (values - mean) * factor + shift, or its ReLU.

    If it is to be `added`, a residual (N, C, P) stands behind the statistics.
    """

    def write(b: Builder) -> None:
        values, numbers, output = b.pointer("values"), b.pointer("statistics"), b.pointer("output")
        residual = b.pointer("residual") if added else None

        def one_plane(n: Size, c: Size) -> None:
            mean, factor, shift = (spread(b, numbers, c + row * channels) for row in (MEAN, FACTOR, SHIFT))
            plane = (n * channels + c) * positions

            def one(i: Size, width: int) -> None:
                value = b.fma(values.load(plane + i, width) - mean[width], factor[width], shift[width])
                if residual is not None:
                    value += residual.load(plane + i, width)
                output.store(value.rectified() if relu else value, plane + i)

            b.sweep(0, positions, one)

        each_plane(b, channels, one_plane)

    arguments = (
        Argument("values", (EACH, channels, positions)),
        Argument("statistics", (5, channels)),
        *([Argument("residual", (EACH, channels, positions))] if added else []),
        Argument("output", (EACH, channels, positions), written=True),
    )
    return Loop("batch_norm_normalize", (channels, positions, relu, added), arguments, write)


@cached
def products_loop(channels: int, positions: int, relu: bool) -> Loop:
    """gradient, values (N, C, P), statistics (5, C) -> sums (N, 2, C).

    They are those of the gradient, and of its products with (values - mean). With `relu` the gradient is that of ReLU's
    output, and does not count where that is 0.
    """

    def write(b: Builder) -> None:
        sums = b.pointer("sums")

        def one_plane(n: Size, c: Size) -> None:
            centred_and_gradient = _plane(b, channels, positions, relu, n, c)

            def terms(i: Size, width: int) -> list[Vector]:
                centred, passed = centred_and_gradient(i, width)
                return [passed, passed * centred]

            for row, total in enumerate(b.add_up(positions, 2, terms)):
                sums.store(total, (n * 2 + row) * channels + c)

        each_plane(b, channels, one_plane)

    arguments = (
        Argument("gradient", (EACH, channels, positions)),
        Argument("values", (EACH, channels, positions)),
        Argument("statistics", (5, channels)),
        Argument("sums", (EACH, 2, channels), written=True),
    )
    return Loop("batch_norm_products", (channels, positions, relu), arguments, write)


@cached
def passed_loop(channels: int, positions: int) -> Loop:
    """gradient, values, output (N, C, P), statistics (5, C) -> passed (N, C, P), sums (N, 2, C).

    What of the gradient passed ReLU, which gave `output`; and the sums that `products_loop` finds.
    """

    def write(b: Builder) -> None:
        arrays = [b.pointer(name) for name in ("gradient", "values", "output", "passed")]
        numbers, sums = b.pointer("statistics"), b.pointer("sums")

        def one_plane(n: Size, c: Size) -> None:
            gradients, values, output, passed = (array + (n * channels + c) * positions for array in arrays)
            mean = spread(b, numbers, c + MEAN * channels)

            def terms(i: Size, width: int) -> list[Vector]:
                slope = gradients.load(i, width).where_nonzero(output.load(i, width))
                passed.store(slope, i)
                return [slope, slope * (values.load(i, width) - mean[width])]

            for row, total in enumerate(b.add_up(positions, 2, terms)):
                sums.store(total, (n * 2 + row) * channels + c)

        each_plane(b, channels, one_plane)

    arguments = (
        *(Argument(name, (EACH, channels, positions)) for name in ("gradient", "values", "output")),
        Argument("statistics", (5, channels)),
        Argument("passed", (EACH, channels, positions), written=True),
        Argument("sums", (EACH, 2, channels), written=True),
    )
    return Loop("batch_norm_passed", (channels, positions), arguments, write)


@cached
def coefficients_loop(channels: int, positions: int, weight: bool) -> Loop:
    """sums (N, 2, C), statistics (5, C), weight (C,) -> coefficients (3, C), and the gradients of weight and bias (C,).

    The result of `gradient_loop` is gradient * coefficients[0] + (values - mean) * coefficients[1] + coefficients[2]. The items
    are channels.
    """

    def write(b: Builder) -> None:
        sums, results, batch = b.pointer("sums"), b.pointer("coefficients"), b.free_size()

        def some_channels(c: Size, width: int) -> None:
            def add(n: Size, totals: list[Vector]) -> list[Vector]:
                fresh = [sums.load((n * 2 + row) * channels + c, width).widened() for row in (0, 1)]
                return [total + one for total, one in zip(totals, fresh, strict=True)]

            total, product = b.fold(0, batch, 1, [b.splat(0.0, width, b.DOUBLE)] * 2, add)
            inverse = b.pointer("statistics").load(c + INVERSE * channels, width).widened()
            product *= inverse
            factor = inverse * b.pointer("weight").load(c, width).widened() if weight else inverse
            share = factor / b.number(batch * -positions, width)
            for row, number in enumerate((factor, share * inverse * product, share * total)):
                results.store(number.narrowed(), c + row * channels)
            b.pointer("weight_gradient").store(product.narrowed(), c)
            b.pointer("bias_gradient").store(total.narrowed(), c)

        b.sweep(b.index("first"), b.index("last"), some_channels)

    arguments = (
        Argument("sums", (FREE, 2, channels)),
        Argument("statistics", (5, channels)),
        *([Argument("weight", (channels,))] if weight else []),
        Argument("coefficients", (3, channels), written=True),
        *(Argument(name, (channels,), written=True) for name in ("weight_gradient", "bias_gradient")),
    )
    return Loop("batch_norm_coefficients", (channels, positions, weight), arguments, write)


@cached
def gradient_loop(channels: int, positions: int, relu: bool) -> Loop:
    """gradient, values (N, C, P), statistics (5, C), coefficients (3, C) -> result (N, C, P), the gradient of the values.

    See `coefficients_loop` for what it is, and `products_loop` for `relu`.
    """

    def write(b: Builder) -> None:
        numbers, result = b.pointer("coefficients"), b.pointer("result")

        def one_plane(n: Size, c: Size) -> None:
            centred_and_gradient = _plane(b, channels, positions, relu, n, c)
            factor, of_centred, shift = (spread(b, numbers, c + row * channels) for row in range(3))

            def one(i: Size, width: int) -> None:
                centred, passed = centred_and_gradient(i, width)
                rest = b.fma(centred, of_centred[width], shift[width])
                result.store(b.fma(passed, factor[width], rest), (n * channels + c) * positions + i)

            b.sweep(0, positions, one)

        each_plane(b, channels, one_plane)

    arguments = (
        Argument("gradient", (EACH, channels, positions)),
        Argument("values", (EACH, channels, positions)),
        Argument("statistics", (5, channels)),
        Argument("coefficients", (3, channels)),
        Argument("result", (EACH, channels, positions), written=True),
    )
    return Loop("batch_norm_gradient", (channels, positions, relu), arguments, write)


def _plane(
    b: Builder, channels: int, positions: int, relu: bool, n: Size, c: Size
) -> Callable[[Size, int], tuple[Vector, Vector]]:
    """Of a plane of the values what differs from the mean, and its gradient, place by place.

    What ReLU stopped is computed again, as `normalize_loop` did: that is faster than to read its output.
    """
    plane, numbers = (n * channels + c) * positions, b.pointer("statistics")
    values, gradients = b.pointer("values") + plane, b.pointer("gradient") + plane
    mean, factor, shift = (spread(b, numbers, c + row * channels) for row in (MEAN, FACTOR, SHIFT))

    def centred_and_gradient(i: Size, width: int) -> tuple[Vector, Vector]:
        centred, passed = values.load(i, width) - mean[width], gradients.load(i, width)
        if relu:
            zero = b.splat(0.0, width)
            passed = b.fma(centred, factor[width], shift[width]).exceeds_or_nan(zero).select(passed, zero)
        return centred, passed

    return centred_and_gradient


def each_plane(b: Builder, channels: int, body: Callable[[Size, Size], None]) -> None:
    """body(n, c) for every image n and every channel c."""
    b.each(b.index("first"), b.index("last"), 1, lambda n: b.each(0, channels, 1, lambda c: body(n, c)))


def spread(b: Builder, numbers: Pointer, place: Size) -> dict[int, Vector]:
    """One number as a vector, by the widths that a sweep works in."""
    widths = [b.lanes >> halvings for halvings in range(b.lanes.bit_length())]
    return {width: numbers.spread(place, width) for width in widths}
