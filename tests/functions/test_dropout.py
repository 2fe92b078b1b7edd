"""Dropout's masks are functions of (seed, purpose, counter); its share and its scale are right."""

import numpy as np
import pytest

from gpucnn import Tensor
from gpucnn import functions as F
from gpucnn.backend import random_words
from gpucnn.errors import ArgumentError, DTypeError, ShapeError
from tests.backends import Backend, host


def test_mask_is_the_documented_one(backend: Backend) -> None:
    x = backend.tensor(np.arange(1, 61, dtype=np.float32).reshape(3, 4, 5), True)
    output = F.dropout(x, 0.3, seed=5, purpose="here", counter=2)
    kept = random_words(5, "here", 2, count=60).reshape(3, 4, 5) >= round(0.3 * 2**32)
    np.testing.assert_allclose(output.numpy(), np.where(kept, x.numpy() / 0.7, 0), rtol=1e-6)
    output.backward(np.ones(output.shape))
    np.testing.assert_allclose(host(x.grad), kept / 0.7, rtol=1e-6)
    assert output.dtype == x.grad.dtype == np.float32


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_share_and_mean(backend: Backend, p: float) -> None:
    output = F.dropout(backend.tensor(np.ones(100_000, np.float32)), p, seed=1).numpy()
    deviation = (p * (1 - p) / 100_000) ** 0.5
    assert abs((output == 0).mean() - p) < 5 * deviation
    assert abs(output.mean() - 1) < 5 * deviation / (1 - p)


def test_counter_draws_anew_and_repeats() -> None:
    x = np.ones(64, np.float32)
    masks = [F.dropout(x, seed=0, counter=counter).numpy().tobytes() for counter in (0, 1, 0)]
    assert masks[0] == masks[2] != masks[1]


def test_evaluation_changes_nothing() -> None:
    x = Tensor(np.ones(4))
    assert F.dropout(x, 0.9, training=False) is x
    assert F.dropout(x, 0.0) is x


def test_dropout2d_keeps_or_drops_whole_channels(backend: Backend) -> None:
    x = backend.tensor(np.arange(1, 121, dtype=np.float32).reshape(3, 4, 2, 5), True)
    output = F.dropout2d(x, 0.4, seed=5, purpose="here", counter=2)
    kept = (random_words(5, "here", 2, count=12) >= round(0.4 * 2**32)).reshape(3, 4, 1, 1)
    assert kept.any()
    assert not kept.all()
    np.testing.assert_allclose(output.numpy(), x.numpy() * kept / 0.6, rtol=1e-6)
    output.backward(np.ones(output.shape))
    np.testing.assert_allclose(host(x.grad), np.broadcast_to(kept / 0.6, x.shape), rtol=1e-6)
    assert F.dropout2d(x, 0.4, training=False) is x
    with pytest.raises(ShapeError, match=r"dropout2d: expected input \(N, C, ...\), got \(3,\)"):
        F.dropout2d(np.ones(3), 0.5)


def test_stochastic_depth_keeps_or_drops_whole_samples(backend: Backend) -> None:
    x = backend.tensor(np.arange(1, 61, dtype=np.float32).reshape(6, 2, 5), True)
    output = F.stochastic_depth(x, 0.4, seed=5, purpose="here", counter=2)
    kept = (random_words(5, "here", 2, count=6) >= round(0.4 * 2**32)).reshape(6, 1, 1)
    assert kept.any()
    assert not kept.all()
    np.testing.assert_allclose(output.numpy(), x.numpy() * kept / 0.6, rtol=1e-6)
    output.backward(np.ones(output.shape))
    np.testing.assert_allclose(host(x.grad), np.broadcast_to(kept / 0.6, x.shape), rtol=1e-6)
    assert output.dtype == x.grad.dtype == np.float32
    assert F.stochastic_depth(x, 0.4, training=False) is x
    assert F.stochastic_depth(x, 0) is x
    with pytest.raises(ShapeError, match=r"stochastic_depth: expected input \(N, ...\), got \(\)"):
        F.stochastic_depth(np.float32(1), 0.5)
    with pytest.raises(ArgumentError, match="stochastic_depth: p, the share of samples to drop, must be .*, got 1"):
        F.stochastic_depth(x, 1)
    with pytest.raises(DTypeError, match="stochastic_depth: expected floats, got int64"):
        F.stochastic_depth(np.ones(3, np.int64), 0.5)
