"""Columns, and convolution by tiles of them, against naive loops."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpucnn.geometry import Window
from gpucnn.kernels.col2im import col2im
from gpucnn.kernels.conv2d import conv2d, conv2d_image_gradient, conv2d_weight_gradient
from gpucnn.kernels.im2col import im2col
from gpucnn.kernels.tiling import tiles
from gpucnn.testing import oracles

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
cases = st.tuples(pairs, pairs, st.tuples(st.integers(0, 2), st.integers(0, 2)), pairs).flatmap(
    lambda window: st.tuples(
        st.just(window),
        st.tuples(*(st.integers(max(1, window[3][a] * (window[0][a] - 1) + 1 - 2 * window[2][a]), 9) for a in (0, 1))),
    )
)


@settings(max_examples=60)
@given(cases, st.integers(0, 3))
def test_im2col_lays_out_every_window(case: tuple, batch: int) -> None:
    (kernel, stride, padding, dilation), size = case
    images = np.random.default_rng(0).standard_normal((batch, 2, *size)).astype(np.float32)
    found = oracles.windows(oracles.pad(images, *padding, 0.0), kernel, stride, dilation)
    expected = np.stack([values.reshape(batch, 2 * kernel[0] * kernel[1]) for _, _, values in found], axis=-1)
    columns = im2col(images, Window.of(kernel, stride, padding, dilation))
    assert columns.dtype == np.float32
    np.testing.assert_array_equal(columns, expected)
    dirty = np.full(columns.shape, np.nan, np.float32)
    assert im2col(images, Window.of(kernel, stride, padding, dilation), out=dirty) is dirty
    np.testing.assert_array_equal(dirty, expected)


@settings(max_examples=60)
@given(cases)
def test_col2im_is_the_transpose_of_im2col(case: tuple) -> None:
    (kernel, stride, padding, dilation), size = case
    rng = np.random.default_rng(1)
    window = Window.of(kernel, stride, padding, dilation)
    # Small integers, so that the two inner products are exact: <im2col(x), c> = <x, col2im(c)> for all x and c.
    images = rng.integers(-8, 9, (2, 3, *size)).astype(np.float64)
    columns = rng.integers(-8, 9, im2col(images, window).shape).astype(np.float64)
    back = col2im(columns, size, window)
    assert back.shape == images.shape
    assert (im2col(images, window) * columns).sum() == (images * back).sum()


def test_col2im_adds_to_out() -> None:
    columns = np.ones((1, 4, 4))
    out = np.full((1, 1, 3, 3), 10.0)
    assert col2im(columns, (3, 3), Window.of(2), out=out) is out
    np.testing.assert_array_equal(out[0, 0], [[11, 12, 11], [12, 14, 12], [11, 12, 11]])


@settings(max_examples=60)
@given(cases, st.sampled_from([1, 2]), st.sampled_from([None, 1, 200, 700, 3000]))
def test_conv2d_and_its_gradients_whatever_the_tiles(case: tuple, groups: int, byte_cap: int | None) -> None:
    (kernel, stride, padding, dilation), size = case
    rng = np.random.default_rng(2)
    images = rng.standard_normal((2, 2 * groups, *size))
    weight = rng.standard_normal((3 * groups, 2, *kernel))
    bias = rng.standard_normal(3 * groups)
    window = Window.of(kernel, stride, padding, dilation)
    expected = oracles.conv2d(images, weight, bias, stride, padding, dilation, groups)
    np.testing.assert_allclose(conv2d(images, weight, bias, window, groups, byte_cap), expected, atol=1e-12)
    # Convolution is linear in images and in weight: its gradients are the transposes, <conv(x), g> = <x, grad(g)>.
    gradient = rng.standard_normal(expected.shape)
    total = (oracles.conv2d(images, weight, None, stride, padding, dilation, groups) * gradient).sum()
    to_images = conv2d_image_gradient(gradient, weight, size, window, groups, byte_cap)
    to_weight = conv2d_weight_gradient(gradient, images, window, groups, byte_cap)
    assert (to_images.shape, to_weight.shape) == (images.shape, weight.shape)
    np.testing.assert_allclose((to_images * images).sum(), total, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose((to_weight * weight).sum(), total, rtol=1e-10, atol=1e-10)


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


def test_the_weight_gradient_stays_under_the_cap_too() -> None:
    images, gradient = np.ones((64, 64, 3, 3), np.float32), np.ones((64, 64, 3, 3), np.float32)
    window = Window.of(3, 1, 1)
    conv2d_weight_gradient(gradient, images, window)
    tracemalloc.start()
    conv2d_weight_gradient(gradient, images, window, byte_cap=500_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2_000_000, "64 images' products of 147 kB each would be 9 MB"
