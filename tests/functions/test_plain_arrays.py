"""convolve2d and max_pooling on plain 2-D arrays; plain arrays and numbers as operands."""

import numpy as np
import pytest

import gpucnn
from gpucnn import Tensor
from gpucnn import functions as F
from gpucnn.errors import ArgumentError, ShapeError


def chapter_convolve2d(image: np.ndarray, kernel: np.ndarray, stride: int, padding: int) -> np.ndarray:
    """The chapter's listing, letter for letter but for its comments."""
    if padding > 0:
        image = np.pad(image, padding, mode="constant")
    img_h, img_w = image.shape
    kernel_h, kernel_w = kernel.shape
    out_h = (img_h - kernel_h) // stride + 1
    out_w = (img_w - kernel_w) // stride + 1
    output = np.zeros((out_h, out_w))
    for i in range(out_h):
        for j in range(out_w):
            region = image[i * stride : i * stride + kernel_h, j * stride : j * stride + kernel_w]
            output[i, j] = np.sum(region * kernel)
    return output


def chapter_max_pooling(feature_map: np.ndarray, pool_size: int, stride: int) -> np.ndarray:
    """The chapter's listing, letter for letter but for its comments."""
    h, w = feature_map.shape
    out_h = (h - pool_size) // stride + 1
    out_w = (w - pool_size) // stride + 1
    output = np.zeros((out_h, out_w))
    for i in range(out_h):
        for j in range(out_w):
            region = feature_map[i * stride : i * stride + pool_size, j * stride : j * stride + pool_size]
            output[i, j] = np.max(region)
    return output


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("padding", [0, 1, 2])
def test_convolve2d_is_the_chapter_s(stride: int, padding: int, rng: np.random.Generator) -> None:
    image, kernel = rng.integers(-9, 10, (7, 8)), rng.integers(-9, 10, (3, 2))
    result = gpucnn.convolve2d(image, kernel, stride=stride, padding=padding)
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result, chapter_convolve2d(image, kernel, stride, padding))


@pytest.mark.parametrize(("pool_size", "stride"), [(2, 2), (3, 1), (2, 3), (4, 4)])
def test_max_pooling_is_the_chapter_s(pool_size: int, stride: int, rng: np.random.Generator) -> None:
    feature_map = rng.integers(-99, 100, (8, 9))
    expected = chapter_max_pooling(feature_map, pool_size, stride)
    np.testing.assert_array_equal(gpucnn.max_pooling(feature_map, pool_size, stride), expected)
    np.testing.assert_array_equal(
        gpucnn.max_pooling(feature_map.tolist(), pool_size=pool_size, stride=stride), expected
    )


def test_floats_keep_their_dtype() -> None:
    image = np.ones((4, 4), np.float32)
    assert gpucnn.convolve2d(image, image[:2, :2]).dtype == np.float32
    assert gpucnn.convolve2d(image, np.ones((2, 2))).dtype == np.float64
    assert gpucnn.max_pooling(image).dtype == np.float32


def test_other_than_two_axes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"convolve2d: image must be a plain \(H, W\) array, got \(1, 1, 4, 4\)"):
        gpucnn.convolve2d(np.ones((1, 1, 4, 4)), np.ones((2, 2)))
    with pytest.raises(ShapeError, match="convolve2d: kernel must be"):
        gpucnn.convolve2d(np.ones((4, 4)), np.ones(2))
    with pytest.raises(ShapeError, match=r"max_pooling: feature_map must be a plain \(H, W\) array, got \(3,\)"):
        gpucnn.max_pooling(np.ones(3))
    with pytest.raises(ShapeError, match="a window of 5x5 does not fit into an image of 4x4"):
        gpucnn.convolve2d(np.ones((4, 4)), np.ones((5, 5)))
    with pytest.raises(ArgumentError, match="stride"):
        gpucnn.max_pooling(np.ones((4, 4)), 2, 0)


def test_operators_with_numbers_and_arrays_on_either_side() -> None:
    x = Tensor(np.array([1.0, 2.0, 4.0]), requires_grad=True)
    array = np.array([3.0, 1.0, 2.0])
    results = [
        x + 1,
        1 + x,
        x - 1,
        1 - x,
        x * 2,
        2 * x,
        x / 2,
        2 / x,
        x**2,
        -x,
        array + x,
        array - x,
        array * x,
        array / x,
    ]
    expected = [
        [2, 3, 5], [2, 3, 5], [0, 1, 3], [0, -1, -3], [2, 4, 8], [2, 4, 8], [0.5, 1, 2], [2, 1, 0.5], [1, 4, 16],
        [-1, -2, -4], [4, 3, 6], [2, -1, -2], [3, 2, 8], [3, 0.5, 0.5],
    ]  # fmt: skip
    for result, values in zip(results, expected, strict=True):
        assert isinstance(result, Tensor)
        assert result.requires_grad
        np.testing.assert_array_equal(result.numpy(), values)
    np.testing.assert_array_equal((np.eye(3) @ x.reshape(3, 1)).numpy().ravel(), x.numpy())


def test_numpy_functions_record_or_refuse() -> None:
    x = Tensor(np.array([-1.0, 2.0]), requires_grad=True)
    np.maximum(0, x).sum().backward()
    np.testing.assert_array_equal(x.grad, [0, 1])
    assert isinstance(np.exp(x), Tensor)
    assert F.add(1, 2).item() == 3
