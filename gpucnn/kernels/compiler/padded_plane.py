"""An image's planes in scratch memory, laid out so that every tap of a window reads whole vectors.

Around the image lies its padding. With a horizontal stride the rows are cut into *phases*: every `stride`-th column stands
side by side, from the first on, then from the second on, and so forth. What one tap reads for the positions of an output
row are then always neighbours:

    image row, stride 2        a b c d e f g h
    padded row, padding 1      0 b d f h | a c e g 0          (two phases; the padding is columns -1 and 8)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from gpucnn.checks import Pair
from gpucnn.geometry import Window

if TYPE_CHECKING:
    from gpucnn.kernels.compiler.builder import Builder, Pointer, Size, Vector

WIDEST_STRIDE = 32
"""With a larger one a vector of neighbours has too few numbers that are wanted: they are copied one by one."""


class PaddedPlane(NamedTuple):
    """The layout of one plane (H, W) that a window slides over."""

    image_size: Pair
    window: Window
    output_size: Pair

    @property
    def rows(self) -> int:
        """How many rows of the padded plane the windows read."""
        return (self.output_size[0] - 1) * self.window.stride[0] + self.window.extent[0]

    @property
    def columns(self) -> int:
        """How many columns of the padded plane the windows read."""
        return (self.output_size[1] - 1) * self.window.stride[1] + self.window.extent[1]

    @property
    def phase_width(self) -> int:
        """How many columns of one phase a row has."""
        return -(-self.columns // self.window.stride[1])

    @property
    def row_floats(self) -> int:
        """The length of a row, all phases."""
        return self.phase_width * self.window.stride[1]

    @property
    def output_row_floats(self) -> int:
        """From what one output row reads to what the next one reads."""
        return self.row_floats * self.window.stride[0]

    @property
    def floats(self) -> int:
        """The length of a plane."""
        return self.rows * self.row_floats

    def reads_within(self, axis: int, positions: range) -> int:
        """How often a tap of the windows at some positions of an axis lies within the image, not in its padding."""
        stride, dilation, before = self.window.stride[axis], self.window.dilation[axis], self.window.padding[axis][0]
        total = 0
        for tap in range(self.window.kernel[axis]):
            shift = tap * dilation - before  # position p reads place p * stride + shift
            first, last = -(shift // stride), -((shift - self.image_size[axis]) // stride)
            total += max(0, min(positions.stop, last) - max(positions.start, first))
        return total

    @property
    def is_image(self) -> bool:
        """Whether windows read nothing but the image, and every column between those that they read for one row."""
        within = all(read <= size for read, size in zip((self.rows, self.columns), self.image_size, strict=True))
        return self.window.padding == ((0, 0), (0, 0)) and within and self.window.extent[1] >= self.window.stride[1]

    def tap_offset(self, row: Size, column: Size) -> Size:
        """Where in the plane the tap reads for the output position (0, 0)."""
        column, stride = column * self.window.dilation[1], self.window.stride[1]
        phase_start = 0 if stride == 1 else column % stride * self.phase_width
        return row * (self.window.dilation[0] * self.row_floats) + phase_start + column // stride

    def copy(self, b: Builder, image: Pointer, target: Pointer, padding: float = 0.0) -> None:
        """Lay out the plane `image` at `target`, with `padding` around it."""
        height, width = self.image_size
        (top, _), _ = self.window.padding
        first = max(0, -top)
        last = max(first, min(height, self.rows - top))  # the rows of the image that are read
        fill(b, target, 0, min(first + top, self.rows) * self.row_floats, padding)
        inner = target + top * self.row_floats
        b.each(first, last, 1, lambda y: self._copy_row(b, image + y * width, inner + y * self.row_floats, padding))
        fill(b, target, (last + top) * self.row_floats, self.floats, padding)

    def _copy_row(self, b: Builder, source: Pointer, target: Pointer, padding: float) -> None:
        width, stride = self.image_size[1], self.window.stride[1]
        _, (left, _) = self.window.padding

        # Column x of the image is column x + left of the padded row: number (x + left) // stride of its phase.
        leftmost = max(0, -left)
        # Phases are alike between the one where the image begins, and the one where it would go on.
        edges = sorted({0, (leftmost + left) % stride, (width + left) % stride, stride})
        for start, stop in pairwise(edges):
            first = leftmost + (start - left - leftmost) % stride
            begin = (first + left) // stride
            count = max(0, min(len(range(first, width, stride)), self.phase_width - begin))
            available = width - (first + stop - 1 - start)  # in the last of them

            def one_phase(phase: Size, begin: int = begin, count: int = count, available: int = available) -> None:
                place = target + phase * self.phase_width
                fill(b, place, 0, min(begin, self.phase_width), padding)
                _copy_every(b, stride, source + (phase + (begin * stride - left)), place + begin, count, available)
                fill(b, place, begin + count, self.phase_width, padding)

            if stride <= WIDEST_STRIDE:
                for phase in range(start, stop):
                    one_phase(phase)
            else:
                b.each(start, stop, 1, one_phase)


def fill(b: Builder, target: Pointer, start: int, stop: int, number: float = 0.0) -> None:
    """Put a number everywhere from `start` to below `stop`."""
    b.sweep(start, stop, lambda i, width: target.store(b.splat(number, width), i))


def each_tap(
    b: Builder, kernel: Pair, initial: Sequence[Vector], body: Callable[[Size, Size, list[Vector]], Sequence[Vector]]
) -> list[Vector]:
    """values = body(row, column, values) for every tap, row by row; returns the last values. Few taps are written out."""
    rows, columns = kernel

    def one_row(row: Size, values: list[Vector]) -> list[Vector]:
        return b.unroll(columns, 1, values, lambda column, values: body(row, column, values))

    return b.unroll(rows, 1, initial, one_row, columns)


def row_vectors(width: int, lanes: int) -> tuple[int, list[int]]:
    """How to cover a row of `width` positions: the vectors' width, and where each starts.

    The last one overlaps the one before it where it would stick out. Of the widths that fit, the one is taken that computes
    the least, and of those the widest.
    """
    widths = [lanes >> halvings for halvings in range(lanes.bit_length()) if lanes >> halvings <= width]
    best = min(widths, key=lambda w: (-(-width // w) * max(w, lanes // 2), -w))
    starts = list(range(0, width - best + 1, best))
    if starts[-1] + best < width:
        starts.append(width - best)
    return best, starts


def _copy_every(b: Builder, stride: int, source: Pointer, target: Pointer, count: int, available: int) -> None:
    """Copy every `stride`-th of the `available` elements from `source` on: `count` of them, side by side."""
    if stride == 1:
        b.sweep(0, count, lambda i, width: target.store(source.load(i, width), i))
        return
    # A vector of neighbours holds some of them; the last ones are copied one by one, as it would reach too far.
    vectors = min(count // b.lanes, available // (stride * b.lanes)) if stride <= WIDEST_STRIDE else 0
    whole = max(0, vectors) * b.lanes
    b.each(0, whole, b.lanes, lambda i: target.store(b.pick(source.load(i * stride, b.lanes * stride), 0, stride), i))
    b.each(whole, count, 1, lambda i: target.store(source.load(i * stride, 1), i))
