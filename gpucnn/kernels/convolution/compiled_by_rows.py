"""Convolution by compiled loops, row by row: no columns, no matrix product.

An image is copied once into scratch memory, with its padding (see `padded_plane`). A tile of the output, some filters times some
vectors of positions, then stays in registers while all channels and taps are added up:

                 positions ->
              +--------+--------+
    filters   |  sums  |  sums  |     sums += weight[filter, channel, tap] (one number, spread)
       |      +--------+--------+             * image[channel, positions + tap] (a vector)
       v      |  sums  |  sums  |
              +--------+--------+     for every channel, for every tap
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from gpucnn.checks import Pair
from gpucnn.kernels.compiler import MOST_WRITTEN_OUT
from gpucnn.kernels.compiler.loop import EACH, PARTS, Argument, Loop, cached
from gpucnn.kernels.compiler.padded_plane import PaddedPlane, each_tap, fill, row_vectors
from gpucnn.kernels.compiler.processor import Processor

if TYPE_CHECKING:
    from gpucnn.kernels.compiler.builder import Builder, Pointer, Size, Vector

VECTORS_PER_TILE = 2

FEW_SUMS, FEW_TAPS = 8, 9
"""A tile of few sums waits for each multiply-add, so LLVM loads ahead for all taps that are written out one by one. Unless they
are few, too, their rows are a loop."""


class LoopSizes(NamedTuple):
    """The sizes of a convolution: `groups` groups, each of `channels` channels and `filters` filters."""

    groups: int
    channels: int
    filters: int
    plane: PaddedPlane

    @property
    def taps(self) -> int:
        """How many taps a filter has."""
        return prod(self.plane.window.kernel)

    def pad(self, b: Builder, image: Pointer, padded: Pointer) -> None:
        """Lay out one group's channels (C, H, W) in scratch memory."""
        pixels = prod(self.plane.image_size)
        b.each(0, self.channels, 1, lambda c: self.plane.copy(b, image + c * pixels, padded + c * self.plane.floats))


class WeightLayout(NamedTuple):
    """Where weights lie in an array of `size` floats.

    Those of group g, filter k, channel c and tap (r, s) are at first + g * group + k * filter + c * channel + r * row +
    s * column.
    """

    size: int
    group: int
    filter: int
    channel: int
    row: int
    column: int
    first: int = 0

    @classmethod
    def plain(cls, sizes: LoopSizes) -> WeightLayout:
        """Weights (G * K, C, R, S), as a layer has them."""
        rows, columns = sizes.plane.window.kernel
        of_filter = sizes.channels * rows * columns
        of_group = sizes.filters * of_filter
        return cls(sizes.groups * of_group, of_group, of_filter, rows * columns, columns, 1)


def forward_arguments(sizes: LoopSizes, layout: WeightLayout, bias: bool) -> tuple[Argument, ...]:
    """What `forward` works on, here and in `compiled_by_images`."""
    groups, channels, filters, plane = sizes
    arguments = (
        Argument("images", (EACH, groups * channels, *plane.image_size)),
        Argument("weight", (layout.size,)),
        Argument("output", (EACH, groups * filters, *plane.output_size), written=True),
    )
    return (*arguments, Argument("bias", (groups * filters,))) if bias else arguments


def gradient_arguments(sizes: LoopSizes) -> tuple[Argument, ...]:
    """What `weight_gradient` works on, here and in `compiled_by_images`."""
    groups, channels, filters, plane = sizes
    return (
        Argument("images", (EACH, groups * channels, *plane.image_size)),
        Argument("gradient", (EACH, groups * filters, *plane.output_size)),
        Argument("partial", (PARTS, groups * filters, channels, *plane.window.kernel), written=True),
    )


@cached
def forward(sizes: LoopSizes, layout: WeightLayout, bias: bool, relu: bool, machine: Processor) -> Loop:
    """images (N, G * C, H, W), weights laid out like that, bias (G * K,) -> output (N, G * K, OH, OW)."""
    height, width = sizes.plane.image_size
    groups, channels, filters = sizes.groups, sizes.channels, sizes.filters
    positions = sizes.plane.output_size[0] * sizes.plane.output_size[1]

    def write(b: Builder) -> None:
        images, weight, output = b.pointer("images"), b.pointer("weight"), b.pointer("output")
        bias_of_all = b.pointer("bias") if bias else None
        padded = b.pointer("scratch")

        def one_image(n: Size) -> None:
            b.each(0, groups, 1, lambda group: one_group(n, group))

        def one_group(n: Size, group: Size) -> None:
            sizes.pad(b, images + (n * groups + group) * (channels * height * width), padded)
            each_filter_tile(b, filters, machine.filters_per_tile, partial(one_tile, n, group))

        def one_tile(n: Size, group: Size, skipped: Size, count: int) -> None:
            weights = weight + (group * layout.group + skipped * layout.filter)
            biases = None if bias_of_all is None else bias_of_all + (group * filters + skipped)
            place = output + ((n * groups + group) * filters + skipped) * positions
            convolve_filters(b, sizes, layout, relu, FilterTile(padded, weights, biases, place, count))

        b.each(b.index("first"), b.index("last"), 1, one_image)

    scratch = channels * sizes.plane.floats
    return Loop("conv2d_forward", (*sizes, layout, bias, relu), forward_arguments(sizes, layout, bias), write, scratch)


def filter_tiles(filters: int, most: int) -> list[tuple[int, int, int]]:
    """Filters cut into tiles of `most` or fewer, as equal as can be: (first filter, filters of a tile, tiles), and the rest."""
    filters_per_tile = -(-filters // -(-filters // most))
    whole, rest = divmod(filters, filters_per_tile)
    tiles = [(0, filters_per_tile, whole)]
    return [*tiles, (filters - rest, rest, 1)] if rest else tiles


def each_filter_tile(b: Builder, filters: int, most: int, body: Callable[[Size, int], None]) -> None:
    """body(first, count) for every tile of `filter_tiles`: `count` filters, from number `first` on."""
    for start, count, tiles in filter_tiles(filters, most):
        b.each(start, start + tiles * count, count, partial(lambda count, first: body(first, count), count))


class FilterTile(NamedTuple):
    """What a tile of filters reads, a padded image, weights and biases, and its output."""

    padded: Pointer
    weight: Pointer
    bias: Pointer | None
    output: Pointer
    filters: int


def convolve_filters(b: Builder, sizes: LoopSizes, layout: WeightLayout, relu: bool, tile: FilterTile) -> None:
    """All positions of some filters: tile by tile, of some vectors of a row, or of rows that are one vector wide."""
    padded, weight, bias, output, filters = tile
    rows, columns = sizes.plane.output_size
    width, starts = row_vectors(columns, b.lanes)
    rows_per_tile = max(1, VECTORS_PER_TILE // len(starts))
    tile_width = VECTORS_PER_TILE * width
    tiles = columns // tile_width
    row_stride, channel_size = sizes.plane.output_row_floats, sizes.plane.floats
    kernel_rows, kernel_columns = sizes.plane.window.kernel
    zero = b.splat(0.0, width)

    def tile_row(y: Size, row_count: int) -> None:
        def tile_at(x: Size, starts: list[int]) -> None:
            convolve_tile(y, x, [(row, start) for row in range(row_count) for start in starts])

        def whole_tile(x: Size, _: list[Vector]) -> list[Vector]:
            tile_at(x, starts[:VECTORS_PER_TILE])
            return []

        b.unroll(tiles * tile_width, tile_width, [], whole_tile, sizes.taps)
        if rest := starts[tiles * VECTORS_PER_TILE :]:
            tile_at(0, rest)

    def convolve_tile(y: Size, x: Size, places: list[Pair]) -> None:
        """The tile of the picture above, from row `y` and column `x` on: vectors at `places` (row, column)."""
        corner = padded + (y * row_stride + x)

        def add_channel(c: Size, sums: list[Vector]) -> list[Vector]:
            channel, weights = corner + c * channel_size, weight + c * layout.channel

            def add_tap(r: Size, s: Size, sums: list[Vector]) -> list[Vector]:
                offset, place = sizes.plane.tap_offset(r, s), r * layout.row + s * layout.column + layout.first
                b.fence()
                pixels = [channel.load(row * row_stride + further + offset, width) for row, further in places]
                for k in range(filters):
                    b.fence()
                    factor = weights.spread(place + k * layout.filter, width)
                    for j, vector in enumerate(pixels):
                        sums[k * len(places) + j] = b.fma(vector, factor, sums[k * len(places) + j])
                return sums

            if len(sums) > FEW_SUMS or sizes.taps <= FEW_TAPS:
                return each_tap(b, (kernel_rows, kernel_columns), sums, add_tap)
            return b.fold(0, kernel_rows, 1, sums, lambda r, sums: each_tap(
                b, (1, kernel_columns), sums, lambda _, s, sums: add_tap(r, s, sums)
            ))  # fmt: skip

        biases = [zero if bias is None else bias.spread(k, width) for k in range(filters)]
        sums = b.fold(b.known_late(0), sizes.channels, 1, [one for one in biases for _ in places], add_channel)
        for k in range(filters):
            for j, (row, further) in enumerate(places):
                value = sums[k * len(places) + j].rectified() if relu else sums[k * len(places) + j]
                output.store(value, (y * columns + x) + (k * rows * columns + row * columns + further))

    whole = rows // rows_per_tile * rows_per_tile
    b.each(0, whole, rows_per_tile, lambda y: tile_row(y, rows_per_tile))
    if whole < rows:
        tile_row(whole, rows - whole)


@cached
def weight_gradient(sizes: LoopSizes, machine: Processor) -> Loop:
    """images (N, G * C, H, W), gradient (N, G * K, OH, OW) -> partial (parts, G * K, C, R, S): a sum for each part.

    The sums of some filters and one row of taps stay in registers over all positions of some images:

                    taps of a row ->
                 +------+------+------+
        filters  | sums | sums | sums |     sums += gradient[filter, positions] (a vector)
           |     +------+------+------+             * image[channel, positions + tap] (a vector)
           v     | sums | sums | sums |
                 +------+------+------+     for every row of positions, for every image

    They are vectors, whose numbers are only added up at the end.
    """
    height, width = sizes.plane.image_size
    groups, channels, filters = sizes.groups, sizes.channels, sizes.filters
    rows, columns = sizes.plane.output_size
    kernel_rows, kernel_columns = sizes.plane.window.kernel
    taps = kernel_rows * kernel_columns
    vector = vector_of_row(columns, machine.lanes)
    row_floats = -(-columns // vector) * vector
    # What is read of the last image may reach beyond its end, into the gradients that follow in scratch memory.
    image_floats = sizes.channels * sizes.plane.floats
    gradient_floats = filters * rows * row_floats
    tap_row_floats = sizes.plane.window.dilation[0] * sizes.plane.row_floats
    # Images are added up before a vector's numbers are: with few positions those would cost more than the rest.
    at_once = 1 if rows * columns >= 784 else 4 if rows * columns >= 196 else 8
    whole = columns // vector * vector
    many = kernel_columns // MOST_WRITTEN_OUT * MOST_WRITTEN_OUT
    masks = int(row_floats > columns)
    filters_per_tile = machine.filters_per_gradient_tile(kernel_columns, masks)

    def write(b: Builder) -> None:
        images, gradient, padded = b.pointer("images"), b.pointer("gradient"), b.pointer("scratch")
        laid_out = padded + at_once * image_floats
        total = b.pointer("partial") + b.index("part") * (groups * filters * channels * taps)
        first, last = b.index("first"), b.index("last")
        fill(b, total, 0, groups * filters * channels * taps)

        def some_images(n: Size) -> None:
            count = b.smaller(at_once, last - n)
            b.each(0, groups, 1, lambda group: one_group(n, group, count))

        def one_group(n: Size, group: Size, count: Size) -> None:
            def lay_out(i: Size) -> None:
                number = (n + i) * groups + group
                place = padded + i * image_floats
                sizes.pad(b, images + number * (channels * height * width), place)
                source, target = gradient + number * (filters * rows * columns), laid_out + i * gradient_floats
                b.each(0, filters * rows, 1, lambda y: widen(source + y * columns, target + y * row_floats))

            b.each(0, count, 1, lay_out)
            each_filter_tile(b, filters, filters_per_tile, partial(one_tile, group, count))

        def one_tile(group: Size, count: Size, skipped: Size, tile: int) -> None:
            weights = total + (skipped + group * filters) * (channels * taps)
            gradients = laid_out + skipped * (rows * row_floats)
            b.each(0, channels, 1, lambda c: one_channel(c, gradients, weights, tile, count))

        def one_channel(c: Size, gradients: Pointer, weights: Pointer, tile: int, count: Size) -> None:
            channel, of_channel = padded + c * sizes.plane.floats, weights + c * taps

            def one_row(r: Size) -> None:
                pixels, of_row = channel + r * tap_row_floats, of_channel + r * kernel_columns
                some = partial(some_taps, pixels, gradients, of_row, tile, count)
                b.each(0, many, MOST_WRITTEN_OUT, lambda s: some(s, MOST_WRITTEN_OUT))
                if many < kernel_columns:
                    some(many, kernel_columns - many)

            b.each(0, kernel_rows, 1, one_row)

        def widen(source: Pointer, target: Pointer) -> None:
            b.sweep(0, columns, lambda i, width: target.store(source.load(i, width), i))
            fill(b, target, columns, row_floats)

        zero = b.splat(0.0, vector)

        def some_taps(
            pixels: Pointer,
            gradients: Pointer,
            weights: Pointer,
            tile: int,
            count: Size,
            first_tap: Size,
            taps_here: int,
        ) -> None:
            """The sums of some taps of a row, from `first_tap` on."""
            offsets = [sizes.plane.tap_offset(0, first_tap + s) for s in range(taps_here)]

            def add(line: Pointer, gradient_line: Pointer, x: Size, width: int, sums: list[Vector]) -> list[Vector]:
                def pixel(s: int) -> Vector:
                    loaded = line.load(offsets[s] + x, vector)
                    if width == vector:
                        return loaded
                    # What lies beyond may be infinite, which times 0 is NaN.
                    return b.within(b.count_up(0, 1, vector), width).select(loaded, zero)

                def gradient_at(k: int) -> Vector:
                    return gradient_line.load(x + k * rows * row_floats, vector)

                b.fence()
                hold_pixels = machine.holds((tile + 1) * taps_here + masks)
                add_products(b, sums, taps_here, range(taps_here), gradient_at, pixel, hold_pixels)
                return sums

            def add_row(line: Pointer, gradient_line: Pointer, sums: list[Vector]) -> list[Vector]:
                sums = b.unroll(whole, vector, sums, lambda x, sums: add(
                    line, gradient_line, x, vector, sums
                ), taps_here)  # fmt: skip
                return sums if whole == columns else add(line, gradient_line, whole, columns - whole, sums)

            def add_image(i: Size, sums: list[Vector]) -> list[Vector]:
                image, gradient_of_image = pixels + i * image_floats, gradients + i * gradient_floats
                row_stride = sizes.plane.output_row_floats
                return b.fold(0, rows, 1, sums, lambda y, sums: add_row(
                    image + y * row_stride, gradient_of_image + y * row_floats, list(sums)
                ))  # fmt: skip

            sums = b.fold(0, count, 1, [zero] * (tile * taps_here), add_image)
            for k in range(tile):
                for s in range(taps_here):
                    place = weights + (first_tap + (k * channels * taps + s))
                    place.store(place.load(0, 1) + b.sum(sums[k * taps_here + s]))

        b.each(first, last, at_once, some_images)

    scratch = at_once * (image_floats + gradient_floats)
    return Loop("conv2d_weight_gradient", tuple(sizes), gradient_arguments(sizes), write, scratch)


def add_products(
    b: Builder,
    sums: list[Vector],
    columns: int,
    taps: Sequence[int],
    gradient_at: Callable[[int], Vector],
    pixel: Callable[[int], Vector],
    hold_pixels: bool,
) -> None:
    """sums[filter, tap] += gradient_at(filter) * pixel(tap), of a row of `columns` columns of taps.

    Either the pixels are loaded first and the gradients in passing, or, if the pixels of all taps do not fit the registers,
    the other way round.
    """
    filters = len(sums) // columns
    if hold_pixels:
        pixels = {s: pixel(s) for s in taps}
        for k in range(filters):
            b.fence()
            one = gradient_at(k)
            for s, vector in pixels.items():
                sums[k * columns + s] = b.fma(one, vector, sums[k * columns + s])
        return
    gradients = [gradient_at(k) for k in range(filters)]
    for s in taps:
        b.fence()
        vector = pixel(s)
        for k, one in enumerate(gradients):
            sums[k * columns + s] = b.fma(one, vector, sums[k * columns + s])


def vector_of_row(columns: int, lanes: int) -> int:
    """The width of the vectors in which a row of the output's gradient is laid out, with zeros up to the end of the last."""
    widths = [lanes >> halvings for halvings in range(lanes.bit_length())]
    return min(widths, key=lambda w: (-(-columns // w) * max(w, lanes // 2), -w))
