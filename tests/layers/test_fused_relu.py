"""A ReLU computed with the layer before it: fewer passes, the same values."""

from unittest import mock

import numpy as np
import pytest

from gpucnn import Tensor, layers
from gpucnn import functions as F
from gpucnn.errors import ArgumentError
from tests.backends import Backend, host

NETS = {
    "convolution": lambda: (layers.Conv2d(2, 3, 3, padding=1), (2, 2, 5, 4)),
    "linear": lambda: (layers.Linear(6, 4), (3, 6)),
    "batch norm": lambda: (layers.BatchNorm2d(3), (2, 3, 5, 7)),
    "batch norm of vectors": lambda: (layers.BatchNorm1d(4), (5, 4)),
}


@pytest.mark.parametrize("name", NETS)
def test_sequential_computes_the_pair_in_one_with_the_values_of_both(backend: Backend, name: str) -> None:
    layer, shape = NETS[name]()
    net = layers.Sequential(layer, layers.ReLU(), layers.ReLU()).to(backend.device_name)
    layer.bias.data[...] = 0.1
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    results = []
    for run in (lambda x: F.relu(layer(x)), net):
        x = backend.tensor(values, True)
        for parameter in net.parameters():
            parameter.grad = None
        output = run(x)
        (output * output).sum().backward()
        results.append([host(output.data), host(x.grad), *(host(parameter.grad) for parameter in net.parameters())])
    assert (results[0][0] == 0).any()
    assert (results[0][0] > 0).any()
    for apart, fused in zip(*results, strict=True):
        np.testing.assert_array_equal(fused, apart)


def test_it_is_computed_in_one_where_nobody_looks() -> None:
    net = layers.Sequential(layers.Linear(2, 2), layers.ReLU(), layers.Linear(2, 2), layers.Flatten(), layers.ReLU())
    x = np.ones((1, 2), np.float32)
    with mock.patch.object(layers.ReLU, "forward", autospec=True, side_effect=layers.ReLU.forward) as forward:
        net(x)
        assert forward.call_count == 1, "the first is fused, the second does not follow a product"
    assert [call.kind for call in net.trace((1, 2)).calls] == ["Linear", "ReLU", "Linear", "Flatten", "ReLU"]


def test_a_subclass_is_called_as_it_is() -> None:
    class Shifted(layers.Linear):
        def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
            return super().forward(x) - 1000.0

    net = layers.Sequential(Shifted(2, 2), layers.ReLU())
    np.testing.assert_array_equal(net(np.ones((1, 2))).numpy(), [[0, 0]])


def test_activation_as_an_argument() -> None:
    conv, linear = layers.Conv2d(1, 2, 3, activation="relu"), layers.Linear(3, 2, activation="relu")
    assert "activation='relu'" in repr(conv)
    assert "activation='relu'" in repr(linear)
    assert conv(np.random.default_rng(0).standard_normal((1, 1, 5, 5))).numpy().min() == 0
    net = layers.Sequential(linear, layers.ReLU())
    assert net(np.ones((1, 3))).shape == (1, 2)


def test_another_activation_is_refused() -> None:
    x, weight = np.ones((1, 1, 3, 3)), np.ones((1, 1, 3, 3))
    wrong = [
        (lambda: layers.Conv2d(1, 1, 3, activation="tanh"), "Conv2d"),
        (lambda: layers.Linear(1, 1, activation="tanh"), "Linear"),
        (lambda: F.conv2d(x, weight, activation="tanh"), "conv2d"),
        (lambda: F.linear(x[0, 0], weight[0, 0], activation="tanh"), "linear"),
    ]
    for call, owner in wrong:
        with pytest.raises(ArgumentError) as raised:
            call()
        assert str(raised.value) == f"{owner}: activation must be None or \"relu\", got 'tanh'; apply others after it"
