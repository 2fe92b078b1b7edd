"""What tensor_cores.cu must find: the sums, in float64, of what it multiplies, rounded as it rounds it."""

from collections.abc import Callable
from unittest import mock

import numpy as np

from gpucnn.geometry import Window
from gpucnn.kernels import launch
from gpucnn.kernels.convolution import Convolution, Gradients, conv2d, conv2d_gradients, tensor_cores
from gpucnn.kernels.kernel import BF16
from gpucnn.testing import oracles
from tests.backends import Backend, host
from tests.kernels.tasks import convolution
from tests.testing.emulator.rounding import as_bf16, as_tf32, bf16_bits

Array = np.ndarray
CLOSE = 1e-6
"""Relative to the sum of the absolute values of what is added up."""

CASES = [  # a window (kernel, stride, padding, dilation, image size), batch, groups, channels and filters of a group, ReLU
    (((3, 3), (1, 1), (1, 1), (1, 1), (9, 11)), 2, 1, 3, 9, True),
    (((2, 3), (2, 1), (1, 1), (1, 2), (7, 8)), 3, 2, 3, 1, False),
    (((3, 3), (3, 2), (2, 1), (2, 1), (9, 5)), 2, 1, 19, 3, True),
    (((5, 5), (2, 2), (2, 2), (1, 1), (6, 7)), 1, 3, 1, 2, False),
    (((4, 8), (1, 1), (2, 4), (1, 1), (5, 4)), 1, 1, 2, 1, True),
    (((3, 3), (1, 1), (1, 1), (1, 1), (3, 2)), 1, 1, 60, 17, False),  # of more than one round
    (((2, 2), (1, 1), (0, 0), (1, 1), (5, 4)), 1, 2, 4, 70, True),  # of more than one tile of rows
    (((1, 2), (1, 1), (0, 0), (1, 1), (30, 41)), 1, 1, 1, 2, False),  # of many slices
]


def check_tensor_cores(backend: Backend, dtype: type) -> None:
    """The contract of tensor_cores.cu, for arrays of float32 or float64, which it takes for float32, or of bfloat16."""
    for number, (case, batch, groups, channels, filters, relu) in enumerate(CASES):
        images, weight = (batch, groups * channels, *case[4]), (groups * filters, channels, *case[0])
        with mock.patch.object(launch, "MOST_BLOCKS", 2 if number % 2 else 100):
            check_one(backend, dtype, images, weight, case, groups, relu)
    # Every tile, over the end of rows and columns; and slices of other lengths.
    for number, tile in enumerate(tensor_cores.TILES):
        rows = tensor_cores.WEIGHT_ROWS[number % 3]
        shapes = {"TILES": (tile,), "WEIGHT_ROWS": (rows,), "FEWEST_TILES": 3}
        lengths = {"FEWEST_POSITIONS": 30 + 20 * number, "MOST_POSITIONS": 60 + number}
        with mock.patch.multiple(tensor_cores, **shapes, **lengths):
            tensor_cores.plan_of.cache_clear()
            window = ((2, 1), (1, 1), (0, 0), (1, 1), (7, 13))
            check_one(backend, dtype, (1, 3, 7, 13), (rows + 1, 3, 2, 1), window, 1, number % 2 == 1)
    tensor_cores.plan_of.cache_clear()


def check_one(
    backend: Backend, dtype: type, image_shape: tuple, weight_shape: tuple, case: tuple, groups: int, relu: bool
) -> None:
    """One convolution and its gradients, with a bias."""
    rng, options = np.random.default_rng(sum(image_shape + weight_shape)), (*case[1:4], groups)
    is_bf16, parameters = dtype is np.uint16, np.float32 if dtype is np.uint16 else dtype
    to = as_bf16 if is_bf16 else as_tf32
    images, weight, bias = (
        rng.standard_normal(shape).astype(np.float32) for shape in (image_shape, weight_shape, weight_shape[:1])
    )
    task = convolution(images, weight, Window.of(*case[:4]), groups, relu)
    gradient = rng.standard_normal(task.output_shape).astype(np.float32)
    if is_bf16:
        images, gradient = as_bf16(images), as_bf16(gradient)
    forward, back = _ways(backend, to)
    x, slopes = (_stored(backend, array, dtype) for array in (images, gradient))
    kernel, offsets = (backend.array(array.astype(parameters)) for array in (weight, bias))
    output = forward(task, x, kernel, offsets)
    found = (_stored(backend, np.full(image_shape, 7, np.float32), dtype),
             *(backend.array(np.full(len_, 7, parameters)) for len_ in (weight_shape, weight_shape[:1])))  # fmt: skip
    back(task, slopes, x, kernel, output if relu else None, Gradients(*found))

    values = _numbers(output, dtype)
    exact = oracles.conv2d(to(images).astype(float), to(weight).astype(float), bias.astype(float), *options)
    size = oracles.conv2d(*(np.abs(to(one)).astype(float) for one in (images, weight)), np.abs(bias), *options)
    _compare(values, np.maximum(exact, 0) if relu else exact, size, is_bf16)
    passed = np.where(values != 0, gradient, 0).astype(np.float32) if relu else gradient
    wanted = _slopes(to(images), to(weight), to(passed), passed, case, groups)
    sizes = _slopes(*(np.abs(one) for one in (to(images), to(weight), to(passed), passed)), case, groups)
    for place, (ours, expected, largest) in enumerate(zip(found, wanted, sizes, strict=True)):
        stored = _numbers(ours, dtype) if place == 0 else host(ours)
        assert stored.dtype == (np.float32 if place == 0 and is_bf16 else parameters)
        _compare(stored, expected, largest, is_bf16 and place == 0)


def _ways(backend: Backend, to: Callable[[Array], Array]) -> tuple[Callable[..., Array], Callable[..., None]]:
    """What computes: on a CPU what rounds its operands before, as layers do there."""
    if not backend.on_cpu:
        return tensor_cores.conv2d, tensor_cores.conv2d_gradients

    def forward(task: Convolution, images: Array, weight: Array, bias: Array) -> Array:
        return conv2d(task, to(images).astype(images.dtype), to(weight).astype(weight.dtype), bias)

    def back(task: Convolution, slopes: Array, images: Array, weight: Array, output: Array, found: Gradients) -> None:
        rounded = (to(one).astype(one.dtype) for one in (slopes, images, weight))
        conv2d_gradients(task, *rounded, output, found._replace(bias=None))
        conv2d_gradients(task, slopes, None, weight, output, Gradients(bias=found.bias))

    return forward, back


def _stored(backend: Backend, array: Array, dtype: type) -> Array:
    """The array on the device: as it is, or as the bits of bfloat16."""
    return backend.array(bf16_bits(array).astype(BF16) if dtype is np.uint16 else array.astype(dtype))


def _numbers(array: Array, dtype: type) -> Array:
    """What `_stored` made of numbers."""
    found = host(array)
    return (found.astype(np.uint32) << 16).view(np.float32) if dtype is np.uint16 else found


def _compare(found: Array, exact: Array, size: Array, is_bf16: bool) -> None:
    """Within CLOSE of the exact sum; if it is stored as bfloat16, a number that something within CLOSE is rounded to."""
    error = CLOSE * size + 1e-30
    if is_bf16:
        assert np.all(
            (as_bf16((exact - error).astype("f4")) <= found) & (found <= as_bf16((exact + error).astype("f4")))
        )
    else:
        np.testing.assert_array_less(np.abs(found - exact), error)


def _slopes(images: Array, weight: Array, rounded: Array, passed: Array, case: tuple, groups: int) -> list[Array]:
    """The gradients of images, weight and bias in float64, window by window."""
    kernel, stride, padding, dilation, _ = case
    x, w, g = (one.astype(float) for one in (images, weight, rounded))
    padded = oracles.pad(x, *padding, 0.0)
    in_images, in_weight = np.zeros_like(padded), np.zeros_like(w)
    channels, filters = w.shape[1], len(w) // groups
    for group in range(groups):
        own, rows = slice(group * channels, (group + 1) * channels), slice(group * filters, (group + 1) * filters)
        for i, j in np.ndindex(*kernel):
            down = slice(i * dilation[0], i * dilation[0] + (g.shape[2] - 1) * stride[0] + 1, stride[0])
            along = slice(j * dilation[1], j * dilation[1] + (g.shape[3] - 1) * stride[1] + 1, stride[1])
            in_weight[rows, :, i, j] += np.einsum("nohw,nchw->oc", g[:, rows], padded[:, own, down, along])
            in_images[:, own, down, along] += np.einsum("nohw,oc->nchw", g[:, rows], w[rows, :, i, j])
    top, left = padding
    inside = in_images[:, :, top : top + x.shape[2], left : left + x.shape[3]]
    return [inside, in_weight, passed.astype(float).sum(axis=(0, 2, 3))]
