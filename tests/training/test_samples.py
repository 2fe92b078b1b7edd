"""What an evaluation says of each image, how sure the accuracy is, and whether the answers are as likely right as they say."""

import pickle
from collections.abc import Iterator
from unittest import mock

import numpy as np
import pytest

from gpucnn import Tensor, data, layers
from gpucnn.errors import ArgumentError
from gpucnn.training import Calibration, Evaluation, Sample, calibration, evaluate, samples
from tests.backends import Backend


class Fixed(layers.Layer):
    """Logits that are the image's first row."""

    def __init__(self) -> None:
        self.one = layers.Parameter(np.ones((), np.float32))

    def forward(self, x: Tensor) -> Tensor:
        return x[:, 0, 0] * self.one


def found_for(probabilities: np.ndarray, labels: list[int], **options: object) -> Evaluation:
    with np.errstate(divide="ignore"):
        images = np.log(probabilities).astype(np.float32)[:, None, None]
    loader = data.DataLoader(data.ArrayDataset(images, np.array(labels)), **{"batch_size": 3, **options})  # type: ignore[arg-type]
    return evaluate(Fixed(), loader)


PROBABILITIES = np.random.default_rng(0).dirichlet(np.ones(4), 11)
LABELS = [0, 3, 2, 1, 1, 0, 3, 2, 2, 0, 1]


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("most", [samples.LOGITS_BYTES, 40])
def test_samples_are_in_the_order_of_the_data_set(backend: Backend, shuffle: bool, most: int) -> None:
    """Also where they do not wait for somebody to ask."""
    images = np.log(PROBABILITIES).astype(np.float32)[:, None, None]
    dataset = data.ArrayDataset(images, np.array(LABELS))
    with mock.patch.object(samples, "LOGITS_BYTES", most):
        found = evaluate(Fixed().to(backend.device_name), data.DataLoader(dataset, 3, shuffle=shuffle), worst=2)
    assert found.dataset is dataset
    of = found.samples
    assert len(of) == 11
    assert [of.index.dtype, of.label.dtype, of.answer.dtype] == [np.int64] * 3
    np.testing.assert_array_equal(of.index, np.arange(11))
    np.testing.assert_array_equal(of.label, LABELS)
    np.testing.assert_array_equal(of.answer, PROBABILITIES.argmax(axis=1))
    np.testing.assert_allclose(of.probability, PROBABILITIES.max(axis=1), rtol=1e-5)
    np.testing.assert_allclose(of.loss, -np.log(PROBABILITIES[np.arange(11), LABELS]), rtol=1e-5)
    order = np.argsort(-of.loss)
    assert [one.index for one in found.worst] == list(order[:2])
    assert found.worst == tuple(of[int(place)] for place in order[:2])
    assert of[4] == Sample(4, 1, int(of.answer[4]), float(of.probability[4]), float(of.loss[4]))


def test_nothing_is_computed_before_somebody_asks() -> None:
    with mock.patch.object(samples.F, "log_softmax", side_effect=AssertionError):
        found = found_for(PROBABILITIES, LABELS)
        with pytest.raises(AssertionError):
            found.samples.loss  # noqa: B018


def test_several_at_once_are_asked_of_the_columns() -> None:
    found = found_for(PROBABILITIES, LABELS).samples
    for place in (slice(3), [0, 1], "first", None):
        with pytest.raises(
            ArgumentError,
            match=r"^Samples: expected the place of one image, e\.g\. samples\[0\], got .*samples\.label\[:3\]$",
        ):
            found[place]  # type: ignore[index]
    assert found[np.int32(1)] == found[1]
    assert len(list(found)) == len(found)


class Own:
    """A loader of one's own, which makes each batch in the same memory."""

    def batches(self, epoch: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        images, labels = np.empty((3, 1, 1, 4), np.float32), np.empty(3, np.int64)
        for first in (0, 3, 6):
            images[:, 0, 0], labels[:] = np.log(PROBABILITIES[first : first + 3]), LABELS[first : first + 3]
            yield images.copy(), labels


def test_a_loader_that_has_batches_alone_is_measured_in_its_order() -> None:
    found = evaluate(Fixed(), Own())  # type: ignore[arg-type]
    np.testing.assert_array_equal(found.samples.index, np.arange(9))
    np.testing.assert_array_equal(found.samples.label, LABELS[:9])
    assert found.correct == (found.samples.label == found.samples.answer).sum() == found.confusion.counts.trace()
    assert found.dataset is None


def test_what_is_told_is_of_the_evaluation_whatever_its_loader_becomes() -> None:
    images = np.log(PROBABILITIES).astype(np.float32)[:, None, None]
    loader = data.DataLoader(data.ArrayDataset(images, np.array(LABELS)), 3, shuffle=True, drop_last=True)
    found = evaluate(Fixed(), loader)
    loader.seed = 9
    np.testing.assert_array_equal(found.samples.label, np.array(LABELS)[found.samples.index])
    assert len(found.samples) == 9


def test_a_result_is_pickled_without_its_images() -> None:
    images = np.log(PROBABILITIES).astype(np.float32)[:, None, None]
    dataset = data.ArrayDataset(images, np.array(LABELS))
    dataset.note = lambda: None  # type: ignore[attr-defined]  # which cannot be pickled
    found = evaluate(Fixed(), data.DataLoader(dataset, sampler=lambda epoch: range(11), batch_size=3))
    again = pickle.loads(pickle.dumps(found))
    assert found.dataset is dataset
    assert again.dataset is None
    assert (again.loss, again.accuracy) == (found.loss, found.accuracy)
    np.testing.assert_array_equal(again.samples.loss, found.samples.loss)


def test_images_that_a_sampler_draws_are_told_as_they_were_drawn() -> None:
    """Also where it gives others each time, and two more epochs have passed."""
    dataset = data.ArrayDataset(np.log(PROBABILITIES).astype(np.float32)[:, None, None], np.array(LABELS))
    draws = iter([[5, 1, 5, 9], [0, 1, 2, 3], [3, 2, 1, 0], [4, 3, 2, 1]])
    loader = data.DataLoader(dataset, 2, sampler=type("Sampler", (), {"__iter__": lambda self: iter(next(draws))})())
    found = evaluate(Fixed(), loader)
    for epoch in (1, 2, 3):
        list(loader.batches(epoch))
    np.testing.assert_array_equal(found.samples.index, [1, 5, 5, 9])
    np.testing.assert_array_equal(found.samples.label, [LABELS[place] for place in (1, 5, 5, 9)])


@pytest.mark.parametrize(
    ("correct", "total", "low", "high"),
    [  # the formula in 40 digits
        (5, 10, 0.2365930905125640, 0.7634069094874360),
        (0, 10, 0.0, 0.2775327998628892),
        (10, 10, 0.7224672001371107, 1.0),
        (359, 360, 0.9844355578194422, 0.9995094856079125),
        (1, 1, 0.2065493143772372, 1.0),
    ],
)  # fmt: skip
def test_the_interval_of_the_accuracy_is_wilsons(correct: int, total: int, low: float, high: float) -> None:
    found = found_for(np.tile([0.9, 0.1], (total, 1)), [0] * correct + [1] * (total - correct), batch_size=total)
    assert found.correct == correct
    assert found.accuracy_interval == pytest.approx((low, high), abs=1e-14)


def test_calibration_by_hand() -> None:
    """Five answers in three bins of four, one of them between two bins: it belongs to the lower one."""
    sure = [0.5, 0.6, 0.7, 0.9, 1.0]
    right = [True, False, True, True, False]
    labels = [0 if one else 1 for one in right]
    found = calibration(found_for(np.stack([sure, 1 - np.array(sure)], axis=1), labels), bins=4)
    np.testing.assert_array_equal(found.count, [0, 1, 2, 2])
    np.testing.assert_allclose(found.confidence, [np.nan, 0.5, 0.65, 0.95], rtol=1e-6)
    np.testing.assert_allclose(found.accuracy, [np.nan, 1, 0.5, 0.5])
    np.testing.assert_array_equal(found.edges, [0, 0.25, 0.5, 0.75, 1])
    assert found.expected_calibration_error == pytest.approx(0.2 * 0.5 + 0.4 * 0.15 + 0.4 * 0.45, rel=1e-6)
    assert found.left_out == 0
    assert repr(found) == "Calibration(5 images in 4 bins; expected calibration error 0.3400)"
    alone = calibration(found_for(np.array([[0.75, 0.25]]), [0]), bins=1)
    assert repr(alone) == "Calibration(1 image in 1 bin; expected calibration error 0.2500)"


def test_answers_that_are_no_numbers_are_left_out() -> None:
    probabilities = PROBABILITIES.copy()
    probabilities[[2, 5]] = np.nan
    found = calibration(found_for(probabilities, LABELS))
    assert (found.left_out, found.count.sum(), len(found.count)) == (2, 9, 10)
    assert np.isfinite(found.expected_calibration_error)
    nothing = calibration(found_for(np.full((2, 3), np.nan), [0, 1]), 3)
    assert isinstance(nothing, Calibration)
    assert (nothing.left_out, nothing.count.tolist()) == (2, [0, 0, 0])
    assert np.isnan(nothing.expected_calibration_error)


def test_what_calibration_refuses() -> None:
    with pytest.raises(ArgumentError, match="calibration: result must be what evaluate gives, got 0.9"):
        calibration(0.9)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match="calibration: bins must be an int >= 1, got 0"):
        calibration(found_for(PROBABILITIES, LABELS), 0)
