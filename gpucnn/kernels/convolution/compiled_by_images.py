"""Convolution of as many images at once as a vector has numbers: each has a place in every vector.

In `compiled_by_rows` a row that is not a whole number of vectors leaves a vector partly empty; here none is, however small the
images. They and their gradients are turned over in scratch memory, so that the same pixel of all images is a vector:

    images (N, C, H, W)    a0 a1 a2 ...            turned over    a0 b0 c0 ...
                           b0 b1 b2 ...                           a1 b1 c1 ...
                           c0 c1 c2 ...                           a2 b2 c2 ...

Taps that lie in the padding are left out, so that nothing is ever multiplied by its zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from gpucnn.kernels.compiler import LARGEST_CODE
from gpucnn.kernels.compiler.loop import Loop, cached
from gpucnn.kernels.compiler.padded_plane import PaddedPlane, fill, row_vectors
from gpucnn.kernels.compiler.processor import Processor
from gpucnn.kernels.convolution.compiled_by_rows import (
    LoopSizes,
    WeightLayout,
    add_products,
    each_filter_tile,
    filter_tiles,
    forward_arguments,
    gradient_arguments,
)

if TYPE_CHECKING:
    from gpucnn.kernels.compiler.builder import Builder, Pointer, Size, Vector

LAYING_OUT = 0.5
"""What it costs to lay out a number in scratch memory, in multiply-adds of vectors."""

TAPS_AT_ONCE = 5
"""Taps of a row that are written out one by one: of more, LLVM would mix up what they need."""

LARGEST_SCRATCH = 8 << 20
"""Bytes that a thread may need: with more, `compiled_by_rows` takes less memory and little more time."""


def works(sizes: LoopSizes, machine: Processor) -> bool:
    """Whether these loops can do a convolution: whole vectors must fit an image and the output, and their memory be small."""
    (rows, columns), (height, width) = sizes.plane.output_size, sizes.plane.image_size
    image_floats, output_floats = sizes.channels * height * width, sizes.filters * rows * columns
    smallest_tile = min(count for _, count, _ in filter_tiles(sizes.filters, machine.filters_per_tile))
    return (
        min(image_floats, smallest_tile * rows * columns) >= machine.lanes
        and (image_floats + output_floats) * machine.lanes * 4 <= LARGEST_SCRATCH
    )


def written_out(sizes: LoopSizes, gradient: bool, machine: Processor) -> int:
    """About how many instructions `forward` is, or `weight_gradient`.

    Each tile of a row is written out, but those whose taps all lie within the images, which share theirs.
    """
    plane, columns, lanes = sizes.plane, sizes.plane.window.kernel[1], machine.lanes
    most = machine.filters_per_gradient_tile(columns) if gradient else machine.filters_per_tile
    tiles = filter_tiles(sizes.filters, most)
    at_once = machine.positions_at_once(columns)
    total = 2 * (len(tiles) + 1) * lanes * (lanes.bit_length() + 3)  # to turn over and back
    for _, count, _ in tiles:
        total += 24 * count * columns if gradient else 0  # to add up the numbers of the sums
        for x, places, _ in row_tiles(plane, at_once if gradient else machine.positions_per_tile(count)):
            within = plane.reads_within(1, range(x, x + places))
            of_filter = 2 * places if gradient else 4 * columns + 8 * places
            total += within * (2 + count) + count * of_filter
    return total


@lru_cache(4096)
def pays(sizes: LoopSizes, batch: int, gradient: bool, machine: Processor) -> bool:
    """Whether these loops are faster for a batch of this size than those of `compiled_by_rows`.

    `gradient`: for the gradient of the weights. What counts are multiply-adds of vectors, and what must be laid out.
    """
    plane, lanes = sizes.plane, machine.lanes
    # The gradient's tile of a single column of taps reads as much as it multiplies.
    if not works(sizes, machine) or (gradient and plane.window.kernel[1] == 1):
        return False
    if written_out(sizes, gradient, machine) > LARGEST_CODE:
        return False
    (rows, columns), (height, width) = plane.output_size, plane.image_size
    image_floats, output_floats = sizes.channels * height * width, sizes.filters * rows * columns
    vector, starts = row_vectors(columns, lanes)
    vectors = rows * len(starts) * max(vector, lanes // 2) / lanes
    laid_out = sizes.channels * plane.floats + (output_floats if gradient else 0)
    by_rows = sizes.channels * sizes.filters * sizes.taps * vectors + LAYING_OUT * laid_out
    within = plane.reads_within(0, range(rows)) * plane.reads_within(1, range(columns))
    by_images = sizes.channels * sizes.filters * within / lanes + LAYING_OUT * (image_floats + output_floats)
    return by_images * -(-batch // lanes) * lanes < by_rows * batch


@cached
def forward(sizes: LoopSizes, layout: WeightLayout, bias: bool, relu: bool, machine: Processor) -> Loop:
    """images (N, G * C, H, W), weights laid out like that, bias (G * K,) -> output (N, G * K, OH, OW).

    A tile is that of `compiled_by_rows`, but each of its sums is one position of a vector of images.
    """
    (height, width), (rows, columns) = sizes.plane.image_size, sizes.plane.output_size
    (kernel_rows, kernel_columns), (row_stride, column_stride), padding, dilation, _ = sizes.plane.window
    (top, _), (left, _) = padding
    groups, channels, filters = sizes.groups, sizes.channels, sizes.filters
    positions, lanes = rows * columns, machine.lanes
    image_floats = channels * height * width

    def write(b: Builder) -> None:
        images, weight, output = b.pointer("images"), b.pointer("weight"), b.pointer("output")
        bias_of_all = b.pointer("bias") if bias else None
        turned = b.pointer("scratch")
        result = turned + image_floats * lanes
        first, last = b.index("first"), b.index("last")
        zero = b.splat(0.0)

        def some_images(n: Size) -> None:
            # Where fewer are left, the last one is worked on several times, with the same results.
            numbers = [b.smaller(n + i, last - 1) for i in range(lanes)]
            b.each(0, groups, 1, lambda group: one_group(numbers, group))

        def one_group(numbers: list[Size], group: Size) -> None:
            turn_over(b, [images + (n * groups + group) * image_floats for n in numbers], turned, image_floats)
            each_filter_tile(b, filters, machine.filters_per_tile, partial(one_tile, numbers, group))

        def one_tile(numbers: list[Size], group: Size, skipped: Size, count: int) -> None:
            weights = weight + (group * layout.group + skipped * layout.filter + layout.first)
            biases = None if bias_of_all is None else bias_of_all + (group * filters + skipped)
            b.each(0, rows, 1, lambda y: one_row(y, weights, biases, count))
            places = [output + ((n * groups + group) * filters + skipped) * positions for n in numbers]
            turn_back(b, result, places, count * positions)

        def one_row(y: Size, weights: Pointer, biases: Pointer | None, count: int) -> None:
            # Tap row r reads row corner + r * dilation of the images.
            corner = y * row_stride - top
            r_first = b.steps(0 - corner, dilation[0])
            r_last = b.smaller(kernel_rows, b.steps(height - corner, dilation[0]))
            line, result_line = turned + corner * (width * lanes), result + y * (columns * lanes)
            for x, places, tiles in row_tiles(sizes.plane, machine.positions_per_tile(count)):

                def tile_at(further: Size, x: int = x, places: int = places) -> None:
                    pixels = line + further * (column_stride * lanes)
                    sums = tile(pixels, weights, biases, range(x, x + places), count, r_first, r_last)
                    for k in range(count):
                        for j in range(places):
                            value = sums[k * places + j].rectified() if relu else sums[k * places + j]
                            (result_line + further * lanes).store(value, (k * positions + x + j) * lanes)

                b.each(0, tiles * places, places, tile_at)

        def tile(
            line: Pointer, weights: Pointer, biases: Pointer | None, xs: range, count: int, r_first: Size, r_last: Size
        ) -> list[Vector]:
            def add_channel(c: Size, sums: list[Vector]) -> list[Vector]:
                pixels, factors = line + c * (height * width * lanes), weights + c * layout.channel
                return b.fold(r_first, r_last, 1, sums, lambda r, sums: add_tap_row(
                    pixels + r * (dilation[0] * width * lanes), factors + r * layout.row, list(sums)
                ))  # fmt: skip

            def add_tap_row(pixels: Pointer, factors: Pointer, sums: list[Vector]) -> list[Vector]:
                if kernel_columns <= TAPS_AT_ONCE:
                    return add_taps(pixels, factors, range(kernel_columns), sums)
                for first in range(0, kernel_columns, TAPS_AT_ONCE):
                    taps = range(first, min(first + TAPS_AT_ONCE, kernel_columns))
                    sums = b.apart(sums, partial(add_taps, pixels, factors, taps))
                return sums

            def add_taps(pixels: Pointer, factors: Pointer, taps: range, sums: list[Vector]) -> list[Vector]:
                loaded: dict[int, Vector] = {}
                for s in taps:
                    b.fence()
                    reads = [x * column_stride + s * dilation[1] - left for x in xs]
                    loaded = load_columns(pixels, reads, width, loaded)
                    within = [(j, loaded[read]) for j, read in enumerate(reads) if read in loaded]
                    for k in range(count):
                        b.fence()
                        factor = factors.spread(k * layout.filter + s * layout.column)
                        for j, vector in within:
                            sums[k * len(xs) + j] = b.fma(vector, factor, sums[k * len(xs) + j])
                return sums

            starts = [zero if biases is None else biases.spread(k) for k in range(count)]
            return b.fold(b.known_late(0), channels, 1, [start for start in starts for _ in xs], add_channel)

        b.each(first, last, lanes, some_images)

    scratch = (image_floats + min(filters, machine.filters_per_tile) * positions) * lanes
    return Loop(
        "conv2d_forward_by_images", (*sizes, layout, bias, relu), forward_arguments(sizes, layout, bias), write, scratch
    )


@cached
def weight_gradient(sizes: LoopSizes, machine: Processor) -> Loop:
    """images (N, G * C, H, W), gradient (N, G * K, OH, OW) -> partial (parts, G * K, C, R, S): a sum for each part.

    A tile is that of `compiled_by_rows`, but each of its sums adds up vectors of images, one position after the other.
    """
    (height, width), (rows, columns) = sizes.plane.image_size, sizes.plane.output_size
    (kernel_rows, kernel_columns), (row_stride, column_stride), padding, dilation, _ = sizes.plane.window
    (top, _), (left, _) = padding
    groups, channels, filters = sizes.groups, sizes.channels, sizes.filters
    positions, taps, lanes = rows * columns, kernel_rows * kernel_columns, machine.lanes
    image_floats, gradient_floats = channels * height * width, filters * positions

    def write(b: Builder) -> None:
        images, gradient, turned = b.pointer("images"), b.pointer("gradient"), b.pointer("scratch")
        gradients = turned + image_floats * lanes
        total = b.pointer("partial") + b.index("part") * (groups * filters * channels * taps)
        first, last = b.index("first"), b.index("last")
        zero = b.splat(0.0)
        fill(b, total, 0, groups * filters * channels * taps)

        def some_images(n: Size) -> None:
            # Where fewer are left, zeros stand for the others: copies of the last one would be added up, too.
            numbers = [b.smaller(n + i, last - 1) for i in range(lanes)]
            there = b.below(last - n)
            b.each(0, groups, 1, lambda group: one_group(numbers, group, there))

        def one_group(numbers: list[Size], group: Size, there: Vector) -> None:
            places = [images + (n * groups + group) * image_floats for n in numbers]
            turn_over(b, places, turned, image_floats, there)
            places = [gradient + (n * groups + group) * gradient_floats for n in numbers]
            turn_over(b, places, gradients, gradient_floats, there)
            each_filter_tile(b, filters, machine.filters_per_gradient_tile(kernel_columns), partial(one_tile, group))

        def one_tile(group: Size, skipped: Size, count: int) -> None:
            weights = total + (group * filters + skipped) * (channels * taps)
            of_filters = gradients + skipped * (positions * lanes)
            b.each(0, channels, 1, lambda c: b.each(0, kernel_rows, 1, lambda r: one_tap_row(
                turned + c * (height * width * lanes), r, of_filters, weights + (c * taps + r * kernel_columns), count
            )))  # fmt: skip

        def one_tap_row(channel: Pointer, r: Size, of_filters: Pointer, weights: Pointer, count: int) -> None:
            hold_pixels = machine.holds((count + 1) * kernel_columns)

            def add_row(y: Size, sums: list[Vector]) -> list[Vector]:
                line = channel + (y * row_stride + (r * dilation[0] - top)) * (width * lanes)
                gradient_line = of_filters + y * (columns * lanes)
                for x, places, tiles in row_tiles(sizes.plane, machine.positions_at_once(kernel_columns)):

                    def add_tile(further: Size, sums: list[Vector], xs: range = range(x, x + places)) -> list[Vector]:
                        return add(
                            line + further * (column_stride * lanes), gradient_line + further * lanes, xs, list(sums)
                        )

                    sums = b.fold(0, tiles * places, places, sums, add_tile)
                return sums

            def add(pixels: Pointer, gradient_line: Pointer, xs: range, sums: list[Vector]) -> list[Vector]:
                loaded: dict[int, Vector] = {}
                for x in xs:
                    b.fence()
                    reads = [x * column_stride + s * dilation[1] - left for s in range(kernel_columns)]
                    taps = [s for s, read in enumerate(reads) if 0 <= read < width]
                    if hold_pixels:
                        loaded = load_columns(pixels, reads, width, loaded)

                    def pixel(s: int, reads: list[int] = reads, loaded: dict[int, Vector] = loaded) -> Vector:
                        return loaded.get(reads[s]) or pixels.load(reads[s] * lanes)

                    def gradient_at(k: int, x: int = x) -> Vector:
                        return gradient_line.load((k * positions + x) * lanes)

                    add_products(b, sums, kernel_columns, taps, gradient_at, pixel, hold_pixels)
                return sums

            # For output row y, tap row r reads row y * row_stride + shift of the images.
            shift = r * dilation[0] - top
            y_first, y_last = b.steps(0 - shift, row_stride), b.smaller(rows, b.steps(height - shift, row_stride))
            sums = b.fold(y_first, y_last, 1, [zero] * (count * kernel_columns), add_row)
            for k in range(count):
                for s in range(kernel_columns):
                    place = weights + (k * channels * taps + s)
                    place.store(place.load(0, 1) + b.sum(sums[k * kernel_columns + s]))

        b.each(first, last, lanes, some_images)

    scratch = (image_floats + gradient_floats) * lanes
    return Loop("conv2d_weight_gradient_by_images", tuple(sizes), gradient_arguments(sizes), write, scratch)


def load_columns(pixels: Pointer, columns: list[int], width: int, loaded: dict[int, Vector]) -> dict[int, Vector]:
    """The pixels of some columns, of those within the image, in place of what is `loaded`, which is taken where it is of use."""
    within = [column for column in columns if 0 <= column < width]
    return {column: loaded.get(column) or pixels.load(column * pixels.lanes) for column in within}


def turn_over(b: Builder, images: list[Pointer], turned: Pointer, size: int, there: Vector | None = None) -> None:
    """Put number i of every image, for all i below `size`, side by side; zeros for images that are not `there`."""

    def turn(start: Size) -> None:
        for i, vector in enumerate(b.transposed([image.load(start) for image in images])):
            turned.store(vector if there is None else there.select(vector, b.splat(0.0)), (start + i) * b.lanes)

    _cover(b, size, turn)


def turn_back(b: Builder, turned: Pointer, images: list[Pointer], size: int) -> None:
    """The way back from `turn_over`."""

    def turn(start: Size) -> None:
        vectors = b.transposed([turned.load((start + i) * b.lanes) for i in range(b.lanes)])
        for image, vector in zip(images, vectors, strict=True):
            image.store(vector, start)

    _cover(b, size, turn)


def _cover(b: Builder, size: int, body: Callable[[Size], None]) -> None:
    """body(start) for whole vectors that cover `size` elements, which are a vector at least; the last may overlap."""
    whole = size // b.lanes * b.lanes
    b.each(0, whole, b.lanes, body)
    if whole < size:
        body(size - b.lanes)


def row_tiles(plane: PaddedPlane, most: int) -> list[tuple[int, int, int]]:
    """A row's positions, in tiles of `most` or fewer: (the first position, positions of a tile, tiles that are alike).

    Tiles side by side are alike if they are equally long and none of their taps lies in the padding.
    """
    columns = plane.output_size[1]
    tiles = -(-columns // most)
    found: list[tuple[int, int, int]] = []
    x, inside = 0, False
    for number in range(tiles):
        places = -(-(columns - x) // (tiles - number))
        before, inside = inside, plane.reads_within(1, range(x, x + places)) == places * plane.window.kernel[1]
        if found and before and inside and found[-1][1] == places:
            found[-1] = (*found[-1][:2], found[-1][2] + 1)
        else:
            found.append((x, places, 1))
        x += places
    return found
