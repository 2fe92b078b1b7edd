"""Columns, and convolution by tiles of them, against naive loops."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpucnn.geometry import Window
from gpucnn.kernels.col2im import col2im
from gpucnn.kernels.conv2d import conv2d, conv2d_gradients
from gpucnn.kernels.im2col import im2col
from gpucnn.kernels.tiling import tiles
from gpucnn.testing import oracles
from gpucnn.testing.windows import WindowCase, window_cases
from tests.backends import Backend, host


@settings(max_examples=40)
@given(case=window_cases(), batch=st.integers(0, 3))
def test_im2col_lays_out_every_window(backend: Backend, case: WindowCase, batch: int) -> None:
    images = np.random.default_rng(0).standard_normal((batch, 2, *case.image_size)).astype(np.float32)
    found = oracles.windows(oracles.pad(images, *case.padding, 0.0), case.kernel, case.stride, case.dilation)
    taps = case.kernel[0] * case.kernel[1]
    expected = np.stack([values.reshape(batch, 2 * taps) for _, _, values in found], axis=-1)
    if backend.name != "numpy":  # all images side by side in one matrix
        expected = expected.swapaxes(0, 1).reshape(1, 2 * taps, -1)
    columns = im2col(backend.array(images), case.window)
    assert columns.dtype == np.float32
    np.testing.assert_array_equal(host(columns), expected)
    dirty = backend.empty(columns.shape, np.float32)
    assert im2col(backend.array(images), case.window, out=dirty) is dirty
    np.testing.assert_array_equal(host(dirty), expected)


@settings(max_examples=40)
@given(case=window_cases())
def test_col2im_is_the_transpose_of_im2col(backend: Backend, case: WindowCase) -> None:
    rng = np.random.default_rng(1)
    # Small integers, so that the two inner products are exact: <im2col(x), c> = <x, col2im(c)> for all x and c.
    images = rng.integers(-8, 9, (2, 3, *case.image_size)).astype(np.float64)
    laid_out = host(im2col(backend.array(images), case.window))
    columns = rng.integers(-8, 9, laid_out.shape).astype(np.float64)
    out = backend.empty(images.shape, np.float64)
    assert col2im(backend.array(columns), images.shape, case.window, out=out) is out
    assert (laid_out * columns).sum() == (images * host(out)).sum()
    np.testing.assert_array_equal(host(col2im(backend.array(columns), images.shape, case.window)), host(out))


@settings(max_examples=40)
@given(
    case=window_cases(),
    groups=st.sampled_from([1, 2]),
    byte_cap=st.sampled_from([None, 1, 200, 700, 3000]),
    relu=st.booleans(),
)
def test_conv2d_and_its_gradients_whatever_the_tiles(
    backend: Backend, case: WindowCase, groups: int, byte_cap: int | None, relu: bool
) -> None:
    rng = np.random.default_rng(2)
    images = rng.standard_normal((2, 2 * groups, *case.image_size))
    weight = rng.standard_normal((3 * groups, 2, *case.kernel))
    bias = rng.standard_normal(3 * groups)
    options = (case.stride, case.padding, case.dilation, groups)
    expected = oracles.conv2d(images, weight, bias, *options)
    mask = expected > 0 if relu else np.ones(expected.shape)
    on_device = [backend.array(array) for array in (images, weight, bias)]
    output = conv2d(*on_device, case.window, groups, relu, byte_cap)
    np.testing.assert_allclose(host(output), expected * mask, atol=1e-12)
    # Convolution is linear in images and in weight: its gradients are the transposes, <conv(x), g> = <x, grad(g)>.
    gradient = rng.standard_normal(expected.shape)
    total = (oracles.conv2d(images, weight, None, *options) * gradient * mask).sum()
    filled = [backend.empty(array.shape, np.float64) for array in (images, weight, bias)]
    conv2d_gradients(
        backend.array(gradient), on_device[0], on_device[1], images.shape, case.window, groups,
        output if relu else None, *filled, byte_cap=byte_cap,
    )  # fmt: skip
    np.testing.assert_allclose((host(filled[0]) * images).sum(), total, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose((host(filled[1]) * weight).sum(), total, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(host(filled[2]), (gradient * mask).sum(axis=(0, 2, 3)), rtol=1e-9, atol=1e-9)


@given(st.integers(0, 5), st.tuples(st.integers(1, 6), st.integers(1, 6)), st.integers(1, 50), st.integers(1, 3000))
def test_tiles_cover_each_position_once_and_stay_under_the_cap(
    batch: int, size: tuple[int, int], bytes_per_position: int, cap: int
) -> None:
    covered = np.zeros((batch, *size), int)
    for tile in tiles(batch, size, bytes_per_position, cap):
        covered[tile.images, tile.rows, tile.columns] += 1
        images, rows, columns = tile.shape
        assert images * rows * columns * bytes_per_position <= max(cap, bytes_per_position)
    assert (covered == 1).all()


def test_columns_never_take_more_than_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    from gpucnn.kernels import conv2d as module

    largest = 0

    def watched(images: np.ndarray, window: Window, out: np.ndarray | None = None) -> np.ndarray:
        nonlocal largest
        columns = im2col(images, window, out)
        largest = max(largest, columns.nbytes)
        return columns

    monkeypatch.setattr(module, "im2col", watched)
    images = np.ones((3, 4, 40, 50), np.float32)
    weight = np.ones((2, 4, 3, 3), np.float32)
    for cap in (200, 5_000, 100_000, 1_000_000):
        largest = 0
        conv2d(images, weight, None, Window.of(3, 1, 1), byte_cap=cap)
        assert cap / 8 < largest <= cap


def test_the_gradients_stay_under_the_cap_too() -> None:
    images, gradient = np.ones((64, 64, 3, 3), np.float32), np.ones((64, 64, 3, 3), np.float32)
    weight = np.ones((64, 64, 3, 3), np.float32)
    filled = [np.empty_like(images), np.empty_like(weight), np.empty(64, np.float32)]
    tracemalloc.start()
    conv2d_gradients(gradient, images, weight, images.shape, Window.of(3, 1, 1), 1, None, *filled, byte_cap=500_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000, "64 images' products of 147 kB each would be 9 MB"
