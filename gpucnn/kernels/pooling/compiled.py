"""Max pooling and its gradient in compiled loops, plane by plane."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from gpucnn.backend import Array
from gpucnn.backend.host_memory import empty
from gpucnn.backend.threads import ELEMENT, cut
from gpucnn.checks import Pair
from gpucnn.errors import CaptureError
from gpucnn.kernels.compiler import MOST_WRITTEN_OUT
from gpucnn.kernels.compiler.loop import EACH, Argument, Loop, cached, run
from gpucnn.kernels.compiler.padded_plane import WIDEST_STRIDE, PaddedPlane, each_tap, fill, row_vectors
from gpucnn.kernels.compiler.recording import recorder
from gpucnn.kernels.pooling import numpy_way
from gpucnn.kernels.pooling.plain import Pooling

if TYPE_CHECKING:
    from gpucnn.kernels.compiler.builder import Builder, Pointer, Size, Vector

    Taps: TypeAlias = Callable[[Size, Size], Vector]
    """What a tap (row, column) reads for some neighbouring windows."""


def max_pool(task: Pooling, images: Array, with_argmax: bool) -> tuple[Array, Array | None]:
    """Maxima and places in one loop over the image."""
    output = empty(task.output_shape, images.dtype)
    argmax = empty(output.shape, np.int32)
    plane, planes = _planes(task, output)
    arrays = [array.reshape(planes, *array.shape[2:]) for array in (np.ascontiguousarray(images), output, argmax)]
    work = math.prod(plane.output_size) * math.prod(task.window.kernel) * ELEMENT
    run(max_pool_loop(plane), planes, arrays, cut(planes, work))
    if with_argmax and task.window.padding != ((0, 0), (0, 0)):
        if recorder() is not None:
            raise CaptureError(
                "pooling with padding looks for windows of nothing but minus infinity, which a replay does not"
            )
        if argmax.min() < 0:
            return numpy_way.max_pool(task, images, with_argmax)  # which tells minus infinity in the image from padding
    return output, argmax


def max_pool_gradient(task: Pooling, gradient: Array, argmax: Array) -> Array:
    """Element by element where windows do not overlap, else window by window."""
    plane, planes = _planes(task, gradient)
    images = empty(task.image_shape, gradient.dtype)
    arrays = [np.ascontiguousarray(gradient), np.ascontiguousarray(argmax), images]
    by_plane = [array.reshape(planes, *array.shape[2:]) for array in arrays]
    run(max_pool_gradient_loop(plane), planes, by_plane, cut(planes, math.prod(plane.image_size) * ELEMENT))
    return images


def _planes(task: Pooling, output: Array) -> tuple[PaddedPlane, int]:
    """How the window lies on a plane, and how many planes there are."""
    batch, channels, *output_size = output.shape
    return PaddedPlane(task.image_size, task.window, (output_size[0], output_size[1])), batch * channels


@cached
def max_pool_loop(plane: PaddedPlane) -> Loop:
    """planes (P, H, W) -> output (P, OH, OW) and argmax (P, OH, OW), where each maximum was in its plane.

    The argmax of a window of nothing but minus infinity in padded planes is -1. Windows that reach beyond the image read
    it from scratch memory, where it lies padded with minus infinity, as for a convolution; others where it is.
    """
    (height, width), (rows, columns) = plane.image_size, plane.output_size
    (top, _), (left, _) = plane.window.padding
    padding = plane.window.padding != ((0, 0), (0, 0))
    wide = plane.window.stride[1] > WIDEST_STRIDE
    # Neighbouring windows read an image with a stride if their columns are known when that is written.
    few = plane.window.kernel[1] <= MOST_WRITTEN_OUT or plane.window.stride[1] == 1
    in_place = plane.is_image and (few or wide)

    def write(b: Builder) -> None:
        images, output, argmax = b.pointer("images"), b.pointer("output"), b.pointer("argmax", b.INT32)
        padded = b.pointer("scratch")
        vector, starts = row_vectors(columns, 1 if in_place and wide else b.lanes)

        def one_plane(p: Size) -> None:
            image = images + p * (height * width)
            if not in_place:
                plane.copy(b, image, padded, -math.inf)
            b.each(0, rows, 1, lambda y: one_row(image, p * (rows * columns) + y * columns, y))

        def one_row(image: Pointer, place: Size, y: Size) -> None:
            def some_windows(x: Size, _: list[Vector]) -> list[Vector]:
                if in_place:
                    row = image + y * (plane.window.stride[0] * width)
                    taps = _taps_of_image(b, plane, row + x * plane.window.stride[1], vector)
                else:
                    taps = _taps_of_padded(plane, padded + y * plane.output_row_floats + x, vector)
                maximum, where = _maximum(b, plane, taps, vector, padding)
                corner = y * (plane.window.stride[0] * width) + (x * plane.window.stride[1] - top * width - left)
                corners = b.count_up(corner, plane.window.stride[1], vector)
                index = where + corners
                if padding:
                    nowhere = b.splat(-1, vector, b.INT32)
                    index = where.equals(nowhere).select(nowhere, index)
                output.store(maximum, place + x)
                argmax.store(index, place + x)
                return []

            whole = columns // vector * vector
            b.unroll(whole, vector, [], some_windows, math.prod(plane.window.kernel))
            if whole < columns:
                some_windows(starts[-1], [])

        b.each(b.index("first"), b.index("last"), 1, one_plane)

    arguments = (
        Argument("images", (EACH, height, width)),
        Argument("output", (EACH, rows, columns), written=True),
        Argument("argmax", (EACH, rows, columns), "int32", written=True),
    )
    return Loop("max_pool", tuple(plane), arguments, write, 0 if in_place else plane.floats)


def _taps_of_padded(plane: PaddedPlane, corner: Pointer, width: int) -> Taps:
    """The taps of `width` windows, of which the first has its corner at `corner` in a padded plane."""
    return lambda row, column: corner.load(plane.tap_offset(row, column), width)


def _taps_of_image(b: Builder, plane: PaddedPlane, corner: Pointer, width: int) -> Taps:
    """The same in the image itself: every `stride`-th column out of neighbours, which are loaded together.

        columns that two windows of 3 have, stride 2    a b c d e
        taps 0 and 1: of a b c d every second one       a c, b d
        tap 2: of b c d e every second one              c e

    No tap reads a column that none of the windows has: there may be none. Windows that are far apart are read one by one.
    """
    stride, dilation = plane.window.stride[1], plane.window.dilation

    def tap(row: Size, column: Size) -> Vector:
        column, line = column * dilation[1], row * (dilation[0] * plane.image_size[1])
        if 1 in (stride, width):
            return corner.load(line + column, width)
        assert isinstance(column, int)
        first = min(column // stride * stride, plane.window.extent[1] - stride)
        return b.pick(corner.load(line + first, width * stride), column - first, stride)

    return tap


def _maximum(b: Builder, plane: PaddedPlane, tap: Taps, width: int, padding: bool) -> tuple[Vector, Vector]:
    """The maxima of the windows, and where they are, counted from each window's corner."""
    down, right = plane.window.dilation[0] * plane.image_size[1], plane.window.dilation[1]

    def see(row: Size, column: Size, found: list[Vector]) -> list[Vector]:
        value, place = tap(row, column), b.count_up(row * down + column * right, 0, width)
        if not padding and (row, column) == (0, 0):  # it is in the image, whatever it holds
            return [value, place]
        best, where = found
        wins = value.exceeds_or_nan(best) & best.is_number()
        return [wins.select(value, best), wins.select(place, where)]

    nothing = [b.splat(-math.inf, width), b.splat(-1 if padding else 0, width, b.INT32)]
    best, where = each_tap(b, plane.window.kernel, nothing, see)
    return best, where


@cached
def max_pool_gradient_loop(plane: PaddedPlane) -> Loop:
    """gradient (P, OH, OW), argmax (P, OH, OW) -> images (P, H, W): each window's gradient goes to where its maximum was."""
    (height, width), (rows, columns) = plane.image_size, plane.output_size

    def write(b: Builder) -> None:
        gradient, argmax, images = b.pointer("gradient"), b.pointer("argmax", b.INT32), b.pointer("images")

        def one_plane(p: Size) -> None:
            windows, target = p * (rows * columns), images + p * (height * width)
            if plane.window.overlaps or not _is_written_out(plane, b.lanes):
                _go_to_winners(b, plane, gradient + windows, argmax + windows, target)
            else:
                _give_to_winners(b, plane, gradient + windows, argmax + windows, target)

        b.each(b.index("first"), b.index("last"), 1, one_plane)

    arguments = (
        Argument("gradient", (EACH, rows, columns)),
        Argument("argmax", (EACH, rows, columns), "int32"),
        Argument("images", (EACH, height, width), written=True),
    )
    return Loop("max_pool_gradient", tuple(plane), arguments, write)


def _go_to_winners(b: Builder, plane: PaddedPlane, gradient: Pointer, argmax: Pointer, target: Pointer) -> None:
    """Window by window: where they overlap, one element may have won several."""
    size = math.prod(plane.image_size)

    def one_window(i: Size) -> None:
        index = argmax.load(i, 1)
        inside = b.within(index, size)  # a window of padding alone has no winner
        winner = target + b.as_index(inside.select(index, b.splat(0, 1, b.INT32)))
        before, own = winner.load(0, 1), gradient.load(i, 1)
        winner.store(inside.select(before + own if plane.window.overlaps else own, before))

    fill(b, target, 0, size)
    b.each(0, math.prod(plane.output_size), 1, one_window)


def _is_written_out(plane: PaddedPlane, lanes: int) -> bool:
    """Whether `_give_to_winners` is short: it writes out a row of the image for each row of a window's stride."""
    (_, starts), down = row_vectors(plane.image_size[1], lanes), plane.window.stride[0]
    first, last = _whole_rows_of_windows(plane)
    in_part = plane.output_size[0] - max(0, last - first)
    return len(starts) * down * (1 + in_part) <= 4 * MOST_WRITTEN_OUT


def _whole_rows_of_windows(plane: PaddedPlane) -> Pair:
    """The first row of windows whose stride lies within the image, and the one after the last."""
    top, down = plane.window.padding[0][0], plane.window.stride[0]
    return -(-top // down), min(plane.output_size[0], (plane.image_size[0] + top) // down)


def _give_to_winners(b: Builder, plane: PaddedPlane, gradient: Pointer, argmax: Pointer, target: Pointer) -> None:
    """Element by element: without overlaps each one is in one window at most, and gets its gradient or 0.

        argmax and gradient of two windows, 2x2    6 3        a b
        the same over their columns                6 6 3 3    a a b b
        places in the first row, what they get     0 1 2 3    0 0 0 b
        places in the second row, what they get    4 5 6 7    0 0 a 0

    Columns beyond the last window are looked up in it, where they have not won.
    """
    (height, width), (rows, columns) = plane.image_size, plane.output_size
    (top, _), (left, _) = plane.window.padding
    down, across = plane.window.stride
    vector, starts = row_vectors(width, b.lanes)

    def one_row_of_windows(y: Size, inside: range) -> None:
        """The rows of the image that belong to it, which are `inside` when counted from the corner of the windows."""
        for x in starts:
            seen = [min((x + i + left) // across, columns - 1) for i in range(vector)]
            first, count = seen[0], seen[-1] - seen[0] + 1
            places = [window - first for window in seen]
            given, winner = (b.chosen(array.load(y * columns + first, count), places) for array in (gradient, argmax))
            winner += b.count_up(y * (-down * width), 0, vector)  # counted from the first of these rows
            for row in inside:
                start = (row - top) * width + x
                won = winner.equals(b.count_up(start, 1, vector))
                target.store(won.select(given, b.splat(0.0, vector)), y * (down * width) + start)

    first, last = _whole_rows_of_windows(plane)
    for y in range(rows):
        if not first <= y < last:  # in part beside the image
            one_row_of_windows(y, range(max(0, top - y * down), min(down, height + top - y * down)))
    b.each(first, last, 1, lambda y: one_row_of_windows(y, range(down)))
    fill(b, target, max(0, rows * down - top) * width, height * width)
