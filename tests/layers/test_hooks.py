"""Forward hooks, and freezing."""

import numpy as np
import pytest

from gpucnn import Tensor, layers, models, optim
from gpucnn import functions as F
from gpucnn.errors import ArgumentError, GradientError
from tests.backends import Backend, host

X = np.array([[1.0, -2.0]], np.float32)


def test_hooks_see_layer_inputs_and_output_in_order_until_removed() -> None:
    model = layers.Sequential(layers.Linear(2, 2), layers.Tanh())
    seen = []
    first = model[0].register_forward_hook(lambda layer, inputs, output: seen.append(("linear", inputs, output)))
    model.register_forward_hook(lambda layer, inputs, output: seen.append(("model", inputs, output)))
    model[0].register_forward_hook(lambda layer, inputs, output: seen.append(("again", inputs, output)))
    output = model(X)
    assert [name for name, *_ in seen] == ["linear", "again", "model"]
    np.testing.assert_array_equal(seen[0][1][0].numpy(), X)
    assert seen[2][2] is output
    first.remove()
    first.remove()
    model(X)
    assert [name for name, *_ in seen[3:]] == ["again", "model"]


def test_what_a_hook_returns_takes_the_output_s_place(backend: Backend) -> None:
    layer = layers.Linear(2, 2).to(backend.device_name)
    x = backend.tensor(X, True)
    expected = host(layer(x).data) * 3
    layer.register_forward_hook(lambda _, inputs, output: output * 3)
    output = layer(x)
    np.testing.assert_allclose(host(output.data), expected, rtol=1e-6)
    output.sum().backward()
    np.testing.assert_allclose(host(x.grad), 3 * host(layer.weight.data).sum(axis=0)[None], rtol=1e-6)


def test_a_hooked_layer_is_not_fused_and_a_trace_calls_no_hook() -> None:
    model = layers.Sequential(layers.Linear(2, 2), layers.ReLU())
    model[0].weight.assign([[1, 0], [0, 1]])
    seen = []
    for layer in model:
        layer.register_forward_hook(lambda layer, inputs, output: seen.append((layer.path, output.numpy().tolist())))
    model.trace((1, 2))
    assert seen == []
    model(X)
    assert seen == [("0", [[1, -2]]), ("1", [[1, 0]])]


def test_a_hook_must_be_a_function() -> None:
    with pytest.raises(ArgumentError) as raised:
        models.LeNet5().conv1.register_forward_hook(3)
    assert str(raised.value) == "conv1 (Conv2d): a hook is a function of (layer, inputs, output), got 3"


def test_a_hook_returns_a_tensor_or_nothing() -> None:
    model = models.LeNet5()
    handle = model.conv1.register_forward_hook(lambda layer, inputs, output: output.shape)
    images = np.zeros((1, 1, 32, 32), np.float32)
    with pytest.raises(ArgumentError) as raised:
        model(images)
    assert str(raised.value) == "conv1 (Conv2d): a forward hook must return None or a tensor, got tuple"
    handle.remove()
    assert model(images).shape == (1, 10)


def test_frozen_layers_stay_and_the_others_learn(backend: Backend) -> None:
    model = layers.Sequential(layers.Conv2d(1, 2, 3), layers.ReLU(), layers.Flatten(), layers.Linear(8, 3), seed=0).to(
        backend.device_name
    )
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9, weight_decay=0.1)
    images = backend.array(np.random.default_rng(0).standard_normal((4, 1, 4, 4)).astype(np.float32))

    def step() -> None:
        loss = F.cross_entropy(model(images), [0, 1, 2, 0])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def changed() -> list[bool]:
        before = model.state_dict()
        step()
        return [not np.array_equal(before[path], after) for path, after in model.state_dict().items()]

    assert changed() == [True] * 4
    assert model[0].requires_grad_(False) is model[0]
    assert changed() == [False, False, True, True], "momentum and weight decay, too, leave what is frozen"
    assert model[0].weight.grad is None
    model.requires_grad_()
    assert changed() == [True] * 4
    model.requires_grad_(False)
    with pytest.raises(GradientError, match=r"backward\(\) on a tensor that no gradient leads to"):
        step()


def test_freezing_leaves_buffers_alone() -> None:
    model = layers.Sequential(layers.BatchNorm1d(2)).requires_grad_(False).requires_grad_(True)
    assert [buffer.requires_grad for _, buffer in model.named_buffers()] == [False, False]
    model(Tensor(np.array([[1.0, 2.0], [3.0, 5.0]], np.float32)))
    assert model[0].running_mean.data.any()
