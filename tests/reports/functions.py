"""Reports on forms of functions and layers that people bring from PyTorch, NumPy and Keras."""

from pathlib import Path

import numpy as np
import pytest

from gpucnn import Tensor, layers
from gpucnn import functions as F
from gpucnn.errors import ArgumentError, ShapeError
from tests.reports.report import Report

IMAGES = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)


def _labels_of_pixels(folder: Path) -> None:
    labels = np.random.default_rng(1).integers(3, size=(2, 4, 5))
    logits = Tensor(IMAGES, True)
    F.cross_entropy(logits, labels).backward()
    shares = np.exp(IMAGES) / np.exp(IMAGES).sum(axis=1, keepdims=True)
    expected = (shares - np.moveaxis(np.eye(3)[labels], -1, 1)) / labels.size
    np.testing.assert_allclose(logits.grad, expected, atol=1e-6)


def _labels_with_a_channel(folder: Path) -> None:
    with pytest.raises(
        ShapeError, match=r"expected labels \(2, 4, 5\) .* got \(2, 1, 4, 5\); give one class index per pos"
    ):
        F.cross_entropy(IMAGES, np.zeros((2, 1, 4, 5), int))


def _linear_over_sequences(folder: Path) -> None:
    layer = layers.Linear(5, 2)
    assert layer(IMAGES).shape == layer.output_shape(IMAGES.shape) == (2, 3, 4, 2)
    assert layer(IMAGES[0, 0, 0]).shape == (2,)


def _pool_padded_at_one_side(folder: Path) -> None:
    maxima = F.max_pool2d(np.array([[[[-1.0, -2.0]]]]), (1, 2), 2, ((0, 0), (0, 1)))
    np.testing.assert_array_equal(maxima.numpy(), [[[[-1]]]])
    assert layers.MaxPool2d(2, 1, "same")(IMAGES).shape == IMAGES.shape


def _pool_padded_too_much(folder: Path) -> None:
    for pool in (F.max_pool2d, F.avg_pool2d):
        for padding in (2, ((0, 2), (0, 0)), ((0, 0), (0, 2))):
            with pytest.raises(
                ArgumentError, match=r"padding must be at most half of kernel_size, got padding .* no image"
            ):
                pool(IMAGES, 3, 1, padding)


def _circular_and_cut_off(folder: Path) -> None:
    padded = F.pad(np.arange(5.0), [(-2, 3)], "circular")
    np.testing.assert_array_equal(padded.numpy(), [2, 3, 4, 2, 3, 4])
    np.testing.assert_array_equal(F.pad(np.arange(5.0), [(1, 0)], "circular").numpy(), [4, 0, 1, 2, 3, 4])


def _mask(folder: Path) -> None:
    x = Tensor(np.array([1.0, -2.0, 3.0]), True)
    x[x.data > 0].sum().backward()
    np.testing.assert_array_equal(x.grad, [1, 0, 1])


def _power_of_zero(folder: Path) -> None:
    base, exponent = Tensor(np.array([0.0, 2.0]), True), Tensor(np.ones(2), True)
    (base**exponent).sum().backward()
    np.testing.assert_allclose(exponent.grad, [0, 2 * np.log(2)])


def _cumulative_statistics(folder: Path) -> None:
    layer = layers.BatchNorm2d(3, momentum=None)
    for image in IMAGES:
        layer(image[None])
    np.testing.assert_allclose(layer.running_mean.data, IMAGES.mean(axis=(0, 2, 3)), atol=1e-6)
    state = {**layer.state_dict(), "num_batches_tracked": np.array(2)}  # an integer, as PyTorch saves it
    other = layers.BatchNorm2d(3, momentum=None)
    other.load_state_dict(state)
    np.testing.assert_array_equal(other.eval()(IMAGES).numpy(), layer.eval()(IMAGES).numpy())


def _eps_of_zero(folder: Path) -> None:
    for norm in (layers.BatchNorm2d, layers.LayerNorm):
        with pytest.raises(
            ArgumentError, match=r"eps must be a number > 0, got 0; it is added to a variance that may be 0"
        ):
            norm(3, 0)


def _smoothed_column(folder: Path) -> None:
    ramp = np.arange(8.0).reshape(1, 1, 8, 1).repeat(3, 3)
    column = F.interpolate(ramp, (4, 1), mode="bilinear", antialias=True).numpy().ravel()
    assert (np.diff(column) > 1).all()


def _huge_smoothing(folder: Path) -> None:
    small = F.interpolate(np.ones((1, 1, 941, 941), np.float32), 10, mode="bilinear", antialias=True)
    np.testing.assert_allclose(small.numpy(), 1, atol=1e-5)


REPORTS = [
    Report("labels of pixels", "cross_entropy takes (N, C, H, W) with labels (N, H, W)", "erogol/seg-torch#5", _labels_of_pixels),
    Report("labels of pixels with a channel axis", "refused with both shapes", "HSG-AIML/SSLTransformerRS#1", _labels_with_a_channel),
    Report("Linear over sequences and single vectors", "any leading axes", "", _linear_over_sequences),
    Report("max pooling padded at one side", "((top, bottom), (left, right)), as convolution", "pytorch/pytorch#71362", _pool_padded_at_one_side),
    Report("pooling padded by more than half a kernel, at any side", "refused with the reason", "pytorch/pytorch#3298", _pool_padded_too_much),
    Report("circular padding at one end, and cut off at the other", "wraps around what is left", "pytorch/pytorch#24504", _circular_and_cut_off),
    Report("x[mask]", "the chosen elements, and their gradient", "tinygrad/tinygrad#9416", _mask),
    Report("0 ** y", "a gradient of 0 for the exponent, no NaN", "pytorch/pytorch#27134", _power_of_zero),
    Report("batch norm with momentum=None", "the mean over all batches, which state_dict carries on", "pytorch/pytorch#31498", _cumulative_statistics),
    Report("a norm with eps=0", "refused, before a constant channel makes NaN", "Tencent/ncnn#303", _eps_of_zero),
    Report("antialiased images of one column", "rows keep their values", "", _smoothed_column),
    Report("antialiasing from 941 to 10 pixels", "every pixel counts", "pytorch/vision#7671", _huge_smoothing),
]  # fmt: skip
