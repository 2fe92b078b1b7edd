"""Residual, Branches and Lambda; Sequential is tested in test_layer.py and test_fused_relu.py."""

import numpy as np
import pytest

from gpucnn import Tensor, layers, optim
from gpucnn import functions as F
from gpucnn.errors import ArgumentError, GpucnnError, ShapeError
from tests.backends import Backend, host

IMAGES = np.random.default_rng(0).standard_normal((2, 3, 5, 4)).astype(np.float32)


def test_residual_is_the_block_and_what_came_in(backend: Backend) -> None:
    conv, shortcut = layers.Conv2d(3, 4, 3, 2, 1), layers.Conv2d(3, 4, 1, 2)
    model = layers.Residual(conv, shortcut).to(backend.device_name)
    images = backend.array(IMAGES)
    expected = host(conv(images).data) + host(shortcut(images).data)
    np.testing.assert_allclose(host(model(images).data), expected, rtol=1e-6)
    assert [path for path, _ in model.named_parameters()] == [
        "block.weight",
        "block.bias",
        "shortcut.weight",
        "shortcut.bias",
    ]
    plain = layers.Residual(layers.Lambda(lambda x: x * 2)).to(backend.device_name)
    np.testing.assert_allclose(host(plain(images).data), IMAGES * 3)


def test_branches_concatenate_channels_in_order(backend: Backend) -> None:
    model = layers.Branches(layers.Lambda(lambda x: x * 2), layers.Conv2d(3, 2, 1), layers.Sequential())
    images = backend.array(IMAGES)
    output = host(model.to(backend.device_name)(images).data)
    assert output.shape == (2, 8, 5, 4)
    np.testing.assert_array_equal(output[:, :3], IMAGES * 2)
    np.testing.assert_array_equal(output[:, 5:], IMAGES)
    assert [path for path, _ in model.named_parameters()] == ["1.weight", "1.bias"]


def test_containers_tell_their_inner_layers_to_a_trace() -> None:
    model = layers.Sequential(
        layers.Residual(layers.Sequential(layers.Conv2d(3, 3, 3, padding=1), layers.ReLU())),
        layers.Branches(layers.Conv2d(3, 2, 1), layers.MaxPool2d(1)),
        layers.Checkpoint(layers.SeparableConv2d(5, 2, 3)),
    )
    trace = model.trace((1, 3, 8, 8))
    assert [call.path for call in trace.calls] == [
        "0.block.0",
        "0.block.1",
        "1.0",
        "1.1",
        "2.block.depthwise",
        "2.block.pointwise",
    ]
    assert trace.output_shape == (1, 2, 6, 6)
    assert trace.calls[4].multiply_adds == 5 * 9 * 36
    assert trace.calls[5].multiply_adds == 5 * 2 * 36


WRONG = [
    (lambda: layers.Residual(F.relu), ArgumentError, "Residual: block must be a layer, got <function relu at"),
    (lambda: layers.Residual(layers.ReLU(), 3), ArgumentError, "Residual: shortcut must be a layer, got 3; pass layers one by one (a list as Residual(*layers)) and functions as layers, e.g. layers.ReLU() or layers.Lambda(function)"),
    (lambda: layers.Branches(), ArgumentError, "Branches: got no layers; pass them one by one, a list as Branches(*layers)"),
    (lambda: layers.Branches(layers.ReLU(), [layers.ReLU()]), ArgumentError, "Branches: argument 1 must be a layer, got [ReLU()]"),
    (lambda: layers.Lambda(layers.ReLU()), ArgumentError, "Lambda: expected a function of one tensor, got ReLU()"),
    (lambda: layers.Lambda("relu"), ArgumentError, "Lambda: expected a function of one tensor, got 'relu'"),
    (lambda: layers.Sequential(layers.Lambda(lambda x: x.data))(IMAGES), ArgumentError, "0 (Lambda): the function must return a tensor, got ndarray"),
    (lambda: layers.Checkpoint(F.relu), ArgumentError, "Checkpoint: block must be a layer, got <function relu at"),
    (
        lambda: layers.Sequential(layers.Residual(layers.Conv2d(3, 1, 1)))(IMAGES),
        ShapeError,
        ("0 (Residual): the block gives (2, 1, 5, 4), the shortcut (2, 3, 5, 4); give a shortcut that makes the same change "
        "of shape, e.g. a 1x1 Conv2d with the block's stride"),
    ),
    (
        lambda: layers.Branches(layers.MaxPool2d(2), layers.ReLU())(IMAGES),
        ShapeError,
        ("Branches: expected outputs (N, channels, ...) that differ in their channels alone, got (2, 3, 2, 2), (2, 3, 5, 4); "
        "choose strides and padding that keep their sizes alike"),
    ),
    (lambda: layers.SeparableConv2d(3, 4, 3, depth_multiplier=0), ArgumentError, "SeparableConv2d: depth_multiplier must be an int >= 1, got 0"),
    (lambda: layers.SeparableConv2d(3, 4, 3)(IMAGES[:, :2]), ShapeError, "depthwise (Conv2d): expected input (N, 3, H, W), got (2, 2, 5, 4); give it 3 channels or build it with in_channels=2"),
    (lambda: layers.Conv1d(4, 6, 3, groups=4), ArgumentError, "Conv1d: groups must be an int >= 1 that divides 6 filters, got 4"),
    (lambda: layers.Conv1d(3, 6, 3, groups=2), ArgumentError, "Conv1d: groups must divide in_channels, got groups 2 for 3 channels"),
    (lambda: layers.Conv1d(3, 6, 3, padding=(1, 1, 1)), ArgumentError, 'Conv1d: padding must be "same", "valid", an int >= 0 or a (before, after) pair of them, got (1, 1, 1)'),
    (lambda: layers.Conv1d(3, 6, 3)(IMAGES), ShapeError, "Conv1d: expected input (N, 3, L), got (2, 3, 5, 4)"),
    (lambda: layers.Conv1d(3, 6, 7)(IMAGES[..., 0]), ShapeError, "Conv1d: a window of 7 does not fit into a sequence of 5 with padding 0; use a smaller kernel_size or dilation, more padding, or longer sequences"),
    (lambda: F.conv1d(IMAGES[..., 0], IMAGES), ShapeError, "conv1d: expected weight (O, C / groups, K), no size 0, got (2, 3, 5, 4)"),
    (lambda: F.conv1d(IMAGES[..., 0], IMAGES[..., 0], [1.0]), ShapeError, "conv1d: expected bias (2,), one per filter, got (1,)"),
    (lambda: layers.MaxPool1d(2.5), ArgumentError, "MaxPool1d: kernel_size must be an int >= 1, got 2.5"),
    (lambda: layers.Conv1d(3, 6, 3, padding="sam"), ArgumentError, 'Conv1d: padding must be "same", "valid", an int >= 0 or a (before, after) pair of them, got \'sam\''),
    (lambda: layers.Conv1d(3, 6, 3, 2, padding="same"), ArgumentError, 'Conv1d: padding "same" needs stride 1, got 2; give the padding in numbers'),
    (lambda: layers.MaxPool1d(2, 1, padding="full"), ArgumentError, "MaxPool1d: padding must be \"same\", \"valid\", an int >= 0 or a (before, after) pair of them, got 'full'"),
    (lambda: layers.MaxPool1d(3, padding=2), ArgumentError, "MaxPool1d: padding must be at most half of kernel_size, got padding 2 for kernel_size 3: some windows would see no sequence at all"),
    (lambda: layers.MaxPool1d(2)(IMAGES), ShapeError, "MaxPool1d: expected input (N, C, L), got (2, 3, 5, 4)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[message[:40] for *_, message in WRONG])
def test_the_message(call, error: type[GpucnnError], message: str) -> None:
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value).startswith(message)


def test_a_trace_of_a_float64_model_adds_what_layers_without_parameters_give() -> None:
    """An innermost layer without a dtype of its own passes its input's on."""
    block = layers.Sequential(layers.Conv2d(3, 3, 1), layers.BatchNorm2d(3), layers.ReLU())
    model = layers.Sequential(layers.Residual(block), layers.Flatten(), layers.Linear(60, 2)).astype("float64")
    assert model.output_shape(IMAGES.shape) == (2, 2)
    assert model.multiply_adds((1, 3, 5, 4)) == 3 * 3 * 20 + 60 * 2


class Recurrent(layers.Layer):
    """Written as one would in PyTorch: a loop over one shared layer, and a residual add."""

    def __init__(self) -> None:
        self.encode = layers.Linear(6, 8)
        self.mix = layers.Linear(8, 8)
        self.decode = layers.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        hidden = F.tanh(self.encode(x))
        for _ in range(3):
            hidden = hidden + F.tanh(self.mix(hidden))
        return self.decode(hidden)


def test_a_custom_layer_with_a_loop_and_a_residual_add_trains(backend: Backend) -> None:
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((12, 6)).astype(np.float32), np.arange(12) % 3
    model = Recurrent().to(backend.device_name)
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)
    losses = []
    for _ in range(30):
        loss = F.cross_entropy(model(backend.array(x)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]


def test_a_tied_parameter_accumulates_the_gradients_of_both_uses(backend: Backend) -> None:
    """With and without an optimizer's flat buffer, which gradients are written into."""

    class Tied(layers.Layer):
        def __init__(self) -> None:
            self.encode = layers.Linear(4, 3, bias=False)
            self.decode = layers.Linear(3, 4, bias=False)
            self.decode.weight = layers.Parameter((4, 3), layers.initializer("zeros"))
            self.tied = self.encode.weight

        def forward(self, x: Tensor) -> Tensor:
            return F.linear(self.encode(x), self.tied.transpose())

    x = np.random.default_rng(1).standard_normal((5, 4))
    model = Tied().astype("float64").to(backend.device_name)
    assert [path for path, _ in model.named_parameters()] == ["encode.weight", "decode.weight"]
    weight = host(model.encode.weight.data)
    # d/dW of sum(x W^T W) = W (x^T 1 + 1 x), each side one use of W
    total = x.sum(axis=0)
    ones = np.ones(4)
    expected = np.outer(weight @ ones, total) + np.outer(weight @ total, ones)
    for optimizer in (None, optim.SGD(model.parameters(), 0.0)):
        if optimizer is not None:
            optimizer.gather()
        model.encode.weight.grad = None
        model(backend.array(x)).sum().backward()
        np.testing.assert_allclose(host(model.encode.weight.grad), expected, rtol=1e-12)
