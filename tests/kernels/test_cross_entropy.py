"""Softmax with cross-entropy: all ways equal the plain one, and the way back goes with the way there."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpucnn.kernels import ways
from gpucnn.kernels.cross_entropy import Saved, Targets, cross_entropy, cross_entropy_gradient
from gpucnn.kernels.ways import Way
from tests.backends import Backend, host


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_plain_way_equals_all_others(
    backend: Backend, rng: np.random.Generator, smoothing: float, dtype: type
) -> None:
    tolerance = 20 * float(np.finfo(dtype).eps)
    for count, classes, weighted in ((1, 1, False), (7, 10, False), (7, 10, True), (64, 37, False)):
        logits = rng.normal(scale=3, size=(count, classes)).astype(dtype)
        labels, weights = rng.integers(0, classes, count).astype(np.int32), rng.uniform(1, 2, classes).astype(dtype)

        def results(put: Callable[[Any], Any], *arrays: Any, weighted: bool = weighted) -> list[np.ndarray]:
            logits, labels, weights = map(put, arrays)
            targets = Targets(labels, weights if weighted else None, smoothing)
            loss, saved = cross_entropy(logits, targets)
            assert loss.shape == ()
            return [host(loss), host(cross_entropy_gradient(put(np.array(2, dtype)), targets, saved))]

        found = results(backend.array, logits, labels, weights)
        with ways.use("plain"):
            plain = results(np.array, logits, labels, weights)
        for one, other in zip(found, plain, strict=True):
            assert one.dtype == other.dtype == dtype
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def test_what_is_saved_names_its_way(backend: Backend) -> None:
    logits, labels = backend.array(np.ones((2, 3), np.float32)), backend.array(np.zeros(2, np.int32))
    weights = backend.array(np.ones(3, np.float32))

    def saved(class_weights: Any) -> Saved:
        return cross_entropy(logits, Targets(labels, class_weights, 0.0))[1]

    plain, weighted = saved(None), saved(weights)
    by_backend = {"plain": Way.PLAIN, "numpy": Way.PLAIN, "jit": Way.COMPILED}
    expected = by_backend.get(backend.name, Way.CUDA)
    assert (plain.way, weighted.way) == (expected, Way.PLAIN if backend.on_cpu else Way.CUDA)
    with ways.use("plain"):  # whatever the mode is by then
        back = host(cross_entropy_gradient(backend.array(np.array(1, np.float32)), Targets(labels, None, 0.0), plain))
    np.testing.assert_allclose(back, np.array([[-2, 1, 1]] * 2) / 6, rtol=1e-6)
