"""Preprocessing with a mean and a standard deviation, and how a data set's are found."""

import json
from dataclasses import asdict

import numpy as np
import pytest

from gpucnn.data import ArrayDataset, Preprocess, channel_statistics
from gpucnn.errors import ArgumentError, DataError
from tests.backends import Backend, host

MEAN, STD = (0.4, 0.5, 0.25), (0.2, 0.1, 0.3)


@pytest.mark.parametrize(("fit", "size"), [("pad", 6), ("pad", 9), ("resize", 6), ("resize", 11)])
def test_pixels_are_normalised_at_the_end(fit: str, size: int) -> None:
    raw = np.random.default_rng(0).integers(0, 201, (5, 3, 6, 6)).astype(np.uint8)
    plain = Preprocess(3, 6, size, 200, fit)(raw)  # type: ignore[arg-type]
    changed = Preprocess(3, 6, size, 200, fit, MEAN, STD)(raw)  # type: ignore[arg-type]
    assert (changed.shape, changed.dtype) == (plain.shape, np.float32)
    for channel in range(3):
        expected = (plain[:, channel].astype(np.float64) - MEAN[channel]) / STD[channel]
        np.testing.assert_allclose(changed[:, channel], expected, atol=1e-5)


def test_normalised_on_a_gpu(gpu: Backend) -> None:
    raw = np.random.default_rng(0).integers(0, 256, (5, 3, 6, 6)).astype(np.uint8)
    preprocess = Preprocess(3, 6, 8, 255, "pad", MEAN, STD)
    np.testing.assert_array_equal(host(preprocess(gpu.array(raw))), preprocess(raw), strict=True)


def test_json_and_back() -> None:
    preprocess = Preprocess(3, 28, 32, 255, "pad", MEAN, STD)
    back = Preprocess(**json.loads(json.dumps(asdict(preprocess))))
    assert back == preprocess
    assert hash(back) == hash(preprocess)
    assert (back.mean, back.std) == (MEAN, STD)
    assert Preprocess(1, 28, 32, 255, "pad", [1], [2]).mean == (1.0,)  # type: ignore[arg-type]


def test_what_earlier_versions_wrote_is_read() -> None:
    earlier = '{"channels": 1, "native_size": 8, "image_size": 28, "full_scale": 16, "fit": "resize"}'
    assert Preprocess(**json.loads(earlier)) == Preprocess(1, 8, 28, 16, "resize", None, None)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        (MEAN, None, r"mean and std go together, got mean=\(0.4, 0.5, 0.25\) and std=None; give both or neither"),
        (None, STD, r"mean and std go together, got mean=None and std=\(0.2, 0.1, 0.3\)"),
        ((0.5,), STD, r"mean must be a tuple of 3 finite numbers, one per channel, got \(0.5,\)"),
        (MEAN, (1, 2), r"std must be a tuple of 3 finite numbers, one per channel, got \(1, 2\)"),
        (
            MEAN,
            (1, 0, 1),
            r"std must be above 0 in every channel, got \(1, 0, 1\); a channel that never changes has none",
        ),
        (MEAN, (1, -1, 1), "std must be above 0 in every channel"),
        (MEAN, (1, float("nan"), 1), "std must be a tuple of 3 finite numbers"),
        ((1, float("inf"), 1), STD, "mean must be a tuple of 3 finite numbers"),
        ((1, True, 1), STD, "mean must be a tuple of 3 finite numbers"),
        ("abc", STD, "mean must be a tuple of 3 finite numbers, one per channel, got 'abc'"),
        (0.5, 0.5, "mean must be a tuple of 3 finite numbers, one per channel, got 0.5"),
        ({}, STD, "mean must be a tuple of 3 finite numbers"),
    ],
)
def test_mean_and_std_that_do_not_fit(mean: object, std: object, message: str) -> None:
    with pytest.raises(ArgumentError, match=message):
        Preprocess(3, 28, 32, 255, "pad", mean, std)  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [1, 99, 100, 101, 250])
def test_channel_statistics_are_those_of_all_pixels(count: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (count, 3, 5, 4)).astype(np.uint8)
    images[:, 1] //= 4
    images[count // 2 :, 2] = 255  # parts differ
    mean, std = channel_statistics(ArrayDataset(images, np.zeros(count, int)))
    for channel in range(3):
        pixels = [int(value) for value in images[:, channel].ravel()]
        middle = sum(pixels) / len(pixels)
        assert mean[channel] == pytest.approx(middle, rel=1e-13)
        expected = (sum((value - middle) ** 2 for value in pixels) / len(pixels)) ** 0.5
        assert std[channel] == pytest.approx(expected, rel=1e-12)
    assert all(type(value) is float for value in mean + std)


def test_a_large_mean_does_not_swallow_the_deviation() -> None:
    images = 1e8 + np.random.default_rng(0).standard_normal((230, 1, 4, 4))
    _, std = channel_statistics(ArrayDataset(images, np.zeros(230, int)))
    assert std[0] == pytest.approx(images.std(), rel=1e-6)


def test_what_is_normalised_with_them_has_mean_zero_and_deviation_one() -> None:
    raw = np.random.default_rng(0).integers(0, 256, (150, 2, 6, 6)).astype(np.uint8)
    labels = np.zeros(150, int)
    mean, std = channel_statistics(ArrayDataset(raw, labels, Preprocess(2, 6, 9, 255, "pad")))
    dataset = ArrayDataset(raw, labels, Preprocess(2, 6, 9, 255, "pad", mean, std))
    images = dataset[np.arange(150)][0].astype(np.float64)
    np.testing.assert_allclose(images.mean((0, 2, 3)), 0, atol=1e-6)
    np.testing.assert_allclose(images.std((0, 2, 3)), 1, rtol=1e-6)


def test_statistics_are_the_same_wherever_the_images_are(gpu: Backend) -> None:
    raw = np.random.default_rng(0).integers(0, 256, (120, 1, 6, 6)).astype(np.uint8)
    dataset = ArrayDataset(raw, np.zeros(120, int), Preprocess(1, 6, 6, 255, "pad"))
    assert channel_statistics(dataset.to("cuda")) == channel_statistics(dataset)


class Recorded:
    """A data set of one's own, which writes down what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __len__(self) -> int:
        return 205

    def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
        self.asked.append(index)
        return np.full((1, 2, 2), index, np.float32), index


def test_every_image_counts_once() -> None:
    dataset = Recorded()
    mean, std = channel_statistics(dataset)
    assert dataset.asked == list(range(205))
    assert mean == (102.0,)
    assert std[0] == pytest.approx(np.arange(205).std(), rel=1e-12)


def test_no_images_have_no_statistics() -> None:
    with pytest.raises(DataError, match="channel_statistics: the data set has no images"):
        channel_statistics(ArrayDataset(np.zeros((0, 1, 2, 2)), np.zeros(0, int)))
