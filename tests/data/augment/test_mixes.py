"""Mixup and CutMix: what is mixed, in which shares, and that labels say so."""

import numpy as np
import pytest

from gpucnn.backend import generator
from gpucnn.data import CutMix, Mixup
from gpucnn.data.augment import Mix
from gpucnn.data.augment.mix import symmetric_beta
from gpucnn.errors import ArgumentError, DTypeError, ShapeError
from tests.data.augment.transforms import MIXES, images_of, labels_of


def share_of(draws: np.ndarray, alpha: float) -> float:
    """Half of 1 + T / sqrt(2 alpha + T^2), with T a Student's T by Bailey's polar method."""
    freedom = 2 * alpha
    student = np.sqrt(freedom * ((1 - draws[0]) ** (-2 / freedom) - 1)) * np.cos(2 * np.pi * draws[1])
    return float(0.5 + 0.5 * student / np.sqrt(freedom + student**2))


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mixup(alpha: float, dtype: type) -> None:
    images, labels = images_of(12, dtype=dtype), labels_of(12)
    mixed, soft = Mixup(alpha)(images, labels, np.arange(12) + 30, 3, 2, 5)
    assert (soft.shape, soft.dtype) == ((12, 5), np.float32)
    for sample in range(12):
        draws = generator(3, "Mixup", 2, sample + 30).random(3)
        share, partner = share_of(draws, alpha), int(draws[2] * 12)
        expected = np.zeros(5)
        expected[labels[sample]] += share
        expected[labels[partner]] += 1 - share
        np.testing.assert_allclose(soft[sample], expected, atol=1e-6)
        blend = share * images[sample].astype(np.float64) + (1 - share) * images[partner]
        np.testing.assert_allclose(mixed[sample], blend, atol=1e-6)


@pytest.mark.parametrize("alpha", [0.3, 1.0])
@pytest.mark.parametrize(("height", "width"), [(9, 7), (32, 32), (1, 6)])
def test_cutmix(alpha: float, height: int, width: int) -> None:
    images, labels = images_of(12, 2, height, width), labels_of(12)
    mixed, soft = CutMix(alpha)(images, labels, np.arange(12) + 30, 3, 2, 5)
    for sample in range(12):
        draws = generator(3, "CutMix", 2, sample + 30).random(5)
        side, partner = np.sqrt(1 - share_of(draws, alpha)), int(draws[2] * 12)
        tall, wide = round(height * side), round(width * side)
        top, left = int(draws[3] * height) - tall // 2, int(draws[4] * width) - wide // 2
        area, expected = 0, np.zeros_like(images[sample])
        for row in range(height):
            for column in range(width):
                inside = top <= row < top + tall and left <= column < left + wide
                area += inside
                expected[:, row, column] = images[partner if inside else sample, :, row, column]
        np.testing.assert_array_equal(mixed[sample], expected)
        probabilities = np.zeros(5)
        probabilities[labels[sample]] += 1 - area / (height * width)
        probabilities[labels[partner]] += area / (height * width)
        np.testing.assert_allclose(soft[sample], probabilities, atol=1e-6)


def test_cutmix_labels_are_the_areas_that_one_sees() -> None:
    """Without a look at the draws: every image is of one colour, its label."""
    labels = np.arange(64) % 8
    images = np.broadcast_to(labels[:, None, None, None], (64, 1, 16, 12)).astype(np.float32)
    mixed, soft = CutMix()(images, labels, np.arange(64), 0, 0, 8)
    for image, probabilities in zip(mixed, soft, strict=True):
        seen = np.bincount(image.astype(int).ravel(), minlength=8) / image.size
        np.testing.assert_allclose(probabilities, seen, atol=1e-6)
    assert (soft.max(1) < 1).sum() > 30


def test_mixup_labels_are_the_shares_that_one_sees() -> None:
    """Image k is a one in channel k alone, so a mixed image is its own soft label."""
    labels = np.random.default_rng(1).permutation(40)
    images = np.eye(40, dtype=np.float32)[labels][:, :, None, None]
    mixed, soft = Mixup(1.0)(images, labels, np.arange(40), 0, 0, 40)
    np.testing.assert_allclose(mixed[:, :, 0, 0], soft, atol=1e-6)
    assert ((soft > 0).sum(1) == 2).sum() > 30
    assert {int(np.flatnonzero(row)[0]) for row in soft} | {int(np.flatnonzero(row)[-1]) for row in soft} == set(
        range(40)
    )


@pytest.mark.parametrize("name", MIXES)
def test_labels_sum_to_one_and_inputs_stay(name: str) -> None:
    images, labels = images_of(500), labels_of(500)
    before = labels.copy()
    images.flags.writeable = labels.flags.writeable = False
    _, soft = MIXES[name](images, labels, np.arange(500), 1, 0, 7)
    np.testing.assert_allclose(soft.sum(1), 1, atol=1e-6)
    assert soft.min() >= 0
    assert (soft[:, 5:] == 0).all()
    np.testing.assert_array_equal(labels, before)
    assert (soft[np.arange(500), labels] > 0).mean() > 0.95, "an image has a part in its own label"


@pytest.mark.parametrize("name", MIXES)
def test_a_batch_of_one_and_of_none(name: str) -> None:
    images = images_of(1)
    mixed, soft = MIXES[name](images, np.array([2]), np.array([9]), 0, 0, 4)
    np.testing.assert_allclose(mixed, images, rtol=1e-6)
    np.testing.assert_allclose(soft, [[0, 0, 1, 0]], atol=1e-6)
    assert MIXES[name](images_of(0), labels_of(0), np.arange(0), 0, 0, 4)[1].shape == (0, 4)


@pytest.mark.parametrize("name", MIXES)
def test_where_a_sample_stands_in_the_batch_does_not_move_its_draws(name: str) -> None:
    """Labels are places here, so that soft labels tell where a partner is, and its share."""
    images, places = images_of(20), np.arange(20)
    order = np.random.default_rng(0).permutation(20)
    _, soft = MIXES[name](images, places, places, 1, 0, 20)
    _, moved = MIXES[name](images[order], places, order, 1, 0, 20)
    partners = 0
    for place, sample in enumerate(order):
        others = np.setdiff1d(places, [place, sample])
        np.testing.assert_array_equal(moved[place, others], soft[sample, others])
        partners += soft[sample, others].any()
    assert partners > 10


@pytest.mark.parametrize("alpha", [0.05, 0.2, 0.5, 1.0, 4.0, 200.0])
def test_shares_are_those_of_the_beta_distribution(alpha: float) -> None:
    draws = np.random.default_rng(0).random((20_000, 2))
    shares = symmetric_beta(draws, alpha)
    assert 0 <= shares.min() <= shares.max() <= 1
    assert abs(shares.mean() - 0.5) < 0.01
    np.testing.assert_allclose(shares.var(), 1 / (4 * (2 * alpha + 1)), rtol=0.05)
    theirs = np.random.default_rng(1).beta(alpha, alpha, 20_000)
    below = np.linspace(0.001, 0.999, 999)
    ours_below, theirs_below = (np.searchsorted(np.sort(sample), below) / 20_000 for sample in (shares, theirs))
    assert np.abs(ours_below - theirs_below).max() < 0.02, "Kolmogorov and Smirnov: one time in a thousand"


@pytest.mark.parametrize("alpha", [1e-300, 1e-3, 1e6, 1e300])
def test_extreme_alphas_have_shares(alpha: float) -> None:
    draws = np.array([[0, 0], [0, 0.25], [1 - 2.0**-53, 0], [1 - 2.0**-53, 0.25], [0.5, 0.5], [0.3, 0.7]])
    shares = symmetric_beta(draws, alpha)
    assert ((shares >= 0) & (shares <= 1)).all()


@pytest.mark.parametrize("mix", [Mixup, CutMix])
def test_mixes_refuse(mix: type) -> None:
    owner = mix.__name__
    for wrong, message in ((0, "must be above 0, got 0; for no mix leave it out"), (-1, "must be a number >= 0, got -1"),
                           (float("inf"), "must be a number >= 0, got inf"), ("1", "must be a number >= 0, got '1'")):  # fmt: skip
        with pytest.raises(ArgumentError, match=f"{owner}: alpha {message}"):
            mix(wrong)
    images, indices = images_of(4), np.arange(4)

    def call(labels: np.ndarray, classes: object = 3, made: Mix = mix()) -> None:  # noqa: B008
        made(images, labels, indices, 0, 0, classes)  # type: ignore[arg-type]

    with pytest.raises(ShapeError, match=rf"{owner}: expected labels \(4,\), got \(3,\)"):
        call(np.zeros(3, int))
    with pytest.raises(ShapeError, match=rf"{owner}: expected labels \(4,\), got \(4, 3\)"):
        call(np.zeros((4, 3), int))
    with pytest.raises(DTypeError, match=f"{owner}: labels must be integers, got float32"):
        call(np.zeros(4, np.float32))
    for labels, found in (([0, 1, 2, 3], "0 to 3"), ([0, -1, 2, 1], "-1 to 2")):
        with pytest.raises(
            ArgumentError, match=f"{owner}: labels must be from 0 to 2, got {found}; give the data set its number of"
        ):
            call(np.array(labels))
    for classes in (0, None, 2.5):
        with pytest.raises(ArgumentError, match=f"{owner}: num_classes must be an int >= 1, got {classes}"):
            call(np.zeros(4, int), classes)
