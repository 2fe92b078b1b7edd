"""Activation layers hand their arguments to their functions, tell them, and refuse wrong ones."""

from collections.abc import Callable

import numpy as np
import pytest

from gpucnn import Tensor, layers
from gpucnn import functions as F
from gpucnn.errors import ArgumentError, GpucnnError, ShapeError

WITH_FUNCTIONS: list[tuple[layers.Layer, Callable[[Tensor], Tensor], str]] = [
    (layers.ReLU(), F.relu, "ReLU()"),
    (layers.ReLU6(), F.relu6, "ReLU6()"),
    (layers.LeakyReLU(), F.leaky_relu, "LeakyReLU(negative_slope=0.01)"),
    (layers.LeakyReLU(0.2), lambda x: F.leaky_relu(x, 0.2), "LeakyReLU(negative_slope=0.2)"),
    (layers.PReLU(), lambda x: F.prelu(x, [0.25]), "PReLU(1, init=0.25)"),
    (layers.PReLU(3, 0.1), lambda x: F.prelu(x, [0.1] * 3), "PReLU(3, init=0.1)"),
    (layers.Hardsigmoid(), F.hardsigmoid, "Hardsigmoid()"),
    (layers.Hardswish(), F.hardswish, "Hardswish()"),
    (layers.Sigmoid(), F.sigmoid, "Sigmoid()"),
    (layers.Tanh(), F.tanh, "Tanh()"),
    (layers.Softplus(), F.softplus, "Softplus(beta=1.0, threshold=20.0)"),
    (layers.Softplus(2, 1.5), lambda x: F.softplus(x, 2, 1.5), "Softplus(beta=2.0, threshold=1.5)"),
    (layers.ELU(), F.elu, "ELU(alpha=1.0)"),
    (layers.ELU(0.5), lambda x: F.elu(x, 0.5), "ELU(alpha=0.5)"),
    (layers.SELU(), F.selu, "SELU()"),
    (layers.GELU(), F.gelu, "GELU(approximate='none')"),
    (layers.GELU("tanh"), lambda x: F.gelu(x, "tanh"), "GELU(approximate='tanh')"),
    (layers.SiLU(), F.silu, "SiLU()"),
    (layers.Mish(), F.mish, "Mish()"),
    (layers.Softmax(), F.softmax, "Softmax(axis=1)"),
    (layers.Softmax(-1), lambda x: F.softmax(x, -1), "Softmax(axis=-1)"),
]


@pytest.mark.parametrize(("layer", "function", "text"), WITH_FUNCTIONS, ids=[text for *_, text in WITH_FUNCTIONS])
def test_layer_is_its_function_and_tells_its_arguments(
    layer: layers.Layer, function: Callable[[Tensor], Tensor], text: str, rng: np.random.Generator
) -> None:
    x = Tensor((rng.standard_normal((4, 3, 5)) * 5).astype(np.float32))
    np.testing.assert_array_equal(layer(x).numpy(), function(x).numpy())
    assert repr(layer) == text


def test_every_activation_layer_is_here() -> None:
    public = {value for value in vars(layers).values() if isinstance(value, type)}
    activations = {value for value in public if issubclass(value, layers.Activation)} - {layers.Activation}
    assert {type(layer) for layer, *_ in WITH_FUNCTIONS} == activations


def test_prelu_learns_its_slopes() -> None:
    layer = layers.PReLU(2)
    assert list(layer.state_dict()) == ["weight"]
    np.testing.assert_array_equal(layer.weight.data, np.float32([0.25, 0.25]))
    layer(np.array([[-1, 2], [-3, -4]])).sum().backward()
    np.testing.assert_array_equal(layer.weight.grad, [-4, -4])


def test_only_a_plain_relu_is_computed_with_the_convolution_before_it() -> None:
    images = np.random.default_rng(0).standard_normal((2, 1, 5, 5)).astype(np.float32)
    for activation in (layers.ReLU6(), layers.LeakyReLU()):
        model = layers.Sequential(layers.Conv2d(1, 8, 3), activation)
        np.testing.assert_array_equal(model(images).numpy(), activation(model[0](images)).numpy())


def ones(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


WRONG: list[tuple[Callable[[], object], type[GpucnnError], str]] = [
    (lambda: layers.LeakyReLU("a"), ArgumentError, "LeakyReLU: negative_slope must be a finite number, got 'a'"),  # type: ignore[arg-type]
    (lambda: layers.PReLU(0), ArgumentError, "PReLU: num_parameters must be an int >= 1, got 0"),
    (lambda: layers.PReLU(1, float("nan")), ArgumentError, "PReLU: init must be a finite number, got nan"),
    (lambda: layers.PReLU(3)(ones(2, 4)), ShapeError, "PReLU: expected a weight of one element, or (C,) for x (N, C, ...), got weight (3,) for x (2, 4)"),
    (lambda: layers.ELU(None), ArgumentError, "ELU: alpha must be a finite number, got None"),  # type: ignore[arg-type]
    (lambda: layers.Softplus(0), ArgumentError, "Softplus: beta must be a finite number > 0, got 0"),
    (lambda: layers.Softplus(1, float("inf")), ArgumentError, "Softplus: threshold must be a finite number, got inf"),
    (lambda: layers.GELU("erf"), ArgumentError, "GELU: approximate must be \"none\" or \"tanh\", got 'erf'"),
    (lambda: layers.Sequential(layers.Softmax())(ones(2)), ShapeError, "0 (Softmax): axis 1 must be an axis, with at least one element, of (2,); logits (N, classes) go with axis=1"),
    (lambda: layers.Sequential(layers.Flatten(), layers.PReLU(3))(ones(1, 2)), ShapeError, "1 (PReLU): expected a weight of one element, or (C,) for x (N, C, ...), got weight (3,) for x (1, 2)"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[message[:40] for *_, message in WRONG])
def test_the_message(call: Callable[[], object], error: type[GpucnnError], message: str) -> None:
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
