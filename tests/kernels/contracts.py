"""What every CUDA kernel owes: for each `.cu` file a function that holds all its kernels to oracles, on hostile cases.

Sizes are no multiples of anything; windows differ on their two axes; grids are cut down so that threads must loop; outputs
start as poison on the emulated backend. The oracles are naive loops and formulas that share no code with the package.
"""

import contextlib
import functools
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import pytest

from gpucnn import backend as gpucnn_backend
from gpucnn.backend import device_of, xp_of
from gpucnn.geometry import Window
from gpucnn.kernels import channel_sums as channel_sums_module
from gpucnn.kernels import launch
from gpucnn.kernels.batch_norm import Gradients, Running, batch_norm, batch_norm_gradients
from gpucnn.kernels.batch_norm import cuda as batch_norm_cuda
from gpucnn.kernels.channel_sums import channel_sums
from gpucnn.kernels.convolution import Gradients as ConvolutionGradients
from gpucnn.kernels.convolution import (
    PooledConvolution,
    conv2d,
    conv2d_gradients,
    conv2d_max_pool,
    cuda,
    depthwise,
    few_channels,
    implicit,
    plain,
    pooled,
    staging,
)
from gpucnn.kernels.convolution import slices as slices_module
from gpucnn.kernels.cross_entropy import Targets, cross_entropy, cross_entropy_gradient
from gpucnn.kernels.dropout import dropout, dropout_factors
from gpucnn.kernels.elementwise import add, add_bias, relu, relu_gradient
from gpucnn.kernels.elementwise import cuda as elementwise_cuda
from gpucnn.kernels.elementwise.cuda import images_to_rows, rows_to_images
from gpucnn.kernels.gradients import add_batch, clear_unless_finite, limit_norm, take_mean
from gpucnn.kernels.gradients import cuda as gradients_cuda
from gpucnn.kernels.linear import fused, linear, linear_gradients
from gpucnn.kernels.pooling import Pooling, avg_pool, avg_pool_gradient, max_pool, max_pool_gradient
from gpucnn.kernels.preprocess import (
    Move,
    MoveKind,
    Moves,
    Preparation,
    Stretch,
    constants_there,
    gather_stretch,
    moves_table,
    preprocess,
)
from gpucnn.kernels.rounding import narrowed, round_to, widened
from gpucnn.kernels.scores import Counts, count_scores
from gpucnn.kernels.tree_sum import tree_sum
from gpucnn.kernels.update import (
    AdagradSettings,
    AdamSettings,
    LionSettings,
    RmspropSettings,
    SgdSettings,
    adagrad,
    adam,
    average,
    lion,
    rmsprop,
    sgd,
)
from gpucnn.kernels.ways import Way, leave_out
from gpucnn.testing import oracles
from tests.backends import Backend, host
from tests.kernels.tasks import convolution
from tests.kernels.tensor_cores import check_tensor_cores

Array = np.ndarray
Pair = tuple[int, int]

WINDOWS = [  # kernel, stride, padding, dilation, image size
    ((3, 2), (1, 1), (0, 0), (1, 1), (5, 6)),
    ((2, 3), (2, 1), (1, 1), (1, 2), (7, 8)),
    ((3, 3), (3, 2), (2, 1), (2, 1), (9, 5)),
    ((1, 1), (2, 3), (0, 0), (1, 1), (5, 8)),
]
POOLING = [  # the same for pooling, whose padding is at most half a kernel; the last three do not overlap
    ((3, 2), (1, 1), (1, 1), (1, 1), (6, 5)),
    ((2, 3), (1, 1), (0, 0), (1, 1), (5, 7)),
    ((2, 3), (1, 2), (1, 0), (2, 1), (7, 8)),
    ((3, 3), (2, 2), (1, 1), (1, 2), (8, 9)),
    ((2, 2), (2, 2), (0, 0), (1, 1), (7, 5)),
    ((2, 3), (3, 4), (1, 1), (1, 1), (9, 10)),
    ((2, 1), (2, 1), (1, 0), (1, 1), (6, 20)),
]


@contextlib.contextmanager
def few_blocks(count: int) -> Iterator[None]:
    """Inside, a grid has at most `count` blocks, so that the threads have to loop."""
    with mock.patch.object(launch, "MOST_BLOCKS", count):
        yield


def draw(dtype: type, *shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def close(found: object, expected: object, dtype: type, scale: float = 1.0) -> None:
    """Equal shape, and values equal but for the rounding of `dtype`."""
    array, wanted = host(found), np.asarray(expected)
    assert array.shape == wanted.shape
    assert array.dtype == dtype
    tolerance = scale * (2e-6 if dtype is np.float32 else 1e-13)
    np.testing.assert_allclose(array, wanted, rtol=10 * tolerance, atol=tolerance)


def columns_by_loops(images: Array, case: tuple) -> Array:
    """Columns (C * KH * KW, N * OH * OW)."""
    kernel, stride, padding, dilation, _ = case
    found = oracles.windows(oracles.pad(images, *padding, 0.0), kernel, stride, dilation)
    stacked = np.stack([values.reshape(len(images), -1) for _, _, values in found], axis=-1)
    return stacked.swapaxes(0, 1).reshape(stacked.shape[1], -1)


def im2col(backend: Backend, images: Array, window: Window) -> Array:
    """Images as columns (C * KH * KW, N * OH * OW), of a GPU's way or of the plain one."""
    if not backend.on_cpu:
        return host(cuda.im2col(backend.array(images), window))
    task = convolution(images, np.empty((1, images.shape[1], *window.kernel)), window)
    columns = plain.im2col(task, images)[:, 0]
    return columns.swapaxes(0, 1).reshape(columns.shape[1], -1)


def check_im2col(backend: Backend, dtype: type) -> None:
    for case, batch in itertools.product(WINDOWS, (1, 3)):
        images = draw(dtype, batch, 2, *case[4])
        with few_blocks(1 if batch == 3 else 50):
            found = im2col(backend, images, Window.of(*case[:4]))
        close(found, columns_by_loops(images, case), dtype)
    large = draw(dtype, 3, 3, 17, 19)
    case = ((3, 3), (1, 2), (1, 1), (1, 1), (17, 19))
    for blocks in (2, 100):
        with few_blocks(blocks):
            close(im2col(backend, large, Window.of(*case[:4])), columns_by_loops(large, case), dtype)


def check_col2im(backend: Backend, dtype: type) -> None:
    for case, batch in itertools.product(WINDOWS, (1, 3)):
        size, window = case[4], Window.of(*case[:4])
        places = np.arange(1, 1 + batch * 2 * size[0] * size[1], dtype=np.float64).reshape(batch, 2, *size)
        read_from = columns_by_loops(places, case).astype(int)  # 0 for padding
        columns = draw(dtype, *read_from.shape)
        expected = np.zeros(places.size + 1)
        np.add.at(expected, read_from, columns.astype(np.float64))
        for blocks in (1, 50):
            with few_blocks(blocks):
                if backend.on_cpu:
                    found = np.empty(places.shape, dtype)
                    task = convolution(places, np.empty((1, 2, *window.kernel)), window)
                    stack = columns.reshape(len(columns), batch, -1)
                    plain.col2im(task, np.ascontiguousarray(stack.swapaxes(0, 1)), found)
                else:
                    found = cuda.col2im(backend.array(columns), places.shape, window)
            close(found, expected[1:].reshape(places.shape), dtype)


CONVOLUTIONS = [  # a window, batch, groups, channels and filters of a group, ReLU
    (WINDOWS[0], 3, 1, 2, 5, True),
    (WINDOWS[1], 3, 2, 3, 1, False),
    (WINDOWS[2], 2, 1, 19, 3, True),
    (WINDOWS[3], 3, 1, 2, 17, False),
    (((3, 3), (1, 1), (1, 1), (1, 1), (9, 11)), 2, 1, 3, 9, True),
    (((5, 5), (2, 2), (2, 2), (1, 1), (6, 7)), 1, 3, 1, 2, False),
    (((4, 8), (1, 1), (2, 4), (1, 1), (5, 4)), 1, 1, 2, 1, True),
    (((3, 3), (1, 1), (1, 1), (1, 1), (3, 2)), 1, 1, 60, 3, False),  # sums of more than 512 products
    (((3, 3), (1, 1), (1, 1), (1, 1), (3, 2)), 1, 1, 3, 60, False),
    (((1, 2), (1, 1), (0, 0), (1, 1), (30, 41)), 1, 1, 1, 2, False),  # many slices
    (((1, 2), (1, 1), (0, 0), (1, 1), (30, 41)), 1, 1, 1, 2, False),
]


def check_implicit(backend: Backend, dtype: type) -> None:
    for number, (case, batch, groups, channels, filters, rectified) in enumerate(CONVOLUTIONS):
        images = draw(dtype, batch, groups * channels, *case[4], seed=number)
        weight = draw(dtype, groups * filters, channels, *case[0], seed=number + 100)
        fewest = 1 if number == len(CONVOLUTIONS) - 1 else implicit.FEWEST_TILES  # of one slice, which is long
        with few_blocks(2 if number % 2 else 100), mock.patch.object(implicit, "FEWEST_TILES", fewest):
            implicit.plan_of.cache_clear()
            check_implicit_of(backend, images, weight, case, groups, rectified)
    # Tiles with other rows to a thread, over the end of rows and columns; and slices of other lengths.
    for number, (tile, rows) in enumerate((((64, 64), 64), ((32, 128), 16), ((16, 256), 32))):
        shapes = {"TILES": (tile,), "WEIGHT_ROWS": (rows,), "FEWEST_TILES": 3}
        lengths = {"FEWEST_POSITIONS": 30 + 20 * number, "MOST_POSITIONS": 60 + number}
        images, weight = draw(dtype, 1, 1, 7, 13), draw(dtype, tile[0] + 1, 1, 2, 1, seed=number)
        with mock.patch.multiple(implicit, **shapes, **lengths):
            implicit.plan_of.cache_clear()
            check_implicit_of(backend, images, weight, ((2, 1), (1, 1), (0, 0), (1, 1), (7, 13)), 1, number == 1)
    implicit.plan_of.cache_clear()


def check_implicit_of(backend: Backend, images: Array, weight: Array, case: tuple, groups: int, relu: bool) -> None:
    dtype, task = images.dtype.type, convolution(images, weight, Window.of(*case[:4]), groups, relu)
    forward, back = (conv2d, conv2d_gradients) if backend.on_cpu else (implicit.conv2d, implicit.conv2d_gradients)
    bias, gradient = draw(dtype, len(weight), seed=1), draw(dtype, *task.output_shape, seed=2)
    x, kernel, offsets, slopes = (backend.array(array) for array in (images, weight, bias, gradient))
    found = [
        backend.array(np.full(shape, 7, dtype)) for shape in (task.output_shape, images.shape, weight.shape, bias.shape)
    ]
    close(forward(task, x, kernel, None), convolution_by_windows(images, weight, None, case, groups, relu), dtype)
    found[0] = forward(task, x, kernel, offsets)
    kept = found[0] if relu else None
    back(task, slopes, x, kernel, kept, ConvolutionGradients(*found[1:]))
    passed = np.where(host(found[0]) != 0, gradient, 0) if relu else gradient
    expected = [convolution_by_windows(images, weight, bias, case, groups, relu)]
    expected += slopes_by_windows(images, weight, passed.astype(np.float64), case, groups)
    for ours, wanted in zip(found, expected, strict=True):
        assert host(ours).dtype == dtype
        precision = (1e-6 if dtype is np.float32 else 1e-14) * np.abs(wanted).max()
        np.testing.assert_allclose(host(ours), wanted, rtol=0, atol=precision)
    if len(images) < 3:
        return
    alone = [backend.empty(array.shape, dtype) for array in (weight, bias)]  # what comes alone has the same bits
    back(task, slopes, x, kernel, kept, ConvolutionGradients(weight=alone[0]))
    np.testing.assert_array_equal(host(alone[0]), host(found[2]))
    back(task, slopes, None, kernel, kept, ConvolutionGradients(bias=alone[1]))
    close(alone[1], expected[3], dtype, scale=10)


def convolution_by_windows(
    images: Array, weight: Array, bias: Array | None, case: tuple, groups: int, relu: bool
) -> Array:
    options = case[1], case[2], case[3], groups
    output = oracles.conv2d(images.astype(np.float64), weight.astype(np.float64), bias, *options)
    return np.maximum(output, 0) if relu else output


def slopes_by_windows(
    images: Array, weight: Array, gradient: Array, case: tuple, groups: int
) -> tuple[Array, Array, Array]:
    """The gradients of images, weight and bias, one window after the other."""
    kernel, stride, padding, dilation, size = case
    padded = oracles.pad(images.astype(np.float64), *padding, 0.0)
    back, of_weight = np.zeros(padded.shape), np.zeros(weight.shape)
    into = oracles.windows(back, kernel, stride, dilation)  # views: what is added there is added to `back`
    for (row, column, cut), (_, _, place) in zip(oracles.windows(padded, kernel, stride, dilation), into, strict=True):
        for group in range(groups):
            own = slice(group * len(weight) // groups, (group + 1) * len(weight) // groups)
            channels = slice(group * weight.shape[1], (group + 1) * weight.shape[1])
            slopes = gradient[:, own, row, column]
            of_weight[own] += np.einsum("no,nckl->ockl", slopes, cut[:, channels])
            place[:, channels] += np.einsum("no,ockl->nckl", slopes, weight[own].astype(np.float64))
    top, left = padding
    return back[:, :, top : top + size[0], left : left + size[1]], of_weight, gradient.sum((0, 2, 3))


DEPTHWISE = [  # kernel, stride, padding, dilation, image size, batch, channels, filters of each, ReLU
    ((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), (7, 9), 2, 3, 1, True),
    ((3, 2), (2, 3), ((1, 0), (2, 1)), (2, 1), (11, 12), 3, 2, 2, False),
    ((7, 7), (1, 1), ((3, 3), (3, 3)), (1, 1), (5, 6), 2, 2, 1, True),
    ((1, 1), (2, 2), ((0, 0), (0, 0)), (1, 1), (5, 6), 2, 2, 3, False),
    ((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), 40, 3, 1, True),
    ((2, 3), (4, 4), ((5, 1), (0, 7)), (1, 1), (9, 8), 1, 2, 1, True),
    ((5, 4), (1, 2), ((9, 8), (6, 9)), (3, 4), (2, 3), 2, 2, 1, False),
    ((1, 9), (1, 1), ((0, 0), (8, 0)), (1, 1), (1, 301), 1, 2, 1, False),
    ((9, 1), (2, 1), ((4, 4), (0, 0)), (1, 1), (40, 3), 2, 2, 1, True),
]


def check_depthwise(backend: Backend, dtype: type) -> None:
    for number, (*window, size, batch, channels, multiplier, rectified) in enumerate(DEPTHWISE):
        images = draw(dtype, batch, channels, *size, seed=number)
        weight = draw(dtype, channels * multiplier, 1, *window[0], seed=number + 100)
        with few_blocks(3):
            check_by_planes(backend, depthwise, images, weight, Window(*window), channels, rectified)
        # Tiles of some rows and columns, or of some planes, and slices of one tile or of several.
        # Of 40 images of a pixel 33 are in the first tile of the weight's gradient, of 301 columns 151, of 7 x 9 positions 4 x 5.
        few = {"MOST_STAGED": {0: 60, 1: 35, 4: 300, 7: 200}.get(number, 500), "FEWEST_TILES": 256 if number % 2 else 1}
        many = {"FEWEST_SLICES": 1, "LONGEST_SUM": 4} if number % 2 else {"FEWEST_SLICES": 1}
        with (
            few_blocks(2),
            mock.patch.multiple(staging, **few),
            mock.patch.multiple(depthwise, **many),
            without_plans(depthwise),
        ):
            precision = "tf32" if number % 3 == 0 and dtype is np.float32 and not backend.on_cpu else "float32"
            check_by_planes(backend, depthwise, images, weight, Window(*window), channels, rectified, precision)


FEW_CHANNELS = [  # kernel, stride, padding, dilation, image size, batch, channels, filters, ReLU
    ((5, 5), (1, 1), ((2, 2), (2, 2)), (1, 1), (12, 13), 2, 1, 6, True),
    ((3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), (17, 9), 3, 3, 17, False),
    ((3, 2), (2, 1), ((0, 3), (1, 0)), (1, 3), (25, 15), 1, 2, 9, True),
    ((5, 5), (1, 1), ((2, 2), (2, 2)), (1, 1), (11, 12), 1, 3, 3, True),
    ((2, 4), (3, 2), ((1, 2), (0, 0)), (2, 1), (30, 31), 2, 4, 2, False),
    ((7, 7), (2, 2), ((3, 3), (3, 3)), (1, 1), (23, 24), 1, 2, 5, False),
]


def check_few_channels(backend: Backend, dtype: type) -> None:
    for number, (*window, size, batch, channels, filters, rectified) in enumerate(FEW_CHANNELS):
        images = draw(dtype, batch, channels, *size, seed=number)
        weight = draw(dtype, filters, channels, *window[0], seed=number + 100)
        with few_blocks(3), mock.patch.object(few_channels, "LEAST_POSITIONS", 1):
            check_by_planes(backend, few_channels, images, weight, Window(*window), 1, rectified)
        if number > 2:
            continue
        # Whole images, or small tiles, over the ends of rows and columns; slices of one tile, or of several.
        fewest, longest, staged = (1, 512, 4096) if number else (1, 4, 320)
        precision = "tf32" if number == 1 and dtype is np.float32 and not backend.on_cpu else "float32"
        with (
            few_blocks(2),
            mock.patch.multiple(
                few_channels, LEAST_POSITIONS=1, FEWEST_TILES=2, LONGEST_SUM=longest, MOST_STAGED=staged
            ),
            mock.patch.multiple(staging, FEWEST_TILES=fewest, MOST_STAGED=staged),
            without_plans(few_channels),
        ):
            check_by_planes(backend, few_channels, images, weight, Window(*window), 1, rectified, precision)


@contextlib.contextmanager
def without_plans(way: Any) -> Iterator[None]:
    """Inside, nothing is known of plans that were made outside, nor the other way round."""
    way.plan_of.cache_clear()
    yield
    way.plan_of.cache_clear()


def check_by_planes(
    backend: Backend,
    way: Any,
    images: Array,
    weight: Array,
    window: Window,
    groups: int,
    relu: bool,
    precision: str = "float32",
) -> None:
    """Held to loops, each element to 1e-6 of the sum of the absolute products in it; in TF32 of rounded operands."""
    dtype, task = images.dtype.type, convolution(images, weight, window, groups, relu)
    bias, gradient = draw(dtype, len(weight), seed=1), draw(dtype, *task.output_shape, seed=2)
    if not backend.on_cpu:
        assert way.suits(task)
    forward, back = (conv2d, conv2d_gradients) if backend.on_cpu else (way.conv2d, way.conv2d_gradients)
    x, kernel, offsets, slopes = (backend.array(array) for array in (images, weight, bias, gradient))
    filled = [backend.empty(array.shape, dtype) for array in (images, weight, bias)]
    alone = [backend.empty(array.shape, dtype) for array in (images, weight, bias)]
    with gpucnn_backend.precision(precision):
        without_bias = forward(task, x, kernel, None)
        output = forward(task, x, kernel, offsets)
        kept = output if relu else None
        back(task, slopes, x, kernel, kept, ConvolutionGradients(*filled))
        for place, array in enumerate(alone):
            given = (None, None, None)
            only = ConvolutionGradients(*given[:place], array, *given[place + 1 :])
            back(task, slopes, x if place == 1 else None, kernel, kept, only)
    products = [array if precision == "float32" else as_tf32(array) for array in (images, weight, gradient)]
    padded = np.pad(products[0], ((0, 0), (0, 0), *window.padding)).astype(np.float64)
    case, factors = (window.kernel, window.stride, (0, 0), window.dilation, padded.shape[2:]), products[1].astype(float)
    passed = np.where(host(output) != 0, products[2], 0) if relu else products[2]
    (top, _), (left, _) = window.padding
    inside = ..., slice(top, top + images.shape[2]), slice(left, left + images.shape[3])

    def expected(of: Callable[[Array], Array]) -> list[Array]:
        plainly = convolution_by_windows(of(padded), of(factors), None, case, groups, relu)
        whole = convolution_by_windows(of(padded), of(factors), of(bias), case, groups, relu)
        back_to, *others = slopes_by_windows(of(padded), of(factors), of(passed.astype(float)), case, groups)
        return [plainly, whole, back_to[inside], *others]

    found = [without_bias, output, *filled]
    for ours, wanted, size in zip(found, expected(lambda array: array), expected(np.abs), strict=True):
        assert host(ours).dtype == dtype
        assert host(ours).shape == wanted.shape
        assert (np.abs(host(ours) - wanted) <= (1e-6 if dtype is np.float32 else 1e-14) * size).all()
        assert np.isfinite(host(ours)).all()
    for one, together in zip(alone, filled, strict=True):
        close(one, host(together), dtype, scale=50 if precision == "float32" or one is not alone[2] else 1e4)
    if not backend.on_cpu:  # what comes alone has the same bits
        assert [host(one).tobytes() for one in alone[:2]] == [host(one).tobytes() for one in filled[:2]]


def as_tf32(array: Array) -> Array:
    """The nearest number with 10 bits of mantissa, of two the one farther from 0."""
    mantissa, exponent = np.frexp(array.astype(np.float64))
    return np.ldexp(np.trunc(mantissa * 2**11 + np.copysign(0.5, mantissa)) / 2**11, exponent)


def check_slices(backend: Backend, dtype: type) -> None:
    for count, filters, taps in ((1, 3, 5), (7, 1, 1), (8, 40, 9), (61, 13, 2)):
        slices = draw(dtype, count, filters, taps + 1)
        total = slices.astype(np.float64).sum(axis=0)
        for blocks in (1, 50):
            weight, bias = backend.empty((filters, 1, taps), dtype), backend.empty((filters,), dtype)
            with few_blocks(blocks):
                if backend.on_cpu:
                    given = np.ascontiguousarray(np.moveaxis(slices, 0, 2))
                    sums = channel_sums(given.reshape(1, -1, count)).reshape(filters, taps + 1)
                    weight, bias = sums[:, None, :taps], sums[:, taps]
                else:
                    slices_module.add_slices(backend.array(slices), weight, None)
                    close(weight, total[:, None, :taps], dtype, scale=5)
                    slices_module.add_slices(backend.array(slices), weight, bias)
            close(weight, total[:, None, :taps], dtype, scale=5)
            close(bias, total[:, taps], dtype, scale=5)


POOLED = [  # a window, kernel and stride of the pooling, batch, channels, filters, ReLU
    (((5, 5), (1, 1), (0, 0), (1, 1), (8, 10)), (2, 2), (2, 2), 3, 1, 6, True),
    (((3, 2), (1, 1), (1, 1), (1, 1), (7, 6)), (2, 3), (3, 4), 2, 3, 7, False),  # a thread's last filter is not there
    (((3, 3), (2, 1), (1, 2), (1, 2), (13, 8)), (2, 1), (2, 3), 2, 2, 9, True),
    (((2, 3), (1, 2), (0, 0), (3, 1), (9, 11)), (1, 2), (1, 2), 1, 2, 3, True),
    (((1, 2), (1, 1), (0, 0), (1, 1), (24, 22)), (3, 3), (3, 3), 3, 1, 1, False),  # more than a block of places
]


def check_pooled(backend: Backend, dtype: type) -> None:
    for number, (case, kernel, stride, batch, channels, filters, rectified) in enumerate(POOLED):
        rng = np.random.default_rng(number)
        images = rng.integers(-2, 3, (batch, channels, *case[4])).astype(dtype)  # exact, and ties everywhere
        images[rng.random(images.shape) < 0.01] = np.inf
        images[rng.random(images.shape) < 0.01] = np.nan
        weight = rng.integers(-2, 3, (filters, channels, *case[0])).astype(dtype)
        bias = rng.integers(-3, 4, filters).astype(dtype)
        bias[-1] = -np.inf
        task = convolution(images, weight, Window.of(*case[:4]), relu=rectified)
        both = PooledConvolution(task, Pooling(task.output_shape, Window.of(kernel, stride)))
        given = [backend.array(array) for array in (images, weight, bias)]
        fewest = 1 if number % 2 else pooled.FEWEST_BLOCKS  # of several filters to a thread, or of one
        with few_blocks(2), mock.patch.object(pooled, "FEWEST_BLOCKS", fewest), np.errstate(invalid="ignore"):
            pooled.plan_of.cache_clear()
            assert backend.on_cpu or pooled.suits(both)
            for offsets in (given[2], None):
                maxima, argmax = conv2d_max_pool(both, given[0], given[1], offsets, True)
                maps = convolution_by_windows(images, weight, None if offsets is None else bias, case, 1, rectified)
                values, winners = first_maxima(maps, kernel, stride)
                assert (host(maxima).dtype, host(argmax).dtype) == (dtype, np.int32)
                np.testing.assert_array_equal(host(maxima), values)
                np.testing.assert_array_equal(host(argmax), np.where((values == 0) & rectified, -1, winners))
            maxima, argmax = conv2d_max_pool(both, given[0], given[1], None, False)
            np.testing.assert_array_equal(host(maxima), values)
            assert argmax is None or backend.on_cpu
    pooled.plan_of.cache_clear()
    # Padding at the ends alone, and long sums.
    images, weight = draw(dtype, 2, 30, 5, 4), draw(dtype, 2, 30, 3, 3, seed=1)
    task = convolution(images, weight, Window.of(3, padding=((0, 1), (0, 2))))
    both = PooledConvolution(task, Pooling(task.output_shape, Window.of(2, 2)))
    maxima, _ = conv2d_max_pool(both, backend.array(images), backend.array(weight), None, False)
    padded, case = np.pad(images, ((0, 0), (0, 0), (0, 1), (0, 2))), ((3, 3), (1, 1), (0, 0), (1, 1), (6, 6))
    expected, _ = first_maxima(convolution_by_windows(padded, weight, None, case, 1, False), (2, 2), (2, 2))
    atol = (1e-6 if dtype is np.float32 else 1e-14) * np.abs(expected).max()
    np.testing.assert_allclose(host(maxima), expected, rtol=0, atol=atol)


def first_maxima(maps: Array, kernel: Pair, stride: Pair) -> tuple[Array, Array]:
    """The maxima of windows without padding, and where in its plane the first one, or the first NaN, is of each."""
    height, width = ((size - side) // step + 1 for size, side, step in zip(maps.shape[2:], kernel, stride, strict=True))
    values, winners = np.empty((*maps.shape[:2], height, width)), np.empty((*maps.shape[:2], height, width), int)
    for image, channel, row, column in np.ndindex(*values.shape):
        places = [
            (row * stride[0] + down, column * stride[1] + along)
            for down in range(kernel[0])
            for along in range(kernel[1])
        ]
        found = [float(maps[image, channel, y, x]) for y, x in places]
        first = next((place for place, value in enumerate(found) if math.isnan(value)), None)
        if first is None:
            first = found.index(max(found))
        values[image, channel, row, column] = found[first]
        winners[image, channel, row, column] = places[first][0] * maps.shape[3] + places[first][1]
    return values, winners


def check_max_pool(backend: Backend, dtype: type) -> None:
    for case, batch in itertools.product(POOLING, (1, 3)):
        kernel, stride, padding, dilation, size = case
        window = Window.of(*case[:4])
        rng = np.random.default_rng(1)
        images = rng.integers(-2, 3, (batch, 3, *size)).astype(dtype)  # ties everywhere
        images[rng.random(images.shape) < 0.15] = -np.inf
        images[rng.random(images.shape) < 0.04] = np.nan
        expected = oracles.max_pool2d(images, kernel, stride, padding, dilation)
        places = np.arange(size[0] * size[1], dtype=np.float64).reshape(1, 1, *size)
        where = oracles.windows(oracles.pad(places, *padding, -1), kernel, stride, dilation)
        winners = np.empty(expected.shape, int)
        for (row, column, cut), (_, _, indices) in zip(
            oracles.windows(oracles.pad(images, *padding, -np.inf), kernel, stride, dilation), where, strict=True
        ):
            for image, channel in np.ndindex(batch, 3):
                candidates = [
                    (value, int(index))
                    for value, index in zip(cut[image, channel].ravel(), indices.ravel(), strict=True)
                    if index >= 0
                ]
                nans = [index for value, index in candidates if math.isnan(value)]
                best = max((value for value, _ in candidates if not math.isnan(value)), default=-math.inf)
                firsts = nans or [index for value, index in candidates if value == best]
                winners[image, channel, row, column] = firsts[0]
        with few_blocks(1):
            values, argmax = max_pool(Pooling(images.shape, window), backend.array(images), True)
        np.testing.assert_array_equal(host(values), expected)
        np.testing.assert_array_equal(
            host(max_pool(Pooling(images.shape, window), backend.array(images), False)[0]), expected
        )
        assert host(argmax).dtype == np.int32
        np.testing.assert_array_equal(host(argmax), winners)

        gradient = draw(dtype, *expected.shape)
        slopes = np.zeros((batch, 3, size[0] * size[1]))
        for index in np.ndindex(*expected.shape):
            slopes[(*index[:2], winners[index])] += gradient[index]
        for blocks in (1, 50):
            with few_blocks(blocks):
                found = max_pool_gradient(Pooling(images.shape, window), backend.array(gradient), argmax)
            close(found, slopes.reshape(images.shape), dtype)
    # Windows that lie in gaps of the dilation alone have no winner, and the gradient nowhere to go.
    gaps, one = Window.of(2, 1, 2, dilation=4), backend.array(np.ones((1, 1, 1, 1), dtype))
    values, argmax = max_pool(Pooling(one.shape, gaps), one, True)
    assert (host(values).item(), host(argmax).item()) == (-math.inf, -1)
    assert host(max_pool_gradient(Pooling(one.shape, gaps), one, argmax)).item() == 0


def check_avg_pool(backend: Backend, dtype: type) -> None:
    for case, include, batch in itertools.product(POOLING, (True, False), (1, 3)):
        kernel, stride, padding, dilation, size = case
        if dilation != (1, 1):
            continue
        images = draw(dtype, batch, 3, *size)
        window = Window.of(kernel, stride, padding)
        expected = oracles.avg_pool2d(images.astype(np.float64), kernel, stride, padding, include)
        gradient = draw(dtype, *expected.shape)
        slopes = avg_pool_slopes(kernel, stride, padding, size, include, dtype)
        with few_blocks(1 if batch == 3 else 50):
            close(avg_pool(Pooling(images.shape, window, include), backend.array(images)), expected, dtype)
            found = host(avg_pool_gradient(Pooling(images.shape, window, include), backend.array(gradient)))
        np.testing.assert_allclose(found[:1, :1], slopes, rtol=1e-4, atol=1e-5)
        # The transpose: <avg(x), g> = <x, avg'(g)>, over all images and channels.
        np.testing.assert_allclose((expected * gradient).sum(), (found.astype(np.float64) * images).sum(), rtol=2e-4)
    # In ceil mode the last windows reach past the image, and, off centre, past the padding, which never counts.
    images = backend.array(np.arange(25, dtype=dtype).reshape(1, 1, 5, 5))
    close(
        avg_pool(Pooling(images.shape, Window.of(2, ceil_mode=True, stride=2)), images)[0, 0],
        [[3, 5, 6.5], [13, 15, 16.5], [20.5, 22.5, 24]],
        dtype,
    )
    lopsided = Window((2, 2), (2, 2), ((0, 1), (1, 0)))
    ones = backend.array(np.ones((1, 1, 3, 3), dtype))
    close(avg_pool(Pooling(ones.shape, lopsided), ones)[0, 0], [[0.5, 1], [0.25, 0.5]], dtype)
    close(avg_pool(Pooling(ones.shape, lopsided, False), ones)[0, 0], [[1, 1], [1, 1]], dtype)
    back = avg_pool_gradient(Pooling((1, 1, 3, 3), lopsided), backend.array(np.full((1, 1, 2, 2), 4, dtype)))
    close(back[0, 0], [[1, 1, 1], [1, 1, 1], [1, 1, 1]], dtype)
    gap = Window.of(2, 1, 1, dilation=2)  # over one pixel every tap falls beside it
    one = backend.array(np.ones((1, 1, 1, 1), dtype))
    close(avg_pool(Pooling(one.shape, gap, False), one), np.zeros((1, 1, 1, 1)), dtype)


@functools.cache
def avg_pool_slopes(kernel: Pair, stride: Pair, padding: Pair, size: Pair, include: bool, dtype: type) -> Array:
    """Of the first plane of what is drawn, which is the same in every batch. Once for all backends: it takes a while."""

    def pool(images: Array) -> Array:
        return oracles.avg_pool2d(images, kernel, stride, padding, include)

    image = draw(dtype, 1, 1, *size).astype(np.float64)
    return oracles.gradient(pool, [image], 0, draw(dtype, *pool(image).shape).astype(np.float64))


def check_bias_relu(backend: Backend, dtype: type) -> None:
    values = draw(dtype, 3, 5, 4, 7)
    values[0, 0, 0, :3] = [np.nan, 0.0, -np.inf]
    bias = draw(dtype, 5, seed=1)
    gpu = not backend.on_cpu

    def rows_of(images: Array) -> Array:
        side_by_side = np.stack([images[:, channel].ravel() for channel in range(images.shape[1])])
        return side_by_side[None]

    for with_bias, with_relu, blocks in itertools.product((True, False), (True, False), (1, 50)):
        expected = values + bias[:, None, None] if with_bias else values.copy()
        if with_relu:
            expected = np.where(expected < 0, 0, expected)
        out = backend.empty(values.shape, dtype)
        with few_blocks(blocks):
            if gpu:
                rows_to_images(
                    backend.array(rows_of(values)), backend.array(bias) if with_bias else None, with_relu, out
                )
            flat = add_bias(backend.array(values[:, :, 0, 0]), backend.array(bias) if with_bias else None, with_relu)
            in_place = backend.array(values)
            add_bias(in_place, backend.array(bias) if with_bias else None, with_relu)
        if gpu:
            np.testing.assert_array_equal(host(out), expected)
        np.testing.assert_array_equal(host(flat), expected[:, :, 0, 0])
        np.testing.assert_array_equal(host(in_place), expected)

        gradient = draw(dtype, *values.shape, seed=2)
        gradient[1, 2, 3, 4] = np.inf
        passed = np.where(expected != 0, gradient, 0) if with_relu else gradient
        if gpu:
            with few_blocks(blocks):
                rows = images_to_rows(backend.array(gradient), backend.array(expected) if with_relu else None)
            np.testing.assert_array_equal(host(rows), rows_of(passed))
    with few_blocks(1):
        output = relu(backend.array(values))
        np.testing.assert_array_equal(host(output), np.where(values < 0, 0, values))
        np.testing.assert_array_equal(
            host(relu_gradient(backend.array(gradient), output)),
            np.where(np.where(values < 0, 0, values) != 0, gradient, 0),
        )
    if not gpu:
        return
    # A part of a larger output, as tiles of large images are.
    whole = backend.empty((3, 5, 4, 9), dtype)
    rows_to_images(backend.array(rows_of(values)), backend.array(bias), False, whole[:, :, :, 1:8])
    np.testing.assert_array_equal(host(whole)[:, :, :, 1:8], values + bias[:, None, None])
    assert np.isnan(host(whole)[:, :, :, [0, 8]]).all()


def check_channel_sums(backend: Backend, dtype: type) -> None:
    for shape in ((1, 1, 1), (3, 5, 7), (2, 3, 601), (700, 4, 1), (1, 2, 1030)):
        values = draw(dtype, *shape)
        expected = np.array([math.fsum(values[:, channel].ravel().tolist()) for channel in range(shape[1])])
        for elements, blocks in ((1 << 30, 100), (300, 100), (257, 2), (1 << 30, 1)):
            with mock.patch.object(channel_sums_module, "ELEMENTS_PER_BLOCK", elements), few_blocks(blocks):
                close(channel_sums(backend.array(values)), expected, dtype, scale=40)
    out = backend.empty((5,), dtype)
    assert channel_sums(backend.array(np.ones((3, 5, 7), dtype)), out=out) is out
    np.testing.assert_array_equal(host(out), 21)
    for nothing in ((0, 4, 7), (3, 4, 0)):
        np.testing.assert_array_equal(host(channel_sums(backend.array(np.ones(nothing, dtype)))), [0, 0, 0, 0])


def check_batch_norm(backend: Backend, dtype: type) -> None:
    shapes = ((2, 1, 1), (3, 2, 5), (7, 3, 1), (9, 2, 70), (2, 3, 301), (1, 2, 1030))
    for number, (shape, (mean, affine)) in enumerate(itertools.product(shapes, ((0.0, True), (3.0, False)))):
        values = draw(dtype, *shape, seed=number) + dtype(mean)
        gradient = draw(dtype, *shape, seed=number + 100)
        weight, bias = (draw(dtype, shape[1], seed=number + 200 + i) if affine else None for i in range(2))
        grids = [(1 << 30, 64, 100), (300, 64, 100), (7, 64, 2), (7, 3, 1)]
        for elements, parts, blocks in (
            grids if values.size < 100 else grids[:2]
        ):  # the emulator is slow with many parts
            work = {"ELEMENTS_PER_BLOCK": elements, "MOST_BLOCKS_PER_CHANNEL": parts}
            with mock.patch.multiple(batch_norm_cuda, **work), few_blocks(blocks):
                kinds = list(itertools.product((False, True), repeat=2))
                for relu, added in kinds if values.size < 100 else kinds[number % 4 : number % 4 + 1]:
                    residual = draw(dtype, *shape, seed=number + 300) if added else None
                    check_batch_norm_of(backend, values, gradient, (weight, bias), relu, residual)
    # What is far from 0 keeps as many digits as its own leave.
    far = 10_000 + draw(np.float64, 5, 3, 701)
    far = far.astype(dtype)
    gradient = draw(dtype, *far.shape, seed=1)
    expected = batch_norm_by_channels(far, gradient, None, None)
    with mock.patch.object(batch_norm_cuda, "ELEMENTS_PER_BLOCK", 400):
        output, statistics = batch_norm(backend.array(far), None, None, 1e-3)
        slopes = batch_norm_gradients(backend.array(gradient), backend.array(far), None, statistics, Gradients())
    precision = 1e-3 if dtype is np.float32 else 1e-10
    for array, wanted in zip((output, *statistics[:3], slopes), expected, strict=False):
        np.testing.assert_allclose(host(array), wanted, rtol=precision, atol=precision)
    # The mean of the squares less the square of the mean would not have a single digit of it in float32.
    np.testing.assert_allclose(host(statistics.variance), expected[2], rtol=1e-4 if dtype is np.float32 else 1e-10)
    for nothing in ((0, 4, 7), (3, 4, 0), (3, 0, 7)):
        empty, own = backend.array(np.ones(nothing, dtype)), backend.empty((nothing[1],), dtype)
        output, statistics = batch_norm(empty, None, None, 1e-3)
        assert batch_norm_gradients(empty, empty, None, statistics, Gradients(own)).shape == output.shape == nothing
        np.testing.assert_array_equal(host(own), 0)


def check_batch_norm_of(
    backend: Backend,
    values: Array,
    gradient: Array,
    affine: tuple[Array | None, Array | None],
    relu: bool,
    residual: Array | None,
) -> None:
    """Both ways, with running statistics that move by a number, then by an array."""
    dtype, (_, channels, _), count = values.dtype.type, values.shape, values[:, 0].size
    expected = batch_norm_by_channels(values, gradient, *affine, relu, residual)
    x, slopes, scale, shift, kept = (
        None if array is None else backend.array(array) for array in (values, gradient, *affine, residual)
    )
    own = [None if scale is None else backend.empty((channels,), dtype) for _ in range(2)]
    passed = backend.empty(values.shape, dtype) if relu and residual is not None else None
    running = [backend.array(np.full(channels, start, dtype)) for start in (2, 3)]
    output, statistics = batch_norm(x, scale, shift, 1e-3, relu, kept, Running(*running, 0.25))
    again, _ = batch_norm(x, scale, shift, 1e-3, relu, kept, Running(*running, backend.array(np.array(0.5, dtype))))
    np.testing.assert_array_equal(host(again), host(output))
    values_gradient = batch_norm_gradients(
        slopes, x, scale, statistics, Gradients(*own, passed), output if relu else None, residual is not None
    )
    found = (output, *statistics[:3], values_gradient, *own, passed)
    for array, wanted in zip(found, expected, strict=True):
        if array is not None:
            close(array, wanted, dtype, scale=40)
    for array, start, wanted in zip(running, (2, 3), (expected[1], expected[2] * count / (count - 1)), strict=True):
        close(array, ((0.75 * start + 0.25 * wanted) + wanted) / 2, dtype, scale=40)


def batch_norm_by_channels(
    values: Array,
    gradient: Array,
    weight: Array | None,
    bias: Array | None,
    relu: bool = False,
    residual: Array | None = None,
) -> tuple[Array, Array, Array, Array, Array, Array, Array, Array]:
    """Output, mean, variance, 1 / sqrt(variance + 0.001); the gradients of values, weight and bias; that before ReLU."""
    output, slopes = np.empty(values.shape), np.empty(values.shape)
    vectors, passed = np.empty((5, values.shape[1])), gradient.astype(np.float64)
    for channel in range(values.shape[1]):
        numbers = values[:, channel].astype(np.float64)
        mean = math.fsum(numbers.ravel()) / numbers.size
        variance = math.fsum((numbers - mean).ravel() ** 2) / numbers.size
        inverse = 1 / math.sqrt(variance + 1e-3)
        normalized = (numbers - mean) * inverse
        factor, shift = (1.0 if weight is None else weight[channel], 0.0 if bias is None else bias[channel])
        output[:, channel] = normalized * factor + shift + (0 if residual is None else residual[:, channel])
        if relu:
            passed[:, channel][output[:, channel] <= 0] = 0
            output[:, channel] = output[:, channel].clip(0)
        gradients = passed[:, channel]
        total, product = math.fsum(gradients.ravel()), math.fsum((gradients * normalized).ravel())
        vectors[:, channel] = mean, variance, inverse, product, total
        slopes[:, channel] = factor * inverse * (gradients - (total + normalized * product) / numbers.size)
    return output, vectors[0], vectors[1], vectors[2], slopes, vectors[3], vectors[4], passed


def check_cross_entropy(backend: Backend, dtype: type) -> None:
    for number, (images, classes) in enumerate(((1, 2), (5, 10), (9, 33), (19, 70), (256, 2), (300, 3))):
        rng = np.random.default_rng(classes)
        logits = (3 * rng.standard_normal((images, classes))).astype(dtype)
        labels = rng.integers(0, classes, images)
        weights = rng.uniform(0.2, 2.0, classes).astype(dtype)
        for class_weights, smoothing in itertools.product((None, weights), (0.0, 0.25)):
            blocks = (1, 50)[(number + (class_weights is None) + (smoothing > 0)) % 2]
            wide = blocks == 1 and not backend.on_cpu  # where labels may have 64 bits
            targets = Targets(
                backend.array(labels.astype(np.int64 if wide else np.int32)),
                None if class_weights is None else backend.array(weights),
                smoothing,
            )
            with few_blocks(blocks):
                loss, saved = cross_entropy(backend.array(logits), targets)
                gradient = cross_entropy_gradient(backend.array(np.array(2, dtype)), targets, saved)
            expected = oracles.cross_entropy(logits.astype(np.float64), labels, class_weights, smoothing)
            close(loss, expected, dtype, scale=10)
            probabilities, weight_of = oracles.softmax(logits), np.ones(classes) if class_weights is None else weights
            slopes = np.zeros((images, classes))
            for image, label in enumerate(labels):
                wanted = [weight_of[j] * (smoothing / classes + (1 - smoothing) * (j == label)) for j in range(classes)]
                slopes[image] = probabilities[image] * math.fsum(wanted) - wanted
            close(gradient, 2 * slopes / math.fsum(weight_of[label] for label in labels), dtype, scale=10)
    one_hot = np.array([[0, -np.inf, 1000], [5, 5, 5]], dtype)
    targets = Targets(backend.array(np.array([2, 1], np.int32)), None, 0.0)
    loss, saved = cross_entropy(backend.array(one_hot), targets)
    close(loss, math.log(3) / 2, dtype)
    gradient = cross_entropy_gradient(backend.array(np.array(1, dtype)), targets, saved)
    close(gradient, np.array([[0, 0, 0], [1 / 3, -2 / 3, 1 / 3]]) / 2, dtype)
    if backend.on_cpu:
        return  # there the labels have been looked at before
    for label in (-1, 3, (1 << 32) + 1):
        dtype_of_labels = np.int64 if label > 3 else np.int32
        targets = Targets(backend.array(np.array([label, 1], dtype_of_labels)), None, 0.0)
        loss, saved = cross_entropy(backend.array(np.ones((2, 3), dtype)), targets)
        gradient = host(cross_entropy_gradient(backend.array(np.array(1, dtype)), targets, saved))
        assert np.isnan(host(loss))
        assert np.isnan(gradient[0]).all()
        close(gradient[1], np.array([1, -2, 1]) / 6, dtype)


def check_sgd(backend: Backend, dtype: type) -> None:
    size = 613
    for momentum, decay, nesterov, blocks in itertools.product((0.0, 0.9), (0.0, 0.1), (False, True), (1, 50)):
        values, slopes, speeds = (draw(dtype, size, seed=seed).astype(np.float64) for seed in range(3))
        arrays = [backend.array(array.astype(dtype)) for array in (values, slopes, speeds)]
        settings = backend.array(np.array(SgdSettings(0.3, momentum, decay), dtype))
        expected, speed = values.copy(), speeds.copy()
        for _ in range(2):
            slope = slopes + decay * expected
            speed = momentum * speed + slope
            step = (slope + momentum * speed if nesterov else speed) if momentum else slope
            expected = expected - 0.3 * step
            with few_blocks(blocks):
                sgd(arrays[0], arrays[1], arrays[2] if momentum else None, settings, nesterov)
        close(arrays[0], expected, dtype, scale=10)
        close(arrays[1], slopes, dtype)
        close(arrays[2], speed if momentum else speeds, dtype, scale=10)
    ones, settings = backend.array(np.ones(2, dtype)), backend.array(np.array(SgdSettings(0.3, 0, 0), dtype))
    check_no_decay_of_infinity(lambda parameters: sgd(parameters, ones, None, settings, False), backend, dtype)


def check_no_decay_of_infinity(update: Callable[[Array], None], backend: Backend, dtype: type) -> None:
    """Without weight decay an infinite parameter stays infinite: 0 * infinity must not come into it."""
    parameters = backend.array(np.array([np.inf, 1], dtype))
    update(parameters)
    np.testing.assert_array_equal(np.isinf(host(parameters)), [True, False])


def check_adam(backend: Backend, dtype: type) -> None:
    size, beta1, beta2, eps = 613, 0.8, 0.95, 1e-2
    for decay, kept, blocks in itertools.product((0.0, 0.1), (1.0, 0.9), (1, 50)):
        values, slopes = (draw(dtype, size, seed=seed).astype(np.float64) for seed in range(2))
        arrays = [backend.array(array.astype(dtype)) for array in (values, slopes, np.zeros(size), np.zeros(size))]
        mean, square = np.zeros(size), np.zeros(size)
        for step in (1, 2, 3):
            values = kept * values
            slope = slopes + decay * values
            mean, square = beta1 * mean + (1 - beta1) * slope, beta2 * square + (1 - beta2) * slope**2
            values = values - 0.1 * (mean / (1 - beta1**step)) / (np.sqrt(square / (1 - beta2**step)) + eps)
            numbers = AdamSettings(
                0.1 / (1 - beta1**step), beta1, 1 - beta1, beta2, 1 - beta2, 1 - beta2**step, eps, decay, kept
            )
            with few_blocks(blocks):
                adam(*arrays, backend.array(np.array(numbers, dtype)))
        for array, expected in zip(arrays, (values, slopes, mean, square), strict=True):
            close(array, expected, dtype, scale=10)
    ones, numbers = backend.array(np.ones(2, dtype)), (0.1, beta1, 1 - beta1, beta2, 1 - beta2, 1 - beta2, eps, 0, 1)
    memory = [backend.array(np.zeros(2, dtype)) for _ in range(2)]
    settings = backend.array(np.array(numbers, dtype))
    check_no_decay_of_infinity(lambda parameters: adam(parameters, ones, *memory, settings), backend, dtype)


def check_adagrad(backend: Backend, dtype: type) -> None:
    for size, decay, blocks in itertools.product((0, 1, 613), (0.0, 0.1), (1, 50)):
        values, slopes = (draw(dtype, size, seed=seed).astype(np.float64) for seed in range(2))
        arrays = [backend.array(array.astype(dtype)) for array in (values, slopes, np.full(size, 0.5))]
        total = np.full(size, 0.5)
        for rate in (0.3, 0.2):
            slope = slopes + decay * values
            total = total + slope**2
            values = values - rate * slope / (np.sqrt(total) + 1e-2)
            with few_blocks(blocks):
                adagrad(*arrays, backend.array(np.array(AdagradSettings(rate, 1e-2, decay), dtype)))
        for array, expected in zip(arrays, (values, slopes, total), strict=True):
            close(array, expected, dtype, scale=10)


def check_rmsprop(backend: Backend, dtype: type) -> None:
    cases = itertools.product((1, 613), (0.0, 0.1), (False, True), (0.0, 0.9), (1, 50))
    for size, decay, centered, momentum, blocks in cases:
        values, slopes = (draw(dtype, size, seed=seed).astype(np.float64) for seed in range(2))
        arrays = [backend.array(array.astype(dtype)) for array in (values, slopes, *[np.zeros(size)] * 3)]
        square, mean, speed = np.zeros(size), np.zeros(size), np.zeros(size)
        for _ in range(3):
            slope = slopes + decay * values
            square, mean = 0.7 * square + 0.3 * slope**2, 0.7 * mean + 0.3 * slope
            speed = momentum * speed + slope / (np.sqrt(square - mean**2 if centered else square) + 0.1)
            values = values - 0.2 * speed
            memory = (arrays[2], arrays[3] if centered else None, arrays[4] if momentum else None)
            numbers = np.array(RmspropSettings(0.2, 0.7, 0.3, 0.1, momentum, decay), dtype)
            with few_blocks(blocks):
                rmsprop(*arrays[:2], *memory, backend.array(numbers))
        nothing = np.zeros(size)
        expected = (values, slopes, square, mean if centered else nothing, speed if momentum else nothing)
        for array, wanted in zip(arrays, expected, strict=True):
            close(array, wanted, dtype, scale=10)
    # A variance that rounding makes negative is none; one that is no number stays so.
    square, mean = np.array([1, 1, np.nan], dtype), np.array([2, 0, 0], dtype)
    arrays = [backend.array(array) for array in (np.zeros(3, dtype), np.zeros(3, dtype), square, mean)]
    rmsprop(*arrays, None, backend.array(np.array(RmspropSettings(1, 1, 0, 0.5, 0, 0), dtype)))
    np.testing.assert_array_equal(host(arrays[0]), [0, 0, np.nan])


def check_lion(backend: Backend, dtype: type) -> None:
    for size, kept, blocks in itertools.product((1, 613), (1.0, 0.9), (1, 50)):
        values, momentum = draw(dtype, size).astype(np.float64), np.zeros(size)
        arrays = [backend.array(array.astype(dtype)) for array in (values, momentum, momentum)]
        for step in (1, 2, 3):
            slopes = draw(dtype, size, seed=step).astype(np.float64)
            slopes[-1] = 0  # the sign of nothing is 0
            arrays[1] = backend.array(slopes.astype(dtype))
            values = kept * values - 0.1 * np.sign(0.8 * momentum + 0.2 * slopes)
            momentum = 0.6 * momentum + 0.4 * slopes
            with few_blocks(blocks):
                lion(*arrays, backend.array(np.array(LionSettings(0.1, 0.8, 0.2, 0.6, 0.4, kept), dtype)))
        for array, expected in zip(arrays, (values, slopes, momentum), strict=True):
            close(array, expected, dtype, scale=10)
    hostile = [backend.array(np.array(numbers, dtype)) for numbers in ([1, 1, 1], [np.nan, np.inf, -np.inf], [0, 0, 0])]
    lion(*hostile, backend.array(np.array(LionSettings(0.5, 0.8, 0.2, 0.6, 0.4, 1), dtype)))
    np.testing.assert_array_equal(host(hostile[0]), [np.nan, 0.5, 1.5])
    np.testing.assert_array_equal(host(hostile[2]), [np.nan, np.inf, -np.inf])


def check_average(backend: Backend, dtype: type) -> None:
    for size, blocks in itertools.product((0, 1, 613), (1, 50)):
        averages, weights = draw(dtype, size), draw(dtype, size, seed=1)
        found, given = backend.array(averages), backend.array(weights)
        with few_blocks(blocks):
            average(found, given, backend.array(np.array([0.3], dtype)))
        close(found, averages.astype(np.float64) * 0.7 + weights.astype(np.float64) * 0.3, dtype)
        close(given, weights, dtype)


def check_finite(backend: Backend, dtype: type) -> None:
    def stays(values: Array, loss: Array | None, before: int = 1) -> int:
        flag = backend.array(np.array(before, np.int32))
        with few_blocks(2):
            clear_unless_finite(flag, backend.array(values), None if loss is None else backend.array(loss))
        assert host(flag).dtype == np.int32
        return int(host(flag))

    fine = np.array(np.finfo(dtype).max, dtype)
    for size in (0, 1, 613, 1500):
        values = draw(dtype, size)
        assert [stays(values, loss) for loss in (None, fine)] == [1, 1]
        assert stays(values, fine, before=0) == 0, "what was found before stays"
        for bad in (np.nan, np.inf, -np.inf):
            assert stays(values, np.array(bad, dtype)) == 0
            other = np.float32 if dtype is np.float64 else np.float64
            assert stays(values, np.array(bad, other)) == 0, "a loss of another dtype"
            for place in {0, size // 2, size - 1} if size else ():
                spoiled = values.copy()
                spoiled[place] = bad
                assert [stays(spoiled, loss) for loss in (None, fine)] == [0, 0]
    assert stays(values, np.array(0, np.float16)) == 1


def check_norm(backend: Backend, dtype: type) -> None:
    cases = itertools.product(((1,), (613,), (5000, 3), (0, 257)), (4096, 100), (1, 50))
    for sizes, elements, blocks in cases:
        arrays = [draw(dtype, size, seed=seed) for seed, size in enumerate(sizes)]
        norm = math.sqrt(math.fsum(float(value) ** 2 for array in arrays for value in array))
        for most in (0.5 * norm, 2 * norm):
            found = [backend.array(array) for array in arrays]
            with mock.patch.object(gradients_cuda, "ELEMENTS_PER_BLOCK", elements), few_blocks(blocks):
                close(limit_norm(found, most), norm, np.float64)
            for array, before in zip(found, arrays, strict=True):
                close(array, before.astype(np.float64) * min(1, most / (norm + 1e-6)), dtype)
    large = backend.array(np.full(3, 1e30, dtype))  # whose squares float32 does not hold
    assert float(limit_norm([large], 1.0)) == float(np.sqrt(3 * np.float64(dtype(1e30)) ** 2))
    close(large, np.full(3, 3**-0.5), dtype)
    for bad, others in ((np.nan, np.nan), (np.inf, 0.0)):
        spoiled = backend.array(np.array([1, bad, -2], dtype))
        with np.errstate(invalid="ignore"):
            np.testing.assert_equal(float(limit_norm([spoiled], 1.0)), bad)
        np.testing.assert_array_equal(host(spoiled), [others, np.nan, others])
    nothing = backend.array(np.zeros(0, dtype))
    assert float(limit_norm([nothing], 1.0)) == 0
    # What kernels do not take: strides.
    strided = backend.strided(draw(dtype, 4, 5))
    before = host(strided).copy()
    assert float(limit_norm([strided], 0.0)) == pytest.approx(np.sqrt((before.astype(np.float64) ** 2).sum()))
    np.testing.assert_array_equal(host(strided), 0)


def check_mean(backend: Backend, dtype: type) -> None:
    for size, blocks in itertools.product((0, 1, 613), (1, 50)):
        gradients = [draw(dtype, size, seed=seed) for seed in range(2)]
        total, found = backend.array(np.zeros(size, dtype)), backend.empty((size,), dtype)
        with few_blocks(blocks):
            for gradient, images in zip(gradients, (8, 3), strict=True):
                add_batch(total, backend.array(gradient), images)
            close(total, 8.0 * gradients[0].astype(np.float64) + 3.0 * gradients[1], dtype, scale=10)
            take_mean(total, found, backend.array(np.array([11], dtype)))
        close(found, (8.0 * gradients[0].astype(np.float64) + 3.0 * gradients[1]) / 11, dtype)
        np.testing.assert_array_equal(host(total), 0)


def check_scores(backend: Backend, dtype: type) -> None:
    for images, classes, blocks in itertools.product((1, 300), (1, 10, 33, 70), (1, 50)):
        rng = np.random.default_rng(classes)
        logits = rng.integers(-3, 3, (images, classes)).astype(dtype)  # of equal ones the first
        logits[rng.random(logits.shape) < 0.1] = np.nan  # the first of those before all numbers
        logits[rng.random(logits.shape) < 0.1] = -np.inf
        answers = [int(np.argmax(row)) for row in logits]
        labels = np.where(rng.random(images) < 0.6, answers, rng.integers(0, classes, images))
        right = sum(int(answer == label) for answer, label in zip(answers, labels, strict=True))
        counts = Counts(backend.array(np.array(0.5, dtype)), backend.array(np.array(1 << 40)))
        for number, kind in enumerate((np.int64, np.int32, np.uint8), 1):
            with few_blocks(blocks):
                count_scores(
                    counts,
                    backend.array(np.array(2.5, dtype)),
                    backend.array(logits),
                    backend.array(labels.astype(kind)),
                )
            assert int(host(counts.correct)) == (1 << 40) + number * right
            close(counts.loss_sum, 0.5 + number * 2.5 * images, dtype)
    # Maps have an answer at each position, and a batch may be empty, or its logits lie with strides.
    maps = draw(dtype, 2, 3, 4, 5)
    labels = rng.integers(0, 3, (2, 4, 5))
    counts = Counts(backend.array(np.array(0, dtype)), backend.array(np.array(0)))
    count_scores(counts, backend.array(np.array(1, dtype)), backend.array(maps), backend.array(labels))
    assert int(host(counts.correct)) == int((maps.argmax(1) == labels).sum())
    assert float(host(counts.loss_sum)) == 40
    count_scores(
        counts, backend.array(np.array(1, dtype)), backend.array(maps[:0, :, 0, 0]), backend.array(labels[:0, 0, 0])
    )
    count_scores(
        counts, backend.array(np.array(0, dtype)), backend.strided(maps[:, :, 0, 0]), backend.array(labels)[:, 0, 0]
    )
    assert int(host(counts.correct)) == int(
        (maps.argmax(1) == labels).sum() + (maps.argmax(1) == labels)[:, 0, 0].sum()
    )
    assert float(host(counts.loss_sum)) == 40
    # What was counted in another dtype goes on in it.
    other = np.float32 if dtype is np.float64 else np.float64
    counts = Counts(backend.array(np.array(3, other)), backend.array(np.array(0)))
    flat, classes = backend.array(np.eye(3, dtype=dtype)), backend.array(np.array([0, 1, 0]))
    count_scores(counts, backend.array(np.array(2, dtype)), flat, classes)
    assert (float(host(counts.loss_sum)), int(host(counts.correct))) == (9, 2)
    assert host(counts.loss_sum).dtype == other


LINEAR = [  # batch, inputs, outputs, rows and columns of a tile
    (1, 1, 1, 16),
    (19, 5, 35, 16),
    (3, 300, 17, 16),
    (140, 18, 2, 16),
    (20, 70, 33, 32),
]


def check_linear(backend: Backend, dtype: type) -> None:
    for number, (batch, inputs, outputs, side) in enumerate(LINEAR):
        rng, relu = np.random.default_rng(number), number % 2 > 0
        shapes = ((batch, inputs), (outputs, inputs), (outputs,), (batch, outputs))
        vectors, weight, bias, gradient = (rng.standard_normal(shape).astype(dtype) for shape in shapes)
        with few_blocks(2 if relu else 200), mock.patch.object(fused, "FEWEST_TILES", 1 if side == 32 else 1000):
            check_linear_of(backend, vectors, weight, bias, gradient, relu)
    # What is no number stays where it belongs, and what a ReLU has stopped goes nowhere.
    vectors, weight, bias, gradient = draw(dtype, 20, 5), draw(dtype, 9, 5), draw(dtype, 9), draw(dtype, 20, 9)
    vectors[3, 0], vectors[5, 1], weight[8, 0], gradient[18, 7] = np.nan, np.inf, -np.inf, np.nan
    gradient[19] = np.where(np.maximum(vectors[19].astype(np.float64) @ weight.T + bias, 0) == 0, np.inf, 1)
    with np.errstate(invalid="ignore"):
        check_linear_of(backend, vectors, weight, bias, gradient, True)


def check_linear_of(backend: Backend, vectors: Array, weight: Array, bias: Array, gradient: Array, relu: bool) -> None:
    dtype, given = vectors.dtype.type, [backend.array(array) for array in (vectors, weight, bias, gradient)]
    x, matrix, offsets, slopes = given
    wide_x, wide_weight, wide_slopes = (array.astype(np.float64) for array in (vectors, weight, gradient))
    wanted = wide_x @ wide_weight.T
    linear_close(linear(x, matrix, None, False), wanted, dtype)
    wanted = np.maximum(wanted + bias, 0) if relu else wanted + bias
    output = linear(x, matrix, offsets, relu)
    linear_close(output, wanted, dtype)
    kept, passed = (output, np.where(host(output) != 0, wide_slopes, 0)) if relu else (None, wide_slopes)
    own = [backend.array(np.full(shape, 7, dtype)) for shape in (weight.shape, bias.shape)]
    found = [linear_gradients(slopes, x, matrix, kept, *own), *own]
    for ours, expected in zip(found, (passed @ wide_weight, passed.T @ wide_x, passed.sum(0)), strict=True):
        linear_close(ours, expected, dtype)
    alone = [backend.array(np.full(shape, 7, dtype)) for shape in (weight.shape, bias.shape)]
    assert linear_gradients(slopes, x, None, kept, alone[0]) is None
    linear_gradients(slopes, None, None, kept, None, alone[1])
    alone.append(linear_gradients(slopes, None, matrix, kept))
    for ours, together in zip(alone, (*found[1:], found[0]), strict=True):
        np.testing.assert_allclose(host(ours), host(together), rtol=1e-5, atol=1e-5)


def linear_close(found: object, expected: Array, dtype: type) -> None:
    """Equal within 1e-6 of the largest number of float32; where it is none, of the same kind."""
    array, numbers = host(found), np.isfinite(expected)
    assert array.dtype == dtype
    np.testing.assert_array_equal(np.where(numbers, 0, array), np.where(numbers, 0, expected))
    atol = (1e-6 if dtype is np.float32 else 1e-14) * np.abs(expected[numbers]).max(initial=0)
    np.testing.assert_allclose(array[numbers], expected[numbers], rtol=0, atol=atol)


def check_relu_sums(backend: Backend, dtype: type) -> None:
    for rows, columns, blocks in itertools.product((1, 3, 37), (1, 32, 75), (1, 50)):
        gradient, output = draw(dtype, rows, columns), np.maximum(draw(dtype, rows, columns, seed=1), 0)
        gradient[0, 0] = np.inf if output[0, 0] == 0 else 1  # which must not become NaN
        weight, vectors = draw(dtype, columns, 2, seed=2), draw(dtype, rows, 2, seed=3)
        own = backend.empty((columns, 2), dtype), backend.empty((columns,), dtype)
        given = [backend.array(array) for array in (gradient, vectors, weight, output)]
        with few_blocks(blocks), leave_out(Way.FUSED):
            found = linear_gradients(*given, *own)
        passed = np.where(output != 0, gradient, 0).astype(np.float64)
        close(found, passed @ weight, dtype, scale=10)
        close(own[0], passed.T @ vectors, dtype, scale=20)
        close(own[1], passed.sum(0), dtype, scale=10)


def check_preprocess(backend: Backend, dtype: type) -> None:
    """Bit for bit what the formulas give, one pixel at a time, of whatever is chosen."""
    del dtype  # bytes become float32
    source = np.random.default_rng(0).integers(0, 256, (5, 3, 4, 4), np.uint8)
    cases = itertools.product((4, 9), (None, np.array([4, 0, -1, -5])), ((True, 1), (False, 50)))
    for size, order, (normalizes, blocks) in cases:
        mean, std = ((0.25, 0.5, 0.1), (0.3, 1.7, 0.9)) if normalizes else (None, None)
        for resizes in (True, False):
            preparation = Preparation(size, 200, resizes, mean, std)
            given = None if order is None else backend.array(order)
            with few_blocks(blocks):
                found, labels = preprocess(backend.array(source), backend.array(np.arange(5) + 7), given, preparation)
            np.testing.assert_array_equal(host(labels), np.arange(5) + 7 if order is None else order % 5 + 7)
            chosen = source if order is None else source[order]
            wanted = np.zeros((len(chosen), 3, size, size), np.float32)
            scaled = chosen.astype(np.float32) / np.float32(200)
            low, shares = zip(*[neighbours(place, 4, size) for place in range(size)], strict=True)
            for row, column in itertools.product(range(size), repeat=2):
                if resizes and size > 4:
                    sides = [
                        scaled[:, :, low[row], at] * (1 - shares[row])
                        + scaled[:, :, min(low[row] + 1, 3), at] * shares[row]
                        for at in (low[column], min(low[column] + 1, 3))
                    ]
                    wanted[:, :, row, column] = sides[0] * (1 - shares[column]) + sides[1] * shares[column]
                else:
                    y, x = row - (size - 4) // 2, column - (size - 4) // 2
                    if 0 <= y < 4 and 0 <= x < 4:
                        wanted[:, :, row, column] = scaled[:, :, y, x]
            if normalizes:
                mean_there, std_there = (np.array(values, np.float32)[:, None, None] for values in (mean, std))
                wanted = (wanted - mean_there) / std_there
            np.testing.assert_array_equal(host(found), wanted)
            assert host(found).dtype == np.float32
    task = Preparation(4, 255, False)
    np.testing.assert_array_equal(  # of strides, a mask, and nothing
        host(preprocess(backend.array(source)[1:3, :, ::-1], None, None, task)[0]),
        source[1:3, :, ::-1] / np.float32(255),
    )
    mask = backend.array(np.array([True, False, False, True, False]))
    few = np.array([7, 8, 9, 10, 11], np.uint8)
    found, labels = preprocess(backend.array(source), backend.array(few), mask, task)
    np.testing.assert_array_equal(host(found), source[[0, 3]] / np.float32(255))
    np.testing.assert_array_equal(host(labels), [7, 10])
    found, labels = preprocess(backend.array(source), backend.array(few), backend.array(np.zeros(0, np.int64)), task)
    assert (found.shape, labels.shape) == ((0, 3, 4, 4), (0,))
    if not backend.on_cpu:  # where nobody looks at indices: no memory beyond the images is read
        far, _ = preprocess(backend.array(source), None, backend.array(np.array([99, -99, 1 << 40])), task)
        np.testing.assert_array_equal(host(far), source[[4, 0, 4]] / np.float32(255))
    check_moves(backend)


MOVES: list[tuple[tuple[MoveKind, tuple[float, ...], int], ...]] = [  # kind, numbers, seed
    (),
    ((MoveKind.FLIP, (0.5,), 3),),
    ((MoveKind.SHIFT, (3, 1), 1 << 63),),
    ((MoveKind.REFLECT, (9, 2), 7),),
    ((MoveKind.ALTERNATE, (0.3,), 4),),
    ((MoveKind.ALTERNATE, (0.3,), 4), (MoveKind.FLIP, (0.4,), 4)),
    ((MoveKind.BLANK, (4,), 5),),
    ((MoveKind.BLANK, (3,), 5), (MoveKind.REFLECT, (2, 13), 7), (MoveKind.FLIP, (0.7,), 3), (MoveKind.BLANK, (2,), 8),
     (MoveKind.SHIFT, (0, 2), 7), (MoveKind.FLIP, (1.0,), 0), (MoveKind.REFLECT, (1, 0), 2), (MoveKind.FLIP, (0.0,), 1)),
]  # fmt: skip


def check_moves(backend: Backend) -> None:
    """Bit for bit what loops over pixels make of the draws of NumPy's own generators, whatever the blocks have to do."""
    rng, task = np.random.default_rng(2), Preparation(5, 255, False)
    source, keys = rng.integers(0, 256, (4, 3, 5, 5), np.uint8), np.array([0, 3, 1 << 40, 12, 5, 1, 77, 8])
    order, cases = np.array([2, -4, 1, 3, 3, 0, 0, 1]), [(5, False), (8, True), (1, False), (19, False)]
    for size, resizes in cases[:1] if backend.on_cpu else cases:  # there the plain way does as it is told, and no more
        whole = source if size > 1 else np.ascontiguousarray(source[:, :, 2:3, 2:3])
        preparation = Preparation(size, 255, resizes, (0.25, 0.5, 0.1), (0.3, 1.7, 0.9))
        edge = ((MoveKind.FLIP, (draws_of(MoveKind.FLIP, 3, 0, 77)[0],), 3),)  # a draw that is the probability itself
        for moves in (edge, *MOVES) if size < 19 else MOVES[-1:]:  # of which a block has a part of an image
            epoch, blocks = (0, 1) if len(moves) == 1 else ((1 << 33) + 1, 50)
            steps = tuple(
                Move(kind, PURPOSES[kind], seed, numbers, functools.partial(moved_by_loops, kind, numbers))
                for kind, numbers, seed in moves
            )
            given = [backend.array(array) for array in (whole, np.arange(4), order, keys)]
            with few_blocks(blocks):
                wanted = host(preprocess(*given[:3], preparation)[0])
                found, labels = preprocess(*given[:3], preparation, Moves(steps, epoch, given[3]))
            for step in steps:
                wanted = step.plainly(wanted, keys, step.seed, epoch)
            assert host(found).tobytes() == wanted.tobytes(), f"{size}: {moves}"
            np.testing.assert_array_equal(host(labels), order % 4)
            if not backend.on_cpu:
                table = backend.array(moves_table(steps, epoch)) if steps else None
                check_stretches(backend, given, preparation, table, wanted)
    flip = (Move(MoveKind.FLIP, "here", 1, (1.0,), lambda images, *_: images[..., ::-1]),)
    for own in (backend.array(np.repeat(keys, 2))[::2], backend.array(keys.astype(np.int32))):  # no kernel takes these
        found, _ = preprocess(
            *(backend.array(array) for array in (source, np.arange(4), order)), task, Moves(flip, 0, own)
        )
        np.testing.assert_array_equal(host(found), source[order][..., ::-1] / np.float32(255))


def check_stretches(
    backend: Backend, given: list[Array], preparation: Preparation, moves: Array | None, wanted: np.ndarray
) -> None:
    """The same images, some of them at a time, by where they begin."""
    source, labels, order, keys = given
    constants = constants_there(xp_of(source), device_of(source), source.shape[-1], preparation)
    for start, images in ((0, 8), (3, 4), (7, 1), (5, 0)):
        first = backend.array(np.array([start, 99]))[:1]
        with few_blocks(1 if images == 4 else 50):
            found, chosen = gather_stretch(
                source, labels, preparation, constants, Stretch(images, order, keys, moves, first)
            )
        assert host(found).tobytes() == wanted[start : start + images].tobytes(), (start, images)
        np.testing.assert_array_equal(host(chosen), host(order)[start : start + images] % 4)


PURPOSES = {
    MoveKind.ALTERNATE: "alternates",
    MoveKind.FLIP: "flips",
    MoveKind.SHIFT: "shifts",
    MoveKind.REFLECT: "reflected",
    MoveKind.BLANK: "",
}


def draws_of(kind: MoveKind, seed: int, epoch: int, key: int) -> list[float]:
    """The two numbers that a move of an image is drawn by."""
    import hashlib

    purpose = int.from_bytes(hashlib.blake2b(PURPOSES[kind].encode(), digest_size=8).digest(), "little")
    philox = np.random.Philox(key=np.array([seed, purpose], np.uint64), counter=np.array([0, epoch, key, 0], np.uint64))
    return np.random.Generator(philox).random(2).tolist()


def moved_by_loops(
    kind: MoveKind, numbers: tuple[float, ...], images: Array, keys: Array, seed: int, epoch: int
) -> Array:
    """A move of images (N, C, S, S), one pixel at a time."""
    moved, size = np.empty_like(images), images.shape[2]
    back_and_forth = np.pad(np.arange(size), 20, "reflect").tolist()
    for number, key in enumerate(keys.tolist()):
        drawn = draws_of(kind, seed, 0 if kind is MoveKind.ALTERNATE else epoch, key)
        for row, column in itertools.product(range(size), repeat=2):
            y, x = row, column
            if kind is MoveKind.ALTERNATE:
                x = size - 1 - column if (drawn[0] < numbers[0]) ^ (epoch % 2 == 1) else column
            elif kind is MoveKind.FLIP:
                x = size - 1 - column if drawn[0] < numbers[0] else column
            elif kind is MoveKind.BLANK:
                side, (top, left) = int(numbers[0]), (int(draw * size) - int(numbers[0]) // 2 for draw in drawn)
                y = -1 if row in range(top, top + side) and column in range(left, left + side) else row
            else:
                down, right = (
                    int(draw * (2 * int(limit) + 1)) - int(limit) for draw, limit in zip(drawn, numbers, strict=True)
                )
                y, x = row + down, column + right
                if kind is MoveKind.REFLECT:
                    y, x = back_and_forth[20 + y], back_and_forth[20 + x]
            inside = 0 <= y < size and 0 <= x < size
            moved[number, :, row, column] = images[number, :, y, x] if inside else 0
    return moved


def neighbours(place: int, native: int, size: int) -> tuple[int, np.float32]:
    """The pixel to the left of one at `place` of `size`, and the share of the next, where `native` are resized."""
    centre = min(max((place + 0.5) * native / size - 0.5, 0), native - 1)
    return int(centre), np.float32(centre - int(centre))


def check_dropout(backend: Backend, dtype: type) -> None:
    import hashlib

    cases = (  # a stream begins at any word of a block
        (1, 0, 0, 50, 0), (1, 9, 0, 50, 7), (37, 5, 2, 50, 3), (8, 1, 1, 50, 1), (2309, 1 << 63, 1 << 40, 1, 5), (2309, 3, 7, 50, 0),
    )  # fmt: skip
    for size, seed, counter, blocks, skip in cases:
        purpose = int.from_bytes(hashlib.blake2b(b"here", digest_size=8).digest(), "little")
        philox = np.random.Philox(
            key=np.array([seed, purpose], np.uint64), counter=np.array([0, counter, 0, 0], np.uint64)
        )
        words = philox.random_raw((skip + size) // 2 + 1).astype("<u8").view("<u4")[skip : skip + size]
        x = draw(dtype, size) + dtype(5)
        stream = backend.array(np.array([seed, purpose, 0, counter, 0, 0, skip], np.uint64))
        for p in (0.25, 0.9, float(words[-1]) / 2**32):  # the last: a word that is the threshold itself is kept
            expected = np.where(words >= np.uint64(round(p * 2**32)), x.astype(np.float64) / (1 - p), 0)
            with few_blocks(blocks):
                close(dropout(backend.array(x), p, stream), expected, dtype)
                factors = dropout_factors(backend.array(x), (size, 1), p, stream)
            close(factors[:, 0], np.where(expected == 0, 0, 1 / (1 - p)), dtype)
    assert dropout(backend.array(np.ones((0, 3), dtype)), 0.5, stream).shape == (0, 3)


TREES = {
    (0,): "a",
    (0, 1): "a+b",
    (0, 1, 1): "(a+b)+c",
    (0, 0, 2): "a+(b+c)",
    (0, 1, 0, 2): "(a+b)+(c+d)",
    (0, 0, 0, 3): "a+(b+(c+d))",
    (0, 1, 0, 2, 0, 1, 2): "((a+b)+(c+d))+((e+f)+g)",
}
"""How often sums are added, and what comes of it."""


def check_rounding(backend: Backend, dtype: type) -> None:
    """To numbers of 8 bits of mantissa, by way of float64; float32 alone is rounded."""
    values = draw(np.float32, 3, 700) * np.float32(2.0) ** np.arange(-350, 350, dtype=np.float32).clip(-100, 100)
    mantissas, exponents = np.frexp(values.astype(np.float64))
    expected = np.ldexp(np.rint(mantissas * 256), exponents - 8)
    place = backend.array(values)
    for blocks in (1, 50):
        with few_blocks(blocks):
            close(round_to("bf16", backend.array(values)), expected, np.float32, 0)
    assert round_to("bf16", place, place) is place
    close(place, expected, np.float32, 0)
    if not backend.on_cpu:
        close(widened(narrowed(backend.array(values))), expected, np.float32, 0)


def check_sum(backend: Backend, dtype: type) -> None:
    a, b = draw(dtype, 3, 700), draw(dtype, 3, 700, seed=1)
    b[0, :5] = -a[0, :5]
    a[0, 5] = np.nan
    for rectified, blocks in ((False, 1), (True, 50)):
        with few_blocks(blocks):
            place, more = backend.array(a), backend.array(b)
            found = add(place, more, rectified) if backend.on_cpu else elementwise_cuda.add_bf16(place, more, rectified)
        expected = a.astype(np.float64) + b
        close(found, np.maximum(expected, 0) if rectified else expected, dtype)


def check_tree_sum(backend: Backend, dtype: type) -> None:
    for (merges, sum_by_hand), size, blocks in itertools.product(TREES.items(), (0, 1, 613), (1, 50)):
        rows = draw(dtype, len(merges), size + 5)
        rows *= 10.0 ** np.random.default_rng(size).integers(-3, 4, rows.shape)  # no two orders give the same
        assert np.isfinite(rows).all()
        expected = eval(sum_by_hand, dict(zip("abcdefg", rows, strict=False)))[2 : 2 + size]
        given = backend.array(rows)
        with few_blocks(blocks):
            found = tree_sum(given, backend.array(np.array(merges, np.uint8)), slice(2, 2 + size))
        assert host(found).tobytes() == expected.tobytes(), sum_by_hand
        if size:
            assert host(given)[0, 2 : 2 + size].tobytes() == expected.tobytes(), "in place"
        beyond = host(given)[0, [0, 1, *range(2 + size, size + 5)]]
        assert beyond.tobytes() == rows[0, [0, 1, *range(2 + size, size + 5)]].tobytes(), "other columns stay"
    order = np.array([[1e30], [-1e30], [1.0]], dtype)
    assert host(tree_sum(backend.array(order), backend.array(np.array([0, 1, 1], np.uint8)), slice(0, 1))) == 1


CONTRACTS: dict[str, Callable[[Backend, type], None]] = {
    "adagrad.cu": check_adagrad,
    "adam.cu": check_adam,
    "average.cu": check_average,
    "avg_pool.cu": check_avg_pool,
    "batch_norm.cu": check_batch_norm,
    "bias_relu.cu": check_bias_relu,
    "channel_sums.cu": check_channel_sums,
    "col2im.cu": check_col2im,
    "cross_entropy.cu": check_cross_entropy,
    "depthwise.cu": check_depthwise,
    "dropout.cu": check_dropout,
    "few_channels.cu": check_few_channels,
    "finite.cu": check_finite,
    "im2col.cu": check_im2col,
    "implicit.cu": check_implicit,
    "lion.cu": check_lion,
    "max_pool.cu": check_max_pool,
    "mean.cu": check_mean,
    "norm.cu": check_norm,
    "preprocess.cu": check_preprocess,
    "linear.cu": check_linear,
    "pooled.cu": check_pooled,
    "relu_sums.cu": check_relu_sums,
    "rmsprop.cu": check_rmsprop,
    "rounding.cu": check_rounding,
    "scores.cu": check_scores,
    "sgd.cu": check_sgd,
    "slices.cu": check_slices,
    "sum.cu": check_sum,
    "tensor_cores.cu": check_tensor_cores,
    "tree_sum.cu": check_tree_sum,
}
