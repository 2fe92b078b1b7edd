"""Convolution on tensor cores: in TF32 and bf16, drawn shapes, and GPUs that have none."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpucnn.backend import precision
from gpucnn.backend.cuda import has_tensor_cores
from gpucnn.kernels.convolution import SUITS, conv2d, implicit, tensor_cores
from gpucnn.kernels.ways import Way, choose, leave_out, way_of
from gpucnn.testing.windows import WindowCase, window_cases
from tests.backends import Backend, host
from tests.kernels.tasks import convolution
from tests.kernels.tensor_cores import check_one, check_tensor_cores
from tests.testing.emulator.rounding import as_tf32


def test_arrays_of_bfloat16(gpu: Backend) -> None:
    check_tensor_cores(gpu, np.uint16)


def test_arrays_of_bfloat16_in_other_orders(gpu: Backend, order: str) -> None:
    check_tensor_cores(gpu, np.uint16)


@settings(max_examples=15)
@given(
    case=window_cases(),
    batch=st.integers(1, 3),
    groups=st.integers(1, 2),
    channels=st.integers(1, 40),
    filters=st.integers(1, 80),
    relu=st.booleans(),
    dtype=st.sampled_from([np.float32, np.uint16]),
)
def test_drawn_shapes(
    gpu: Backend, case: WindowCase, batch: int, groups: int, channels: int, filters: int, relu: bool, dtype: type
) -> None:
    window = (case.kernel, case.stride, case.padding, case.dilation, case.image_size)
    images, weight = (batch, groups * channels, *case.image_size), (groups * filters, channels, *case.kernel)
    check_one(gpu, dtype, images, weight, window, groups, relu)


def test_not_a_number_and_infinity_stay_what_they_are(gpu: Backend) -> None:
    images = np.zeros((1, 2, 4, 4), np.float32)
    images.view(np.uint32)[0, :, 0, 0] = 0x7FFFFFFF, 0xFFC00000  # as a GPU has it, and as a CPU does
    images[0, 0, 3, 3] = np.inf
    weight = np.ones((1, 2, 2, 2), np.float32)
    case = ((2, 2), (1, 1), (0, 0), (1, 1), (4, 4))
    task = convolution(images, weight, WindowCase(*case).window)
    found = host(tensor_cores.conv2d(task, gpu.array(images), gpu.array(weight), None))[0, 0]
    assert np.isnan(found[0, 0])
    assert found[2, 2] == np.inf
    assert found[1, 1] == 0


def test_the_precision_and_the_gpu_decide(gpu: Backend) -> None:
    images = np.zeros((2, 3, 6, 6), np.float32)
    x, wide = gpu.array(images), gpu.array(images.astype(float))
    assert [way_of(array) for array in (x, wide)] == [Way.CUDA] * 2
    with precision("tf32"):
        assert [way_of(None, array) for array in (x, wide)] == [Way.TENSOR_CORES, Way.CUDA]
        with mock.patch.object(type(x.device), "compute_capability", "75"):
            has_tensor_cores.cache_clear()
            assert way_of(x) is Way.CUDA
    has_tensor_cores.cache_clear()
    assert way_of(x) is Way.CUDA


def test_a_gpu_without_them_multiplies_in_float32(gpu: Backend) -> None:
    rng = np.random.default_rng(0)
    images, weight = (rng.standard_normal(shape).astype(np.float32) for shape in ((2, 3, 6, 6), (4, 3, 3, 3)))
    x, kernel = gpu.array(images), gpu.array(weight)
    task = convolution(images, weight, WindowCase((3, 3), (1, 1), (1, 1), (1, 1), (6, 6)).window)
    exact = host(implicit.conv2d(task, x, kernel, None))
    with precision("tf32"):
        rounded = host(conv2d(task, x, kernel, None))
        has_tensor_cores.cache_clear()
        with mock.patch.object(type(x.device), "compute_capability", "75"):
            found = host(conv2d(task, x, kernel, None))
    has_tensor_cores.cache_clear()
    np.testing.assert_array_equal(found, exact)
    assert np.abs(rounded - exact).max() > 1e-4


@pytest.mark.parametrize(
    ("kernel", "filters", "way"),
    [((3, 3), 128, Way.TENSOR_CORES), ((3, 3), 129, Way.CUDA), ((1, 1), 4, Way.CUDA), ((3, 11), 4, Way.CUDA)],
)
def test_what_cublas_does_better_is_declined(gpu: Backend, kernel: tuple[int, int], filters: int, way: Way) -> None:
    images, weight = np.zeros((1, 1, 12, 12), np.float32), np.zeros((filters, 1, *kernel), np.float32)
    task = convolution(images, weight, WindowCase(kernel, (1, 1), (0, 0), (1, 1), (12, 12)).window)
    table = dict.fromkeys((Way.TENSOR_CORES, Way.CUDA, Way.PLAIN), sum)
    with precision("tf32"):
        assert choose(table, gpu.array(images), task=task, suits=SUITS) is way
        with leave_out(Way.TENSOR_CORES, Way.CUDA):
            assert choose(table, gpu.array(images), task=task, suits=SUITS) is Way.PLAIN


def test_tiles_are_large_where_there_is_work_for_all() -> None:
    """Of ResNet-20's stages at 256 images, and of the last at 8."""
    found = []
    for batch, channels, size in ((256, 16, 32), (256, 32, 16), (256, 64, 8), (8, 64, 8)):
        images, weight = np.empty((batch, channels, size, size), np.float32), np.empty((channels, channels, 3, 3))
        window = WindowCase((3, 3), (1, 1), (1, 1), (1, 1), (size, size)).window
        plan = tensor_cores.plan_of(convolution(images, weight, window))
        found.append((*plan.constants[-9:-6], plan.forward_tiles))
    assert found == [(16, 256, 16, 1024), (32, 256, 16, 256), (64, 128, 8, 128), (16, 64, 4, 32)]


def test_the_oracle_rounds() -> None:
    assert as_tf32(np.array([1 + 2**-11, 1 + 2**-12])).tolist() == [1 + 2**-10, 1]
