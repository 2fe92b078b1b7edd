"""Batch norm in four passes: moments of every plane, normalisation; sums for the gradient, gradient.

Between them stand a few numbers a plane, which NumPy combines in float64.
"""

from collections.abc import Callable
from functools import cache

from gpucnn.kernels.jit.builder import Builder, Pointer, Size, Vector
from gpucnn.kernels.jit.kernel import EACH, Argument, Kernel
from gpucnn.kernels.jit.sums import add_up


@cache
def moments(channels: int, positions: int) -> Kernel:
    """values (N, C, P) -> means (N, C), and squares (N, C): the sums of squares of what differs from those means."""

    def write(b: Builder) -> None:
        values, means, squares = b.pointer("values"), b.pointer("means"), b.pointer("squares")

        def one_plane(p: Size, _: Size) -> None:
            plane = values + p * positions
            (total,) = add_up(b, positions, 1, lambda i, width: [plane.load(i, width)])
            means.store(total * b.splat(1.0 / positions, 1), p)
            mean = spread(b, means, p)

            def square(i: Size, width: int) -> list[Vector]:
                centred = plane.load(i, width) - mean[width]
                return [centred * centred]

            squares.store(add_up(b, positions, 1, square)[0], p)

        each_plane(b, channels, one_plane)

    arguments = (
        Argument("values", (EACH, channels, positions)),
        Argument("means", (EACH, channels), written=True),
        Argument("squares", (EACH, channels), written=True),
    )
    return Kernel("batch_norm_moments", (channels, positions), arguments, write)


@cache
def normalize(channels: int, positions: int, relu: bool) -> Kernel:
    """values (N, C, P), and mean, factor, shift (C,) -> output (N, C, P): (values - mean) * factor + shift, or its ReLU."""

    def write(b: Builder) -> None:
        values, output = b.pointer("values"), b.pointer("output")
        numbers = [b.pointer(name) for name in ("mean", "factor", "shift")]

        def one_plane(p: Size, c: Size) -> None:
            mean, factor, shift = (spread(b, number, c) for number in numbers)

            def one(i: Size, width: int) -> None:
                centred = values.load(p * positions + i, width) - mean[width]
                value = b.fma(centred, factor[width], shift[width])
                if relu:
                    zero = b.splat(0.0, width)
                    value = (value < zero).select(zero, value)
                output.store(value, p * positions + i)

            b.sweep(0, positions, one)

        each_plane(b, channels, one_plane)

    arguments = (
        Argument("values", (EACH, channels, positions)),
        *(Argument(name, (channels,)) for name in ("mean", "factor", "shift")),
        Argument("output", (EACH, channels, positions), written=True),
    )
    return Kernel("batch_norm_normalize", (channels, positions, relu), arguments, write)


@cache
def products(channels: int, positions: int, relu: bool) -> Kernel:
    """gradient, values (N, C, P), mean (C,) -> sums (N, C) of the gradient, products (N, C) with (values - mean).

    With `relu` the gradient is that of ReLU's `output` (N, C, P), and does not count where that is 0.
    """

    def write(b: Builder) -> None:
        slope_at = _slopes(b, relu)
        values, means = b.pointer("values"), b.pointer("mean")
        sums, found = b.pointer("sums"), b.pointer("products")

        def one_plane(p: Size, c: Size) -> None:
            mean = spread(b, means, c)

            def terms(i: Size, width: int) -> list[Vector]:
                slope = slope_at(p * positions + i, width)
                return [slope, slope * (values.load(p * positions + i, width) - mean[width])]

            for pointer, total in zip((sums, found), add_up(b, positions, 2, terms), strict=True):
                pointer.store(total, p)

        each_plane(b, channels, one_plane)

    arguments = (
        Argument("gradient", (EACH, channels, positions)),
        Argument("values", (EACH, channels, positions)),
        Argument("mean", (channels,)),
        Argument("sums", (EACH, channels), written=True),
        Argument("products", (EACH, channels), written=True),
        *([Argument("output", (EACH, channels, positions))] if relu else []),
    )
    return Kernel("batch_norm_products", (channels, positions, relu), arguments, write)


@cache
def gradient(channels: int, positions: int, relu: bool) -> Kernel:
    """gradient, values (N, C, P), and numbers (C,) -> result (N, C, P), the gradient of the values.

    result = gradient * factor + (values - mean) * of_centred + shift. With `relu` see `products`.
    """

    def write(b: Builder) -> None:
        slope_at = _slopes(b, relu)
        values, result = b.pointer("values"), b.pointer("result")
        numbers = [b.pointer(name) for name in ("mean", "factor", "of_centred", "shift")]

        def one_plane(p: Size, c: Size) -> None:
            mean, factor, of_centred, shift = (spread(b, number, c) for number in numbers)

            def one(i: Size, width: int) -> None:
                centred = values.load(p * positions + i, width) - mean[width]
                rest = b.fma(centred, of_centred[width], shift[width])
                result.store(b.fma(slope_at(p * positions + i, width), factor[width], rest), p * positions + i)

            b.sweep(0, positions, one)

        each_plane(b, channels, one_plane)

    arguments = (
        Argument("gradient", (EACH, channels, positions)),
        Argument("values", (EACH, channels, positions)),
        *(Argument(name, (channels,)) for name in ("mean", "factor", "of_centred", "shift")),
        Argument("result", (EACH, channels, positions), written=True),
        *([Argument("output", (EACH, channels, positions))] if relu else []),
    )
    return Kernel("batch_norm_gradient", (channels, positions, relu), arguments, write)


def _slopes(b: Builder, relu: bool) -> Callable[[Size, int], Vector]:
    """The gradient at a place, as a function; that of what came into ReLU, if there is one."""
    slopes, output = b.pointer("gradient"), b.pointer("output") if relu else None

    def slope_at(place: Size, width: int) -> Vector:
        slope = slopes.load(place, width)
        if output is None:
            return slope
        zero = b.splat(0.0, width)
        return output.load(place, width).differs(zero).select(slope, zero)

    return slope_at


def each_plane(b: Builder, channels: int, body: Callable[[Size, Size], None]) -> None:
    """body(p, c) for the planes of the images: number p of all, of channel c."""
    b.each(b.index("first"), b.index("last"), 1, lambda n: b.each(0, channels, 1, lambda c: body(n * channels + c, c)))


def spread(b: Builder, numbers: Pointer, place: Size) -> dict[int, Vector]:
    """One number as a vector, by the widths that a sweep works in."""
    widths = [b.lanes >> halvings for halvings in range(b.lanes.bit_length())]
    return {width: numbers.spread(place, width) for width in widths}
