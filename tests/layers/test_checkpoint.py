"""Checkpoint: the values, gradients, masks and statistics of the block, in less memory."""

import tracemalloc

import numpy as np
import pytest

from gpucnn import Tensor, layers, no_grad, optim
from gpucnn import functions as F
from tests.backends import Backend, host


def block() -> layers.Sequential:
    return layers.Sequential(
        layers.Conv2d(2, 4, 3, padding=1),
        layers.BatchNorm2d(4),
        layers.ReLU(),
        layers.Dropout(0.5),
        layers.Conv2d(4, 2, 3, padding=1),
        layers.Dropout2d(0.3),
    )


def net(inner: layers.Layer) -> layers.Sequential:
    return layers.Sequential(layers.Conv2d(1, 2, 1), inner, layers.Flatten(), layers.Linear(2 * 16, 3), seed=3)


def run(model: layers.Layer, backend: Backend, steps: int = 3) -> list[np.ndarray]:
    """Losses, gradients and running statistics of some training steps."""
    rng = np.random.default_rng(0)
    model.to(backend.device_name)
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)
    seen = []
    for _ in range(steps):
        images = backend.tensor(rng.standard_normal((4, 1, 4, 4)).astype(np.float32), True)
        loss = F.cross_entropy(model(images), [0, 1, 2, 0])
        optimizer.zero_grad()
        loss.backward()
        seen += [host(loss.data), host(images.grad), *(host(one.grad).copy() for one in model.parameters())]
        optimizer.step()
    return [*seen, *(host(buffer.data) for _, buffer in model.named_buffers())]


@pytest.mark.parametrize("wrap", [layers.Checkpoint, lambda inner: layers.Checkpoint(layers.Checkpoint(inner))])
def test_training_is_the_same_to_the_bit(backend: Backend, wrap: type[layers.Checkpoint]) -> None:
    plain, kept = net(block()), net(wrap(block()))
    kept.load_state_dict(dict(zip(kept.state_dict(), plain.state_dict().values(), strict=True)))
    for dropout in (3, 5):  # the masks are drawn by path
        inner = kept[1].block if isinstance(kept[1].block, layers.Sequential) else kept[1].block.block
        plain[1][dropout].path = inner[dropout].path
    for ours, expected in zip(run(kept, backend), run(plain, backend), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_counters_and_modes_are_as_after_one_pass() -> None:
    inner = layers.Sequential(layers.BatchNorm1d(3), layers.Dropout(0.5))
    model = layers.Checkpoint(inner)
    x = Tensor(np.random.default_rng(0).standard_normal((4, 3)), True)
    output = model.astype("float64")(x)
    after = inner[0].running_mean.data.copy()
    assert inner[1].calls == 1
    model.eval()  # a change in between does not reach the second pass
    output.sum().backward()
    assert (inner[1].calls, inner[1].training) == (1, False)
    np.testing.assert_array_equal(inner[0].running_mean.data, after)
    kept = output.numpy() != 0
    assert kept.any()
    assert not kept.all()
    assert x.grad is not None
    assert np.abs(x.grad).max() > 0, "gradients of the pass with dropout and batch statistics"


def test_nothing_is_kept_where_no_gradient_is_needed() -> None:
    model = layers.Checkpoint(layers.Linear(3, 2))
    with no_grad():
        assert not model(np.ones((1, 3))).requires_grad
    model.requires_grad_(False)
    assert not model(np.ones((1, 3))).requires_grad
    x = Tensor(np.ones((1, 3), np.float32), True)
    model(x).sum().backward()
    assert x.grad is not None
    assert model.block.weight.grad is None


def test_backward_inside_no_grad_records_the_second_pass() -> None:
    model = layers.Checkpoint(layers.Linear(3, 2))
    loss = model(np.ones((1, 3))).sum()
    with no_grad():
        loss.backward()
    np.testing.assert_array_equal(model.block.weight.grad, np.ones((2, 3)))


def test_hooks_are_called_in_both_passes() -> None:
    model, hooked = layers.Checkpoint(layers.Linear(3, 2)), []
    model.block.register_forward_hook(lambda layer, inputs, output: hooked.append(layer.path))
    model(np.ones((1, 3))).sum().backward()
    assert hooked == ["block", "block"]


def test_it_takes_less_memory() -> None:
    """Eight blocks of eight activations each: without, all are kept; with, one input a block and one block's inside."""
    x = np.ones((64, 1000), np.float32)

    def peak(wrap: bool) -> int:
        blocks = [layers.Sequential(*(layers.Tanh() for _ in range(8))) for _ in range(8)]
        model = layers.Sequential(*(layers.Checkpoint(one) if wrap else one for one in blocks))
        tracemalloc.start()
        try:
            model(Tensor(x, True)).sum().backward()
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(True) < 0.4 * peak(False)
