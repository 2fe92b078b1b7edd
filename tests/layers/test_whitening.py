"""Filters that whiten: what they give of the images' patches has the covariance that is promised, in plain NumPy."""

import numpy as np
import pytest

from gpucnn import Tensor, layers
from gpucnn.errors import ArgumentError, ShapeError
from tests.backends import Backend, host


def images(channels: int = 3, count: int = 300, size: int = 6) -> np.ndarray:
    """Neighbours and channels that go together, and a mean that is not 0."""
    draw = np.random.default_rng(0)
    noise = draw.standard_normal((count, channels, size + 1, size + 1))
    smooth = noise[:, :, 1:, 1:] + noise[:, :, :-1, 1:] + 0.5 * noise[:, :, 1:, :-1]
    mixed = np.einsum("ij,njhw->nihw", np.eye(channels) + 0.4 * draw.standard_normal((channels, channels)), smooth)
    return (mixed + 2.0).astype(np.float32)


def responses(weight: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Of every filter to every patch, one by one, (filters, patches)."""
    filters, _, rows, columns = weight.shape
    patches = [
        shown[n, :, y : y + rows, x : x + columns].astype(np.float64).ravel()
        for n in range(len(shown))
        for y in range(shown.shape[2] - rows + 1)
        for x in range(shown.shape[3] - columns + 1)
    ]
    return weight.reshape(filters, -1).astype(np.float64) @ np.array(patches).T


@pytest.mark.parametrize(("channels", "kernel"), [(3, (2, 2)), (1, (2, 3)), (2, (1, 1))])
def test_responses_have_the_identity_as_covariance(channels: int, kernel: tuple[int, int]) -> None:
    size = channels * kernel[0] * kernel[1]
    conv, shown = layers.Conv2d(channels, 2 * size, kernel), images(channels)
    layers.whiten(conv, shown, eps=0)
    found = responses(conv.weight.numpy(), shown)
    np.testing.assert_allclose(np.cov(found[:size], bias=True), np.eye(size), atol=1e-5)
    np.testing.assert_array_equal(conv.weight.numpy()[size:], -conv.weight.numpy()[:size])


def test_small_eigenvalues_are_held_down_by_eps() -> None:
    conv, shown = layers.Conv2d(3, 24, 2), images()
    layers.whiten(conv, shown, eps=0.3)
    covariance = np.cov(responses(conv.weight.numpy(), shown)[:12], bias=True)
    patches = np.cov(responses(np.eye(12).reshape(12, 3, 2, 2), shown), bias=True)
    eigenvalues = np.sort(np.linalg.eigvalsh(patches))[::-1]
    np.testing.assert_allclose(covariance, np.diag(eigenvalues / (eigenvalues + 0.3)), atol=1e-5)
    assert covariance[0, 0] > 0.9 > 0.7 > covariance[-1, -1]


def test_the_weight_stays_and_the_bias_learns(backend: Backend) -> None:
    conv = layers.Conv2d(3, 24, 2).to(backend.device_name)
    layers.whiten(conv, backend.tensor(images()))
    other = layers.Conv2d(3, 24, 2)
    layers.whiten(other, images())
    np.testing.assert_array_equal(host(conv.weight.data), other.weight.numpy())
    assert [path for path, one in conv.named_parameters() if one.requires_grad] == ["bias"]
    assert conv.weight.data.flags.c_contiguous
    largest = np.abs(other.weight.numpy()[:12].reshape(12, -1)).argmax(axis=1)
    assert (other.weight.numpy()[:12].reshape(12, -1)[np.arange(12), largest] > 0).all()


def test_many_images_are_taken_in_parts() -> None:
    one, two, shown = layers.Conv2d(3, 24, 2), layers.Conv2d(3, 24, 2), images(count=600, size=3)
    layers.whiten(one, shown)
    layers.whiten(two, shown[::-1].astype(np.float64))
    np.testing.assert_allclose(one.weight.numpy(), two.weight.numpy(), rtol=1e-4, atol=1e-5)


PATCH = "whiten: a convolution of 3 channels with filters of 2x2 needs 24 of them in one group, two for each number of a patch; got "


@pytest.mark.parametrize(
    ("conv", "shown", "options", "message"),
    [
        (layers.Conv2d(3, 12, 2), images(), {}, f"{PATCH}12 in 1: give Conv2d(3, 24, (2, 2))"),
        (layers.Conv2d(3, 24, 2), images()[0], {}, "whiten: expected images (N, 3, H, W) of 2x2 pixels or more, got (3, 6, 6)"),
        (layers.Conv2d(3, 24, 2), images(2), {}, "whiten: expected images (N, 3, H, W) of 2x2 pixels or more, got (300, 2, 6, 6)"),
        (layers.Conv2d(3, 24, 2), images(size=1), {}, "whiten: expected images (N, 3, H, W) of 2x2 pixels or more, got (300, 3, 1, 1)"),
        (layers.Conv2d(3, 24, 2), images()[:0], {}, "whiten: expected images (N, 3, H, W) of 2x2 pixels or more, got (0, 3, 6, 6)"),
        (layers.Conv2d(3, 24, 2), images(), {"eps": -1}, "whiten: eps must be a number >= 0, got -1"),
        (layers.Linear(3, 24), images(), {}, "whiten: expected a Conv2d, got Linear(3, 24)"),
    ],
)  # fmt: skip
def test_what_is_refused(conv: layers.Conv2d, shown: np.ndarray, options: dict[str, float], message: str) -> None:
    error = ShapeError if "expected images" in message else ArgumentError
    with pytest.raises(error) as raised:
        layers.whiten(conv, shown, **options)
    assert str(raised.value) == message


@pytest.mark.parametrize("shown", [np.ones((4, 3, 5, 5)), np.full((4, 3, 5, 5), np.nan), np.full((4, 3, 5, 5), 1e200)])
def test_images_without_a_covariance_are_refused(shown: np.ndarray) -> None:
    conv = layers.Conv2d(3, 24, 2)
    with pytest.raises(ArgumentError, match=r"^whiten: the patches of 4 images have no covariance .* or a larger eps$"):
        layers.whiten(conv, Tensor(shown), eps=0)
    assert conv.weight.requires_grad


def test_a_channel_that_hardly_differs_from_another_is_refused_without_eps() -> None:
    """Its eigenvalue is above 0, and nothing but noise."""
    shown = images(2).astype(np.float64)
    shown[:, 1] = shown[:, 0] + 3e-7 * np.random.default_rng(1).standard_normal(shown[:, 0].shape)
    with pytest.raises(
        ArgumentError, match=r"\(finite: True, least eigenvalue [1-9].*e-1\d, eps 0\); give more images"
    ):
        layers.whiten(layers.Conv2d(2, 16, 2), shown, eps=0)
    layers.whiten(layers.Conv2d(2, 16, 2), shown)
