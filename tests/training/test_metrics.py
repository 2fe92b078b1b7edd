"""Loss and accuracy in arrays that stay: over batches, epochs, devices and checkpoints, and in a step that is recorded."""

import numpy as np
import pytest

from gpucnn import Tensor
from gpucnn.backend import choose_device
from gpucnn.errors import CaptureError
from gpucnn.training import Metrics
from gpucnn.training import metrics as module
from tests.backends import Backend
from tests.recording import Recording


def batch(backend: Backend, number: int, images: int = 6) -> tuple[Tensor, Tensor, np.ndarray]:
    """The loss `number`, and logits of which all but one are right."""
    labels = np.arange(images) % 3
    logits = np.eye(3, dtype=np.float32)[labels]
    logits[0] = [0, 1, 0]
    loss = Tensor(np.array(number, np.float32)).to(backend.device_name)
    return loss, Tensor(logits).to(backend.device_name), backend.array(labels)


def test_losses_and_answers_add_up(backend: Backend) -> None:
    metrics = Metrics()
    for number, images in ((1, 6), (4, 3)):
        metrics.update(*batch(backend, number, images))
    assert metrics.scores() == (2.0, 7, 9)


def test_of_labels_that_are_probabilities_the_most_probable_counts(backend: Backend) -> None:
    loss, logits, _ = batch(backend, 1, 3)
    mixed = backend.array(np.array([[0.3, 0.7, 0], [0.6, 0.4, 0], [0, 0.1, 0.9]], np.float32))
    metrics = Metrics()
    metrics.update(loss, logits, mixed)
    assert metrics.scores().correct == 2


def test_an_epoch_begins_anew_in_the_same_arrays(backend: Backend) -> None:
    metrics = Metrics()
    metrics.reset()  # of nothing
    metrics.update(*batch(backend, 1))
    before = metrics._counts
    metrics.reset()
    assert np.isnan(metrics.scores().loss)
    metrics.update(*batch(backend, 2, 3))
    assert metrics.scores() == (2.0, 2, 3)
    assert metrics._counts is before


def test_what_was_counted_moves_with_the_model(backend: Backend) -> None:
    metrics = Metrics()
    metrics.update(*batch(Backend("numpy"), 1))
    metrics.update(*batch(backend, 4))
    assert metrics.scores() == (2.5, 10, 12)


def test_state_goes_round(backend: Backend) -> None:
    metrics, other = Metrics(), Metrics()
    assert metrics.state_dict() == {}
    metrics.update(*batch(backend, 1))
    other.update(*batch(backend, 7, 3))
    before = other._counts
    other.load_state_dict(metrics.state_dict(), choose_device(backend.device_name).device)
    assert other._counts is before
    for one in (metrics, other):
        one.update(*batch(backend, 4, 3))
    assert other.scores() == metrics.scores() == (2.0, 7, 9)
    other.load_state_dict({}, choose_device(backend.device_name).device)
    assert np.isnan(other.scores().loss)
    other.update(*batch(backend, 4, 3))
    assert other.scores() == (4.0, 2, 3)


def test_a_recorded_step_counts_in_each_replay(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    metrics, given = Metrics(), batch(backend, 3)
    steps = Recording()
    with pytest.raises(
        CaptureError, match=r"^Metrics: nothing was counted yet; count a batch before a step is recorded"
    ):
        steps.make(lambda: metrics.add(*given))
    metrics.update(*given)
    monkeypatch.setattr(module, "count_scores", steps.note(module.count_scores))
    steps.make(lambda: metrics.add(*given))
    assert metrics.scores() == (3.0, 5, 6)
    metrics.reset()
    for _ in range(2):
        metrics.count(given[1])
        steps.replay()
    assert metrics.scores() == (3.0, 10, 12)
