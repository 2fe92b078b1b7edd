"""Convolution and its gradients on a CPU, by few and large products with columns of images on one long axis.

See `long_axis` for the layout. There are three routes to the gradients:

- Turned round: the gradient of the images is a convolution of the output's gradient, with filters that are turned round and
  have channels and filters exchanged. Its columns, times the images, are the gradient of the weight, too.
- Row by row: the same with columns that have but one row of the filters' taps. Times the filters they give a row for each
  row of taps, and these are added up; times rows of the images they give the gradient of the weight.
- Added up: the columns of the images, times the output's gradient, are the gradient of the weight. Those of the images'
  gradient are the filters times the output's gradient, and are added up (see `plain.col2im`).

With a stride only the third is there. Else that of the first two is taken which moves less in memory. 1x1 filters need none.
`gpucnn bench --operations` shows what the constants here and in `long_axis` are worth.
"""

import functools
import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from gpucnn.backend import Array
from gpucnn.backend.host_memory import empty
from gpucnn.backend.threads import FEW_PARTS, cut, parallel
from gpucnn.checks import Shape
from gpucnn.kernels.convolution import one_by_one
from gpucnn.kernels.convolution.long_axis import SMALL_PRODUCT, AxisTile, LongAxis, copy_rows
from gpucnn.kernels.convolution.plain import Convolution, Gradients
from gpucnn.kernels.elementwise import relu_gradient
from gpucnn.kernels.elementwise.masked import masked
from gpucnn.kernels.elementwise.numpy_way import rectify
from gpucnn.kernels.gemm import matmul
from gpucnn.kernels.workspace import workspace

HOST_COLUMN_BYTES = 3 << 20
"""Columns should stay in the cache. Measured on a 2-core AMD EPYC: 2 to 4 MiB is best; with less, threads spend their time
on waiting for Python's lock, with more, on waiting for memory."""

LARGEST_PARTIAL_SUMS = 16 << 20
"""Bytes for sums of the weight's gradient, one for each part of the batch."""

COLUMN_SHARE = 8
"""A part of the batch has this many times the work of a compiled one: Python takes its time for each."""

SMALL_SUMS = 1200
"""Elements of a product up to which OpenBLAS takes a transposed matrix as it lies; for a larger one it rearranges it."""

LEAST_ROWS = 16
"""Of some rows of a matrix, so that elsewhere, too, it costs little that the other matrix is read once for each."""

MOST_CHANNELS = 32
"""Rows of a transposed matrix that is taken as it lies: where more are far apart, memory cannot follow."""

ADDITION = 4
"""How many times as long as a copy it takes to add up a row of a product, and to make the row that it is multiplied with."""


def conv2d(task: Convolution, images: Array, weight: Array, bias: Array | None) -> Array:
    """`plain.conv2d`."""
    output, parts = empty(task.output_shape, images.dtype), batch_parts(len(images), task.work)
    convolve = _convolve_one_by_one if task.window.is_pixel else _convolve
    parallel(lambda number: convolve(task, images[parts[number]], weight, bias, output[parts[number]]), len(parts))
    return output


def conv2d_gradients(
    task: Convolution, gradient: Array, images: Array | None, weight: Array, output: Array | None, found: Gradients
) -> None:
    """`plain.conv2d_gradients`."""
    most = FEW_PARTS if found.weight is None else max(1, min(FEW_PARTS, LARGEST_PARTIAL_SUMS // weight.nbytes))
    parts = batch_parts(len(gradient), task.work, most)
    sums = [found, *(Gradients(None, *map(_empty_like, found[1:])) for _ in parts[1:])]
    find = _find_one_by_one if task.window.is_pixel else _find_gradients

    def find_part(number: int) -> None:
        part = parts[number]
        rows = gradient[part] if output is None else relu_gradient(gradient[part], output[part])
        own = sums[number]._replace(images=None if found.images is None else found.images[part])
        find(task, rows, None if images is None else images[part], weight, own)

    parallel(find_part, len(parts))
    for more in sums[1:]:
        for total, addend in zip(found[1:], more[1:], strict=True):
            if total is not None:
                total += addend


@functools.lru_cache(1024)
def batch_parts(batch: int, work: int, most: int = FEW_PARTS) -> tuple[slice, ...]:
    """A batch in parts for the threads that convolve it, where an image takes `work` multiply-adds.

    Their number is a power of 2, so that two or four threads share them evenly.
    """
    number = len(cut(batch, work // COLUMN_SHARE, most))
    return cut(batch, work // COLUMN_SHARE, 1 << (number.bit_length() - 1))


def _empty_like(array: Array | None) -> Array | None:
    return None if array is None else np.empty_like(array)


def _convolve(task: Convolution, images: Array, weight: Array, bias: Array | None, output: Array) -> None:
    """`conv2d` of some images, into their `output`."""
    task, seen = _without_idle_taps(task)
    plan = _plan(task, len(images), images.itemsize, HOST_COLUMN_BYTES)
    filters = weight[seen].reshape(plan.shape)
    for tile, shapes in plan.tiles:
        columns, axes, matrix, _ = _in_workspace(shapes, filters)
        plan.fill_columns(columns, axes, tile, images)
        matmul(filters, columns, out=tile.factors(matrix, task.groups))
        # Here, and not while copying to the output, where rows are short.
        if bias is not None:
            matrix += bias[:, None]
        if task.relu:
            rectify(matrix, matrix)
        copy_rows(tile.as_images(matrix), output[tile.place])


def _convolve_one_by_one(task: Convolution, images: Array, weight: Array, bias: Array | None, output: Array) -> None:
    for tile in one_by_one.convolve(task, images, weight, output, HOST_COLUMN_BYTES):
        part = output[tile]
        if bias is not None:
            part += bias[:, None, None]
        if task.relu:
            rectify(part, part)


def _find_one_by_one(task: Convolution, gradient: Array, images: Array | None, weight: Array, found: Gradients) -> None:
    def as_rows(images: Array) -> Array:
        batch, channels, height, width = images.shape
        return images.reshape(batch, channels, height * width)

    one_by_one.find_gradients(task, gradient, images, weight, found, HOST_COLUMN_BYTES, as_rows)


def _find_gradients(task: Convolution, gradient: Array, images: Array | None, weight: Array, found: Gradients) -> None:
    """`conv2d_gradients` of some images, from the gradient before ReLU."""
    if found.bias is not None:
        batch, channels, height, width = gradient.shape
        gradient.reshape(batch, channels, height * width).sum(axis=2).sum(axis=0, out=found.bias)
    smaller, seen = _without_idle_taps(task)
    own = found._replace(bias=None)
    if smaller.window != task.window and found.weight is not None:
        own = own._replace(weight=np.empty(smaller.weight_shape, weight.dtype))
    if found.images is not None and task.window.stride == (1, 1):
        _turn_round(smaller, gradient, images, weight[seen], own, _is_row_by_row_shorter(smaller))
    elif found.images is not None or found.weight is not None:
        _add_up(smaller, gradient, images, weight[seen], own)
    if own.weight is not found.weight and found.weight is not None:
        found.weight[...] = 0
        found.weight[seen] = own.weight


def _turn_round(
    task: Convolution, gradient: Array, images: Array | None, weight: Array, found: Gradients, row_by_row: bool
) -> None:
    """The gradients of the images and, if it is wanted, of the weight, from columns of the output's gradient.

    Row by row these have one row of taps, and there are as many rows of the images as there are others.
    """
    plan = _plan_back(task, len(gradient), gradient.itemsize, row_by_row, HOST_COLUMN_BYTES)
    filters = _turned(weight, task.groups, row_by_row).reshape(plan.shape)
    total, along, images_gradient = np.zeros_like(filters), plan.along, found.images
    assert images_gradient is not None
    if along is not None:
        images_gradient[...] = 0
    for tile, shapes in plan.tiles:
        columns, axes, matrix, image_axes = _in_workspace(shapes, filters)
        plan.fill_columns(columns, axes, tile, gradient)
        factors = tile.factors(matrix, task.groups)
        by_row = matrix.reshape(task.image_shape[1], -1, 1, tile.products, tile.length)
        if found.weight is not None and images is not None:
            if along is None:
                tile.fill(matrix, images[tile.place])
            else:
                along.fill(image_axes, tile, images[tile.images])
                along.fill_columns(by_row.transpose(3, 0, 1, 2, 4), tile, image_axes)
            _add_products(total, columns, factors, tile)
        matmul(filters, columns, out=factors)
        if along is None:
            copy_rows(tile.as_images(matrix), images_gradient[tile.place])
        else:
            image_axes[...] = 0
            along.add_columns(by_row, tile, image_axes)
            along.add(image_axes, tile, images_gradient[tile.images])
    if found.weight is None:
        return
    if np.isfinite(total).all():
        place = _turned(found.weight, task.groups, row_by_row)
        place[...] = total.reshape(place.shape)
    else:
        # An infinity at the border of an image has met zeros around the gradient: on the third route there are no such pairs.
        _add_up(task, gradient, images, weight, found._replace(images=None))


def _add_up(task: Convolution, gradient: Array, images: Array | None, weight: Array, found: Gradients) -> None:
    """The gradients that are wanted, from columns of the images, and with columns of their gradient."""
    plan = _plan(task, len(gradient), gradient.itemsize, HOST_COLUMN_BYTES)
    filters = weight.reshape(plan.shape)
    total = np.zeros_like(filters)
    if found.images is not None:
        found.images[...] = 0
    for tile, shapes in plan.tiles:
        columns, axes, matrix, _ = _in_workspace(shapes, filters)
        tile.fill(matrix, gradient[tile.place])
        factors = tile.factors(matrix, task.groups)
        if found.weight is not None and images is not None:
            plan.fill_columns(columns, axes, tile, images)
            _add_products(total, columns, factors, tile)
        if found.images is not None:
            back = columns.reshape(-1, tile.positions)
            matmul(filters.swapaxes(1, 2), factors, out=tile.factors(back, task.groups))
            axes[...] = 0
            plan.axis.add_columns(back.reshape(-1, *plan.axis.kernel, tile.products, tile.length), tile, axes)
            plan.axis.add(axes, tile, found.images[tile.images])
    if found.weight is not None:
        found.weight[...] = total.reshape(weight.shape)


@functools.lru_cache(1024)
def _without_idle_taps(task: Convolution) -> tuple[Convolution, tuple[slice, ...]]:
    """The convolution without the outer taps that see nothing but padding, and where those that stay are in weights.

    Only if the taps are farther apart than the image is large: then the long axes would be nearly all zeros.
    """
    window, seen = task.window, [slice(None)] * 4
    kernel, padding = list(window.kernel), list(window.padding)
    for axis in (0, 1):
        if window.dilation[axis] >= task.image_shape[2 + axis]:
            taps = window.taps_within(axis, task.image_shape[2 + axis], task.output_shape[2 + axis])
            skipped = taps.start * window.dilation[axis]
            kernel[axis], seen[2 + axis] = len(taps), slice(taps.start, taps.stop)
            padding[axis] = (padding[axis][0] - skipped, padding[axis][1])
    window = window._replace(kernel=(kernel[0], kernel[1]), padding=(padding[0], padding[1]))
    return task._replace(window=window, weight_shape=(*task.weight_shape[:2], *window.kernel)), tuple(seen)


def _is_row_by_row_shorter(task: Convolution) -> bool:
    filters, channels, rows, columns = task.weight_shape
    image_height, output_height = task.image_shape[2], task.output_shape[2]
    return filters * rows * columns * image_height > (filters * columns + ADDITION * channels * rows) * output_height


def _turned(weight: Array, groups: int, row_by_row: bool) -> Array:
    """Weight turned round, with channels before filters: (groups, C / groups, O / groups, KH, KW), or KH before filters, too."""
    by_group = weight.reshape(groups, len(weight) // groups, *weight.shape[1:])
    return by_group[..., ::-1].transpose(0, 2, 3, 1, 4) if row_by_row else by_group[..., ::-1, ::-1].swapaxes(1, 2)


class _Plan(NamedTuple):
    """How the products of filters and columns are found, for images of one shape."""

    axis: LongAxis
    channels: int
    shape: tuple[int, int, int]
    """Of the filters as matrices: (groups, rows, height)."""
    tiles: tuple[tuple[AxisTile, tuple[Shape, ...]], ...] = ()
    """Each with the shapes of what it needs memory for."""
    along: LongAxis | None = None
    """Other long axes, of `more_channels`."""
    more_channels: int = 0

    def fill_columns(self, columns: Array, axes: Array, tile: AxisTile, images: Array) -> None:
        """Make a tile's columns from `images` (N, C, H, W), by way of the long axes."""
        self.axis.fill(axes, tile, images[tile.images])
        by_tap = columns.reshape(tile.products, self.channels, *self.axis.kernel, tile.length)
        self.axis.fill_columns(by_tap, tile, axes)

    def cut(self, image_shape: Shape, itemsize: int, byte_cap: int) -> "_Plan":
        """The plan with tiles whose shapes take no more than `byte_cap` bytes, unless it is a single position."""
        groups, rows, height = self.shape
        values = groups * (rows + height) + self.channels * self.axis.phases + self.more_channels
        tiles = self.axis.tiles(image_shape, values * itemsize, rows * height, byte_cap)
        return self._replace(tiles=tuple((tile, self._shapes(tile)) for tile in tiles))

    def _shapes(self, tile: AxisTile) -> tuple[Shape, ...]:
        """Of columns, long axes, products, and the other long axes."""
        groups, rows, height = self.shape
        return (
            (tile.products, groups, height, tile.length),
            (self.channels * self.axis.phases, self.axis.width(tile)),
            (groups * rows, tile.positions),
            (self.more_channels, 0 if self.along is None else self.along.width(tile)),
        )


def _in_workspace(shapes: Sequence[Shape], like: Array) -> list[Array]:
    """Arrays of these shapes, one after the other in one workspace."""
    sizes = [math.prod(shape) for shape in shapes]
    memory, stops = workspace((sum(sizes),), like), itertools.accumulate(sizes)
    return [memory[stop - size : stop].reshape(shape) for shape, size, stop in zip(shapes, sizes, stops, strict=True)]


@functools.lru_cache(1024)
def _plan(task: Convolution, batch: int, itemsize: int, byte_cap: int) -> _Plan:
    """For columns of `batch` images."""
    filters, channels, rows, columns = task.weight_shape
    axis = LongAxis.of(task.window, task.output_shape[2:])
    shape = task.groups, filters // task.groups, channels * rows * columns
    plan = _Plan(axis, task.image_shape[1], shape)
    return plan.cut((batch, *task.image_shape[1:]), itemsize, byte_cap)


@functools.lru_cache(1024)
def _plan_back(task: Convolution, batch: int, itemsize: int, row_by_row: bool, byte_cap: int) -> _Plan:
    """For columns of the output's gradient of `batch` images."""
    filters, channels, rows, columns = task.weight_shape
    axis = LongAxis.of(task.window, (task.output_shape[2] if row_by_row else task.image_shape[2], task.image_shape[3]))
    (down, right), (top, left) = axis.reach, axis.before
    per_group = filters // task.groups
    if row_by_row:
        across = axis._replace(kernel=(1, columns), before=(0, right - left), reach=(0, right))
        along = axis._replace(kernel=(rows, 1), before=(top, 0), reach=(down, 0))
        shape = task.groups, channels * rows, per_group * columns
        plan = _Plan(across, filters, shape, along=along, more_channels=task.image_shape[1])
    else:
        turned = axis._replace(before=(down - top, right - left))
        plan = _Plan(turned, filters, (task.groups, channels, per_group * rows * columns))
    return plan.cut((batch, *task.output_shape[1:]), itemsize, byte_cap)


def _add_products(total: Array, columns: Array, factors: Array, tile: AxisTile) -> None:
    """Add the products of factors (products, groups, rows, length) and a tile's columns to `total` (groups, rows, height)."""
    with np.errstate(invalid="ignore"):  # zeros that mean nothing may meet infinities
        found = _products(columns, factors)
        if not np.isfinite(found).all():
            # Where a column means nothing the factor is 0, but that makes NaN of an infinity.
            columns[...] = masked(columns, np.broadcast_to(tile.has_meaning(), columns.shape))
            found = _products(columns, factors)
    total += found.swapaxes(1, 2)


def _products(columns: Array, factors: Array) -> Array:
    """The sums over positions of columns times factors, (groups, height, rows).

    The larger matrix comes first, some rows at a time: so OpenBLAS is up to twice as fast.
    """
    products, groups, height, length = columns.shape
    rows = factors.shape[2]
    tiles = _row_tiles(height, rows, length) if rows <= MOST_CHANNELS else 1
    by_tile = columns.reshape(products, groups, tiles, height // tiles, length)
    found = matmul(by_tile, factors[:, :, None].swapaxes(3, 4)).reshape(products, groups, height, rows)
    sums: Array = found[0] if products == 1 else found.sum(axis=0)
    return sums


@functools.lru_cache(1024)
def _row_tiles(height: int, rows: int, length: int) -> int:
    """Into how many equal tiles to cut a matrix of `height` rows that is multiplied with the transpose of `rows` of `length`."""
    for tiles in range(1, height // LEAST_ROWS + 1):
        sums = height // tiles * rows
        if height % tiles == 0 and sums <= SMALL_SUMS and sums * length <= SMALL_PRODUCT:
            return tiles
    return 1
