"""Each layer computes its function, tells its shape, starts as documented, and refuses wrong arguments."""

import pickle
from collections.abc import Callable

import numpy as np
import pytest

from gpucnn import Tensor, gradcheck, layers
from gpucnn.errors import ArgumentError, GpucnnError, ShapeError
from gpucnn.layers.costs import costs
from gpucnn.testing import oracles
from tests.backends import Backend, host

LAYERS: list[tuple[Callable[[], layers.Layer], tuple[int, ...]]] = [
    (lambda: layers.Conv2d(2, 4, 3), (2, 2, 6, 5)),
    (lambda: layers.Conv2d(4, 6, (3, 2), (2, 1), (1, 0), (1, 2), groups=2, bias=False), (2, 4, 6, 7)),
    (lambda: layers.ConvLayer(1, 3, 2, stride=2, padding=1), (1, 1, 5, 5)),
    (lambda: layers.MaxPool2d(2), (2, 3, 5, 4)),
    (lambda: layers.MaxPool2d(3, 1, 1, ceil_mode=True), (1, 2, 4, 4)),
    (lambda: layers.MaxPoolLayer(pool_size=2, stride=1), (1, 1, 4, 4)),
    (lambda: layers.AvgPool2d((2, 3), 1, (1, 0)), (2, 2, 4, 5)),
    (lambda: layers.AvgPool2d(2, ceil_mode=True, count_include_pad=False), (1, 1, 5, 5)),
    (lambda: layers.Linear(4, 3), (2, 4)),
    (lambda: layers.Linear(4, 3, bias=False), (1, 4)),
    (lambda: layers.Linear(4, 3, activation="relu"), (2, 3, 4)),
    (lambda: layers.ReLU(), (2, 3, 4)),
    (lambda: layers.ReLU6(), (2, 3, 4)),
    (lambda: layers.LeakyReLU(0.2), (2, 3, 4)),
    (lambda: layers.PReLU(), (2, 3, 4)),
    (lambda: layers.PReLU(3, 0.1), (2, 3, 4, 2)),
    (lambda: layers.Hardsigmoid(), (2, 3, 4)),
    (lambda: layers.Hardswish(), (2, 3, 4)),
    (lambda: layers.Sigmoid(), (2, 3, 4)),
    (lambda: layers.Tanh(), (2, 3, 4)),
    (lambda: layers.Softplus(2, 1.5), (2, 3, 4)),
    (lambda: layers.ELU(0.5), (2, 3, 4)),
    (lambda: layers.SELU(), (2, 3, 4)),
    (lambda: layers.GELU(), (2, 3, 4)),
    (lambda: layers.GELU("tanh"), (2, 3, 4)),
    (lambda: layers.SiLU(), (2, 3, 4)),
    (lambda: layers.Mish(), (2, 3, 4)),
    (lambda: layers.Softmax(), (2, 3, 4)),
    (lambda: layers.Softmax(-1), (2, 3)),
    (lambda: layers.Flatten(), (2, 3, 4)),
    (lambda: layers.Conv2d(1, 2, (2, 3), padding="same"), (1, 1, 3, 4)),
    (lambda: layers.ConvTranspose2d(4, 6, (3, 2), (2, 3), (1, 0), (1, 2), groups=2), (2, 4, 3, 2)),
    (lambda: layers.ConvTranspose2d(1, 2, 2, bias=False), (1, 1, 2, 2)),
    (lambda: layers.AdaptiveAvgPool2d((2, 3)), (2, 2, 5, 4)),
    (lambda: layers.AdaptiveMaxPool2d(2), (1, 2, 3, 5)),
    (lambda: layers.Dropout2d(0.4), (3, 4, 2, 2)),
    (lambda: layers.StochasticDepth(0.4), (6, 2, 3)),
    (lambda: layers.BatchNorm1d(3, frozen=True), (4, 3)),
    (lambda: layers.BatchNorm2d(2, affine=False, frozen=True), (3, 2, 2, 2)),
    (lambda: layers.LayerNorm((3, 4)), (2, 3, 4)),
    (lambda: layers.LayerNorm(np.array([4]), bias=False), (2, 3, 4)),
    (lambda: layers.GroupNorm(2, 4), (2, 4, 3)),
    (lambda: layers.GroupNorm(2, 4, bias=False), (2, 4, 3)),
    (lambda: layers.InstanceNorm2d(2, affine=True), (2, 2, 3, 3)),
    (lambda: layers.InstanceNorm2d(2, affine=True, bias=False), (2, 2, 3, 3)),
    (lambda: layers.LocalResponseNorm(3), (2, 4, 2, 2)),
    (lambda: layers.Dropout(0.3), (5, 6)),
    (lambda: layers.Sequential(layers.Conv2d(1, 2, 3), layers.ReLU(), layers.Flatten(), layers.Linear(18, 2)), (2, 1, 5, 5)),
    (lambda: layers.Sequential(), (2, 3)),
    (lambda: layers.Sequential({"fc": layers.Linear(3, 2), "tanh": layers.Tanh()}), (2, 3)),
    (lambda: layers.Identity(), (2, 3, 4)),
    (lambda: layers.Residual(layers.Conv2d(2, 2, 3, padding=1)), (2, 2, 3, 4)),
    (lambda: layers.Residual(layers.Conv2d(2, 3, 3, 2, 1), layers.Conv2d(2, 3, 1, 2, bias=False)), (2, 2, 3, 4)),
    (lambda: layers.Branches(layers.Conv2d(2, 1, 1), layers.Sequential(), layers.Conv2d(2, 3, 3, padding=1)), (2, 2, 3, 4)),
    (lambda: layers.Lambda(lambda x: x[:, ::2] * 2), (2, 3, 4)),
    (lambda: layers.Checkpoint(layers.Sequential(layers.Linear(4, 3), layers.Tanh(), layers.Dropout(0.4), layers.Linear(3, 2))), (3, 4)),
    (lambda: layers.MeanOfViews(layers.Conv2d(2, 3, 2)), (2, 2, 3, 4)),
    (lambda: layers.MeanOfViews(layers.Conv2d(2, 3, 2), "mirror_shift"), (2, 2, 3, 4)),
    (lambda: layers.SeparableConv2d(3, 4, (3, 2), 2, 1, depth_multiplier=2), (2, 3, 5, 4)),
    (lambda: layers.Conv1d(4, 6, 3, 2, 1, groups=2), (2, 4, 7)),
    (lambda: layers.Conv1d(2, 3, 4, padding="same", dilation=2, bias=False), (2, 2, 5)),
    (lambda: layers.MaxPool1d(3, 2, 1), (2, 3, 6)),
    (lambda: layers.Conv1d(2, 3, (3,), padding=(2, 0)), (2, 2, 5)),
    (lambda: layers.MaxPool1d((3,), 2, (1, 0)), (2, 3, 6)),
    (lambda: layers.AvgPool1d(3, 2, 1, count_include_pad=False), (2, 3, 6)),
    (lambda: layers.AdaptiveAvgPool1d(3), (2, 3, 7)),
    (lambda: layers.AdaptiveAvgPool1d(None), (2, 3, 4)),
    (lambda: layers.AdaptiveMaxPool1d(2), (2, 3, 5)),
    (lambda: layers.AvgPool2d(3, 1, ((1, 0), (0, 1))), (2, 2, 4, 5)),
    (lambda: layers.AdaptiveMaxPool2d((None, 2)), (1, 2, 3, 5)),
]  # fmt: skip


@pytest.mark.parametrize(("build", "shape"), LAYERS, ids=lambda value: str(value) if isinstance(value, tuple) else None)
def test_shape_gradient_and_inputs(backend: Backend, build: Callable[[], layers.Layer], shape: tuple[int, ...]) -> None:
    layer = build().astype("float64").to(backend.device_name)
    x = backend.array((np.random.default_rng(0).permutation(np.prod(shape)) * 0.05 - 1.013).reshape(shape))
    before = x.copy()
    output = layer(x)
    assert output.shape == layer.output_shape(shape)
    assert layer.output_shape((0, *shape[1:])) == (0, *output.shape[1:])
    np.testing.assert_array_equal(host(x), host(before))

    def call(x: Tensor) -> Tensor:
        for _, module in layer.named_layers():
            if isinstance(module, layers.Dropout):
                module.calls = 0
        return layer(x)

    gradcheck(call, Tensor(x, requires_grad=True))


@pytest.mark.parametrize(("build", "shape"), LAYERS, ids=lambda value: str(value) if isinstance(value, tuple) else None)
def test_a_layer_can_be_pickled_before_its_parameters_are_drawn(
    build: Callable[[], layers.Layer], shape: tuple[int, ...]
) -> None:
    layer = build()
    if isinstance(layer, layers.Lambda):
        pytest.skip("a lambda cannot be pickled, a function with a name can")
    state = pickle.loads(pickle.dumps(layer)).state_dict()
    assert list(state) == list(layer.state_dict())
    for path, array in layer.state_dict().items():
        np.testing.assert_array_equal(host(state[path]), host(array))


def test_conv2d_is_convolution_with_its_weight(rng: np.random.Generator) -> None:
    layer = layers.Conv2d(2, 4, (3, 2), stride=(2, 1), padding=(1, 0), dilation=(1, 2))
    images = rng.standard_normal((2, 2, 6, 7)).astype(np.float32)
    layer.bias.data[...] = rng.standard_normal(4)
    expected = oracles.conv2d(images, layer.weight.data, layer.bias.data, (2, 1), (1, 0), (1, 2))
    np.testing.assert_allclose(layer(images).numpy(), expected, atol=1e-5)


def test_linear_is_matrix_product(rng: np.random.Generator) -> None:
    layer = layers.Linear(5, 3)
    x = rng.standard_normal((4, 5)).astype(np.float32)
    np.testing.assert_allclose(layer(x).numpy(), np.einsum("ni,oi->no", x, layer.weight.data), atol=1e-6)


def test_linear_takes_any_leading_axes_and_counts_them(rng: np.random.Generator) -> None:
    layer = layers.Linear(5, 3)
    for shape in ((5,), (2, 5), (2, 4, 5), (2, 1, 4, 5)):
        x = rng.standard_normal(shape).astype(np.float32)
        output = layer(x)
        assert layer.output_shape(shape) == output.shape == (*shape[:-1], 3)
        assert layer.multiply_adds(shape) == output.size * 5
        np.testing.assert_allclose(output.numpy(), np.einsum("...i,oi->...o", x, layer.weight.data), atol=1e-6)
    model = layers.Sequential(layers.Linear(5, 4), layers.ReLU(), layers.Linear(4, 3))
    assert model.output_shape((2, 6, 5)) == (2, 6, 3)
    assert model.multiply_adds((2, 6, 5)) == 2 * 6 * (5 * 4 + 4 * 3)
    assert [row.output_shape for row in costs(lambda: model, (6, 5))] == [(1, 6, 4), (1, 6, 4), (1, 6, 3)]


def test_pooling_layers(rng: np.random.Generator) -> None:
    images = rng.standard_normal((2, 2, 6, 7))
    expected = oracles.max_pool2d(images, (3, 2), (2, 1), (1, 1))
    np.testing.assert_array_equal(layers.MaxPool2d((3, 2), (2, 1), 1)(images).numpy(), expected)
    expected = oracles.avg_pool2d(images, (2, 2), (2, 2))
    np.testing.assert_allclose(layers.AvgPool2d(2)(images).numpy(), expected)


def test_he_initialisation_has_the_chapter_s_spread_and_biases_are_zero() -> None:
    conv, linear = layers.Conv2d(16, 64, 5), layers.Linear(900, 300)
    for weight, fan_in in ((conv.weight.data, 16 * 25), (linear.weight.data, 900)):
        deviation = np.sqrt(2 / fan_in)
        assert weight.dtype == np.float32
        assert abs(weight.std() / deviation - 1) < 5 / np.sqrt(2 * weight.size)
        assert abs(weight.mean()) < 5 * deviation / np.sqrt(weight.size)
        assert abs((np.abs(weight) < deviation).mean() - 0.6827) < 0.01, "normal, not uniform"
    assert not conv.bias.data.any()
    assert not linear.bias.data.any()


def test_conv_layer_is_conv2d_and_max_pool_layer_has_the_chapter_s_defaults() -> None:
    assert layers.ConvLayer is layers.Conv2d
    assert layers.MaxPoolLayer().output_shape((1, 1, 4, 4)) == (1, 1, 2, 2)
    assert issubclass(layers.MaxPoolLayer, layers.MaxPool2d)


def test_dropout_draws_anew_each_call_by_seed_and_path() -> None:
    def masks(model: layers.Sequential) -> list[bytes]:
        x = np.ones((8, 8), np.float32)
        return [model[place](x).numpy().tobytes() for place in (0, 0, 1)]

    first = masks(layers.Sequential(layers.Dropout(), layers.Dropout(), seed=1))
    assert len(set(first)) == 3
    assert masks(layers.Sequential(layers.Dropout(), layers.Dropout(), seed=1)) == first
    assert masks(layers.Sequential(layers.Dropout(), layers.Dropout(), seed=2)) != first


WRONG: list[tuple[Callable[[], object], type[GpucnnError], str]] = [
    (lambda: layers.Conv2d(0, 1, 3), ArgumentError, "Conv2d: in_channels must be an int >= 1, got 0"),
    (lambda: layers.Conv2d(1, 2.0, 3), ArgumentError, "Conv2d: out_channels must be an int >= 1, got 2.0"),  # type: ignore[arg-type]
    (lambda: layers.Conv2d(1, 1, 0), ArgumentError, "kernel_size must be an int >= 1 or a (height, width) pair of them, got 0"),
    (lambda: layers.Conv2d(3, 4, 3, groups=2), ArgumentError, "Conv2d: groups must divide in_channels, got groups 2 for 3 channels"),
    (lambda: layers.Conv2d(4, 3, 3, groups=2), ArgumentError, "Conv2d: groups must be an int >= 1 that divides 3 filters, got 2"),
    (lambda: layers.Linear(3, -1), ArgumentError, "Linear: out_features must be an int >= 1, got -1"),
    (lambda: layers.Dropout(1.5), ArgumentError, "Dropout: p, the share of elements to drop, must be a number from 0 to below 1, got 1.5"),
    (lambda: layers.Dropout2d(1), ArgumentError, "Dropout2d: p, the share of channels to drop, must be a number from 0 to below 1, got 1"),
    (lambda: layers.Flatten()(np.zeros(3)), ShapeError, "Flatten: expected input (N, ...) of two axes or more, got (3,); give single samples a batch axis with x[None]"),
    (lambda: layers.StochasticDepth(1), ArgumentError, "StochasticDepth: p, the share of samples to drop, must be a number from 0 to below 1, got 1"),
    (lambda: layers.MaxPool2d(2, padding=2), ArgumentError, "MaxPool2d: padding must be at most half of kernel_size, got padding 2 for a kernel of 2x2: some windows would see no image at all"),
    (lambda: layers.Conv2d(1, 1, 9)(np.zeros((1, 1, 8, 8))), ShapeError, "Conv2d: a window of 9x9 does not fit into an image of 8x8 with padding 0; use a smaller kernel_size or dilation, more padding, or larger images"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), WRONG, ids=[message[:40] for *_, message in WRONG])
def test_the_message(call: Callable[[], object], error: type[GpucnnError], message: str) -> None:
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == message
