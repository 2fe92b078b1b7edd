"""Hooks before and after the forward pass and on the way back; and freezing."""

from typing import Any

import numpy as np
import pytest

from gpucnn import Tensor, layers, models, no_grad, optim
from gpucnn import functions as F
from gpucnn.errors import ArgumentError, GpucnnError, GradientError
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


# Before the forward pass, and on the way back


def test_a_pre_hook_listens_or_changes_what_goes_in() -> None:
    layer = layers.Linear(2, 2, bias=False)
    layer.weight.assign([[1, 0], [0, 1]])
    seen = []
    listening = layer.register_forward_pre_hook(lambda layer, inputs: seen.append((layer, inputs[0].numpy().tolist())))
    np.testing.assert_array_equal(layer(X).numpy(), X)
    doubling = layer.register_forward_pre_hook(lambda _, inputs: inputs[0] * 2)
    tripling = layer.register_forward_pre_hook(lambda _, inputs: (inputs[0] * 3,))
    np.testing.assert_array_equal(layer(X).numpy(), 6 * X)
    assert seen == [(layer, X.tolist())] * 2
    doubling.remove()
    layer.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0].numpy().tolist()))
    np.testing.assert_array_equal(layer(X).numpy(), 3 * X)
    assert seen[-1] == (3 * X).tolist(), "a forward hook sees what went in"
    listening.remove()
    tripling.remove()
    np.testing.assert_array_equal(layer(X).numpy(), X)
    assert len(seen) == 5


def test_a_pre_hook_comes_before_the_check_of_shapes() -> None:
    layer = layers.Linear(2, 1)
    layer.register_forward_pre_hook(lambda _, inputs: F.reshape(inputs[0], (-1, 2)))
    assert layer(np.ones((1, 4), np.float32)).shape == (2, 1)


class Weighed(layers.Layer):
    """Of two inputs: 2 a + 3 b."""

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a * 2 + b * 3


def test_a_backward_hook_sees_the_gradients_of_all_inputs_and_of_the_output(backend: Backend) -> None:
    layer, seen = Weighed(), []
    a, b = backend.tensor(X, True), backend.tensor(X, True)
    handle = layer.register_full_backward_hook(
        lambda one, into, out: seen.append((one, *(host(gradient).tolist() for gradient in (*into, *out))))
    )
    output = layer(a, b)
    (
        output * 5 + output * 2
    ).sum().backward()  # two uses of the output: their gradients add up before the hook is called
    assert seen == [(layer, [[14.0, 14.0]], [[21.0, 21.0]], [[7.0, 7.0]])]
    np.testing.assert_array_equal(host(a.grad), 14 * np.ones((1, 2)))
    np.testing.assert_array_equal(host(b.grad), 21 * np.ones((1, 2)))
    handle.remove()
    layer(a, b).sum().backward()
    assert len(seen) == 1


def test_what_a_backward_hook_returns_goes_on_in_place_of_the_inputs_gradients(backend: Backend) -> None:
    layer, seen = Weighed(), []
    a, b = backend.tensor(X, True), backend.tensor(X, True)
    layer.register_full_backward_hook(lambda _, into, out: (into[1] + 1, into[0]))
    layer.register_full_backward_hook(lambda _, into, out: seen.append(tuple(host(one).tolist() for one in into)))
    layer(a * 10, b).sum().backward()
    np.testing.assert_array_equal(host(a.grad), 40 * np.ones((1, 2)))
    np.testing.assert_array_equal(host(b.grad), 2 * np.ones((1, 2)))
    assert seen == [([[4.0, 4.0]], [[2.0, 2.0]])], "the next hook sees what the first returned"


def test_the_first_layer_has_no_gradient_of_its_images_and_its_hook_is_called_all_the_same() -> None:
    model, seen = models.LeNet5(), []
    for layer in (model.conv1, model.conv2):
        layer.register_full_backward_hook(lambda one, into, out: seen.append((one.path, into[0] is None, out[0].shape)))
    F.cross_entropy(model(np.ones((2, 1, 32, 32), np.float32)), [1, 2]).backward()
    assert seen == [("conv2", False, (2, 16, 10, 10)), ("conv1", True, (2, 6, 28, 28))]
    with no_grad():
        model(np.ones((2, 1, 32, 32), np.float32))
    assert len(seen) == 2


def test_gradients_are_the_same_bits_with_hooks_that_listen() -> None:
    images = np.random.default_rng(0).standard_normal((3, 1, 32, 32)).astype(np.float32)

    def gradients(hooked: bool) -> list[np.ndarray]:
        model = models.LeNet5(seed=1)
        for _, layer in model.named_layers() if hooked else ():
            layer.register_forward_pre_hook(lambda *_: None)
            layer.register_full_backward_hook(lambda *_: None)
        F.cross_entropy(model(images), [0, 1, 2]).backward()
        return [host(parameter.grad) for parameter in model.parameters()]

    for plain, hooked in zip(gradients(False), gradients(True), strict=True):
        np.testing.assert_array_equal(plain, hooked)


@pytest.mark.parametrize(
    ("kind", "hook", "message"),
    [
        ("forward_pre", 3, "Weighed: a hook is a function of (layer, inputs), got 3"),
        ("full_backward", None, "Weighed: a hook is a function of (layer, grad_input, grad_output), got None"),
        (
            "forward_pre",
            lambda *_: [X],
            "Weighed: a forward pre-hook must return None, a tensor or a tuple of them, got list",
        ),
        (
            "full_backward",
            lambda *_: X,
            "Weighed: a backward hook must return None or one gradient an input, here 2, got 1",
        ),
        (
            "full_backward",
            lambda *_: (X, X[0]),
            "Weighed: a backward hook must return gradients of the inputs' shapes, expected (1, 2), got (2,)",
        ),
        (
            "full_backward",
            lambda *_: (X.astype(np.float64), None),
            "Weighed: a backward hook must return gradients like the inputs, float32 on cpu, got an array (1, 2) of float64",
        ),
    ],
)
def test_what_is_wrong_with_a_hook_is_said(kind: str, hook: Any, message: str) -> None:
    def use() -> None:
        layer = Weighed()
        getattr(layer, f"register_{kind}_hook")(hook)
        layer(Tensor(X, True), Tensor(X, True)).sum().backward()

    with pytest.raises(GpucnnError) as raised:
        use()
    assert str(raised.value) == message


def test_hooks_within_a_checkpoint_see_what_they_see_without_one() -> None:
    def seen(wrap: Any) -> list[tuple[str, list[list[list[float]]]]]:
        block = layers.Sequential(layers.Linear(2, 2), layers.Tanh(), layers.Dropout(0.3))
        model, found = layers.Sequential(layers.Linear(2, 2), wrap(block), seed=3), []
        for layer in model.modules():
            layer.register_full_backward_hook(
                lambda one, into, out: found.append((one.path, [gradient.tolist() for gradient in (*into, *out)]))
            )
        model(Tensor(X, True)).sum().backward()
        return sorted(found)

    plain = seen(lambda block: layers.Sequential({"block": block}))
    assert seen(layers.Checkpoint) == plain
    assert len(plain) == 7
