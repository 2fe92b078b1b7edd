"""Max pooling and its gradient, plane by plane.

The plane lies padded with minus infinity in scratch memory, as for a convolution. The first maximum of a window wins, and
the first NaN wins over all numbers, as everywhere in gpucnn.
"""

import math
from functools import cache

from gpucnn.kernels.jit.builder import INT32, Builder, Pointer, Size, Vector
from gpucnn.kernels.jit.kernel import EACH, Argument, Kernel
from gpucnn.kernels.jit.padded import PaddedPlane, fill, row_vectors


@cache
def forward(plane: PaddedPlane) -> Kernel:
    """planes (P, H, W) -> output (P, OH, OW) and argmax (P, OH, OW), where each maximum was in its plane.

    The argmax of a window of nothing but minus infinity in padded planes is -1.
    """
    (height, width), (rows, columns) = plane.image_size, plane.output_size
    (top, _), (left, _) = plane.window.padding
    padding = plane.window.padding != ((0, 0), (0, 0))

    def write(b: Builder) -> None:
        images, output, argmax = b.pointer("images"), b.pointer("output"), b.pointer("argmax", INT32)
        padded = b.pointer("scratch")
        vector, starts = row_vectors(columns, b.lanes)

        def one_plane(p: Size) -> None:
            plane.copy(b, images + p * (height * width), padded, -math.inf)
            b.each(0, rows, 1, lambda y: one_row(p * (rows * columns) + y * columns, y))

        def one_row(place: Size, y: Size) -> None:
            for x in starts:
                maximum, where = _maximum(b, plane, padded + y * plane.output_row_floats, x, vector, padding)
                corner = y * (plane.window.stride[0] * width) + (x * plane.window.stride[1] - top * width - left)
                corners = b.count_up(corner, plane.window.stride[1], vector)
                if padding:
                    nowhere = b.splat(-1, vector, INT32)
                    index = where.equals(nowhere).select(nowhere, where + corners)
                else:
                    index = where + corners
                output.store(maximum, place + x)
                argmax.store(index, place + x)

        b.each(b.index("first"), b.index("last"), 1, one_plane)

    arguments = (
        Argument("images", (EACH, height, width)),
        Argument("output", (EACH, rows, columns), written=True),
        Argument("argmax", (EACH, rows, columns), "int32", written=True),
    )
    return Kernel("max_pool", tuple(plane), arguments, write, plane.floats)


def _maximum(b: Builder, plane: PaddedPlane, row: Pointer, x: int, width: int, padding: bool) -> tuple[Vector, Vector]:
    """The maxima of the windows at positions x, x + 1, ..., and where they are, counted from each window's corner."""
    best = b.splat(-math.inf, width)
    where = b.splat(-1 if padding else 0, width, INT32)
    for tap_row in range(plane.window.kernel[0]):
        for tap_column in range(plane.window.kernel[1]):
            value = row.load(plane.tap_offset(tap_row, tap_column) + x, width)
            wins = (best < value) | (value.is_nan() & best.is_number())
            offset = tap_row * plane.window.dilation[0] * plane.image_size[1] + tap_column * plane.window.dilation[1]
            best, where = wins.select(value, best), wins.select(b.splat(offset, width, INT32), where)
    return best, where


@cache
def gradient(plane: PaddedPlane) -> Kernel:
    """gradient (P, OH, OW), argmax (P, OH, OW) -> images (P, H, W): each window's gradient goes to where its maximum was."""
    (height, width), (rows, columns) = plane.image_size, plane.output_size

    def write(b: Builder) -> None:
        slopes, argmax, images = b.pointer("gradient"), b.pointer("argmax", INT32), b.pointer("images")

        def one_plane(p: Size) -> None:
            target = images + p * (height * width)
            fill(b, target, 0, height * width)
            b.each(0, rows * columns, 1, lambda i: one_window(p * (rows * columns) + i, target))

        def one_window(i: Size, target: Pointer) -> None:
            index = argmax.load(i, 1)
            inside = b.within(index, height * width)  # a window of padding alone has no winner
            winner = target + b.as_index(inside.select(index, b.splat(0, 1, INT32)))
            winner.store(winner.load(0, 1) + inside.select(slopes.load(i, 1), b.splat(0.0, 1)))

        b.each(b.index("first"), b.index("last"), 1, one_plane)

    arguments = (
        Argument("gradient", (EACH, rows, columns)),
        Argument("argmax", (EACH, rows, columns), "int32"),
        Argument("images", (EACH, height, width), written=True),
    )
    return Kernel("max_pool_gradient", tuple(plane), arguments, write)
