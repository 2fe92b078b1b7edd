"""Layers on the inputs that break things: no images, images of one pixel, NaN, windows larger than the image, one sample."""

from collections.abc import Callable

import numpy as np
import pytest

from gpucnn import Tensor, layers
from gpucnn import functions as F
from gpucnn.errors import ShapeError
from tests.backends import Backend, host

Build = Callable[[], layers.Layer]

FOR_IMAGES: list[Build] = [
    lambda: layers.Conv2d(2, 4, 3, padding=1),
    lambda: layers.Conv2d(2, 4, 1, activation="relu"),
    lambda: layers.Conv2d(2, 4, (2, 3), padding="same", groups=2, bias=False),
    lambda: layers.ConvTranspose2d(2, 4, 3, 2, 1, 1),
    lambda: layers.ConvTranspose2d(2, 4, 2, groups=2, bias=False),
    lambda: layers.MaxPool2d(2, 1, 1),
    lambda: layers.AvgPool2d(2, 1, 1, count_include_pad=False),
    lambda: layers.AdaptiveAvgPool2d((2, 1)),
    lambda: layers.AdaptiveMaxPool2d(2),
    lambda: layers.BatchNorm2d(2),
    lambda: layers.BatchNorm2d(2).eval(),
    lambda: layers.LayerNorm((4, 5)),
    lambda: layers.GroupNorm(1, 2),
    lambda: layers.InstanceNorm2d(2, affine=True),
    lambda: layers.LocalResponseNorm(3),
    lambda: layers.Dropout(0.5),
    lambda: layers.Dropout2d(0.5),
    lambda: layers.Flatten(),
    lambda: layers.Softmax(),
    lambda: layers.PReLU(2),
    lambda: layers.GELU(),
    lambda: layers.Sequential(layers.Conv2d(2, 3, 3), layers.BatchNorm2d(3), layers.ReLU(), layers.MaxPool2d(2), layers.Flatten(), layers.Linear(3, 2)),
]  # fmt: skip

FOR_VECTORS: list[Build] = [
    lambda: layers.Linear(3, 4),
    lambda: layers.Linear(3, 4, bias=False, activation="relu"),
    lambda: layers.BatchNorm1d(3),
    lambda: layers.LayerNorm(3),
    lambda: layers.GroupNorm(3, 3),
]


def on(backend: Backend, layer: layers.Layer) -> layers.Layer:
    return layer.astype("float64").to(backend.device_name)


def image(backend: Backend, *rows: list[float]) -> Tensor:
    """One image of one channel that asks for its gradient."""
    return backend.tensor(np.array([[rows]], np.float64), True)


def gradient_of_sum(output: Tensor, x: Tensor) -> np.ndarray:
    """Of the sum of all outputs, for one image of one channel."""
    output.sum().backward()
    return host(x.grad)[0, 0]


# No images


@pytest.mark.parametrize(
    ("build", "shape"), [(build, (2, 4, 5)) for build in FOR_IMAGES] + [(build, (3,)) for build in FOR_VECTORS]
)
def test_an_empty_batch(backend: Backend, build: Build, shape: tuple[int, ...]) -> None:
    """The shapes are right, no parameter's gradient moves, and running statistics stay."""
    layer = on(backend, build())
    before = layer.state_dict()
    x = backend.tensor(np.zeros((0, *shape)), True)
    output = layer(x)
    assert output.shape == layer.output_shape((0, *shape))
    output.backward(np.zeros(output.shape))
    assert x.grad.shape == x.shape
    for path, parameter in layer.named_parameters():
        assert parameter.grad is not None, path
        np.testing.assert_array_equal(host(parameter.grad), np.zeros(parameter.shape))
    for path, array in layer.state_dict().items():
        np.testing.assert_array_equal(array, before[path])


# Images of one pixel


def test_convolution_of_one_pixel(backend: Backend) -> None:
    """Of a padded window only the middle sees it; a transposed one spreads it over the kernel."""
    kernel = np.arange(9.0).reshape(1, 1, 3, 3)
    for layer, output, gradient in (
        (layers.Conv2d(1, 1, 3, padding=1), [[4 * 2 + 10]], 4),
        (layers.Conv2d(1, 1, 3, padding="same"), [[4 * 2 + 10]], 4),
        (layers.ConvTranspose2d(1, 1, 3), kernel[0, 0] * 2 + 10, 36),
        (layers.ConvTranspose2d(1, 1, 3, padding=1), [[4 * 2 + 10]], 4),
    ):
        on(backend, layer).load_state_dict({"weight": kernel, "bias": [10.0]})
        x = image(backend, [2.0])
        result = layer(x)
        np.testing.assert_array_equal(result.numpy()[0, 0], output)
        assert gradient_of_sum(result, x) == gradient


@pytest.mark.parametrize(
    ("layer", "output", "gradient"),
    [
        (layers.MaxPool2d(1), [[-3]], 1),
        (layers.MaxPool2d(2, 1, 1), [[-3, -3], [-3, -3]], 4),
        (layers.MaxPool2d(2, 2, 1), [[-3]], 1),
        (layers.AvgPool2d(1), [[-3]], 1),
        (layers.AvgPool2d(2, 1, 1), [[-0.75, -0.75], [-0.75, -0.75]], 1),
        (layers.AvgPool2d(2, 1, 1, count_include_pad=False), [[-3, -3], [-3, -3]], 4),
        (layers.AdaptiveAvgPool2d(1), [[-3]], 1),
        (layers.AdaptiveAvgPool2d((1, 3)), [[-3, -3, -3]], 3),
        (layers.AdaptiveMaxPool2d((2, 2)), [[-3, -3], [-3, -3]], 4),
    ],
    ids=repr,
)
def test_pooling_of_one_pixel(backend: Backend, layer: layers.Layer, output: list[list[float]], gradient: int) -> None:
    x = image(backend, [-3.0])
    result = layer(x)
    np.testing.assert_array_equal(result.numpy()[0, 0], output)
    assert gradient_of_sum(result, x) == gradient


@pytest.mark.parametrize("arguments", [{}, {"mode": "bilinear"}, {"mode": "bilinear", "align_corners": True}])
def test_interpolation_of_one_pixel(backend: Backend, arguments: dict[str, object]) -> None:
    x = image(backend, [-3.0])
    result = F.interpolate(x, (2, 3), **arguments)
    np.testing.assert_array_equal(result.numpy()[0, 0], np.full((2, 3), -3.0))
    np.testing.assert_allclose(gradient_of_sum(result, x), 6)


def test_normalization_of_one_pixel(backend: Backend) -> None:
    """Over the batch, over channels, or over itself, where nothing but the bias is left."""
    pixels = np.array([[1.0, 30.0], [3.0, 10.0]])[:, :, None, None]
    over_batch, over_channels = 1 / np.sqrt([1 + 1e-5, 100 + 1e-5]), 1 / np.sqrt([14.5**2 + 1e-5, 3.5**2 + 1e-5])
    cases: list[tuple[layers.Layer, object]] = [
        (layers.BatchNorm2d(2), [[-over_batch[0], 10 * over_batch[1]], [over_batch[0], -10 * over_batch[1]]]),
        (
            layers.GroupNorm(1, 2),
            [[-14.5 * over_channels[0], 14.5 * over_channels[0]], [-3.5 * over_channels[1], 3.5 * over_channels[1]]],
        ),
        (layers.GroupNorm(2, 2), np.zeros((2, 2))),
        (layers.LayerNorm((1, 1)), np.zeros((2, 2))),
        (layers.LocalResponseNorm(1, 1.0, 1.0, 1.0), [[1 / 2, 30 / 901], [3 / 10, 10 / 101]]),
    ]
    for layer, expected in cases:
        x = backend.tensor(pixels, True)
        output = on(backend, layer)(x)
        np.testing.assert_allclose(output.numpy()[:, :, 0, 0], expected, rtol=1e-12)
        output.sum().backward()
        assert np.isfinite(host(x.grad)).all()
    batch_norm = cases[0][0]
    np.testing.assert_allclose(host(batch_norm.running_mean.data), [0.1 * 2, 0.1 * 20])
    np.testing.assert_allclose(host(batch_norm.running_var.data), [0.9 + 0.1 * 2, 0.9 + 0.1 * 200])


# One sample


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (lambda: layers.BatchNorm1d(3), (1, 3)),
        (lambda: layers.BatchNorm1d(3), (1, 3, 1)),
        (lambda: layers.BatchNorm2d(3), (1, 3, 1, 1)),
    ],
)
def test_a_single_value_per_channel_has_no_variance(backend: Backend, build: Build, shape: tuple[int, ...]) -> None:
    layer = on(backend, build())
    text = ", ".join(map(str, shape))
    with pytest.raises(ShapeError) as caught:
        layer(backend.tensor(np.ones(shape)))
    assert f"a single value per channel has no variance to learn from, got input ({text})" in str(caught.value)
    assert "use a batch of two or more, or model.eval()" in str(caught.value)
    np.testing.assert_array_equal(host(layer.running_mean.data), 0)
    np.testing.assert_array_equal(host(layer.running_var.data), 1)
    np.testing.assert_allclose(layer.eval()(backend.tensor(np.ones(shape))).numpy(), 1 / np.sqrt(1 + 1e-5))


def test_one_image_of_two_pixels_has_a_variance(backend: Backend) -> None:
    layer = on(backend, layers.BatchNorm2d(1))
    output = layer(image(backend, [1.0, 3.0]))
    np.testing.assert_allclose(output.numpy()[0, 0], [[-1 / np.sqrt(1 + 1e-5), 1 / np.sqrt(1 + 1e-5)]])
    np.testing.assert_allclose(host(layer.running_var.data), [0.9 + 0.1 * 2])


# Windows larger than the image


def test_windows_larger_than_the_image(backend: Backend) -> None:
    """With padding they fit; each sees the whole image, but for the convolution only the middle of the kernel sees it."""
    convolution = on(backend, layers.Conv2d(1, 1, 5, padding=1, bias=False))
    kernel = np.arange(25.0).reshape(1, 1, 5, 5)
    convolution.load_state_dict({"weight": kernel})
    pixels = np.array([[1.0, 0, 0], [0, 2, 0], [0, 0, 3]])
    x = image(backend, *pixels.tolist())
    output = convolution(x)
    assert output.numpy().tolist() == [[[[6 + 2 * 12 + 3 * 18]]]]
    np.testing.assert_array_equal(gradient_of_sum(output, x), kernel[0, 0, 1:4, 1:4])
    np.testing.assert_array_equal(host(convolution.weight.grad)[0, 0], np.pad(pixels, 1))

    for layer, expected, gradient in (
        (layers.MaxPool2d(4, 1, 2), 4.0, [[0, 0], [0, 9]]),
        (layers.AvgPool2d(4, 1, 2), 10 / 16, np.full((2, 2), 9 / 16)),
        (layers.AvgPool2d(4, 1, 2, count_include_pad=False), 10 / 4, np.full((2, 2), 9 / 4)),
    ):
        x = image(backend, [1.0, 2.0], [3.0, 4.0])
        output = layer(x)
        np.testing.assert_array_equal(output.numpy(), np.full((1, 1, 3, 3), expected))
        np.testing.assert_array_equal(gradient_of_sum(output, x), gradient)


# Ties, minus infinity, NaN


@pytest.mark.parametrize(
    "layer", [layers.MaxPool2d(2, 2), layers.MaxPool2d(3, 3, 1), layers.AdaptiveMaxPool2d(2)], ids=repr
)
@pytest.mark.parametrize("value", [5.0, -np.inf, np.nan])
def test_the_first_of_equal_maxima_wins(backend: Backend, layer: layers.Layer, value: float) -> None:
    """Also where all of a window is minus infinity, as its padding is, or NaN."""
    x = backend.tensor(np.full((1, 1, 4, 4), value), True)
    output = layer(x)
    np.testing.assert_array_equal(output.numpy(), np.full((1, 1, 2, 2), value))
    expected = np.zeros((4, 4))
    expected[::2, ::2] = 1
    output.backward(np.ones(output.shape))
    np.testing.assert_array_equal(host(x.grad)[0, 0], expected)


def test_an_infinite_gradient_reaches_the_winner_alone(backend: Backend) -> None:
    for layer in (layers.MaxPool2d(2), layers.AdaptiveMaxPool2d(1)):
        x = image(backend, [1.0, 2.0], [4.0, 3.0])
        layer(x).backward(np.full((1, 1, 1, 1), np.inf))
        np.testing.assert_array_equal(host(x.grad)[0, 0], [[0, 0], [np.inf, 0]])


NAN_REACHES: list[tuple[Build, tuple[int | slice, ...]]] = [
    (lambda: layers.Conv2d(4, 4, 3, padding=1), np.s_[0, :, 1:4, :3]),
    (lambda: layers.Conv2d(4, 4, 1), np.s_[0, :, 2, 1]),
    (lambda: layers.Conv2d(4, 4, 3, padding="same", groups=2), np.s_[0, 2:, 1:4, :3]),
    (lambda: layers.ConvTranspose2d(4, 4, 2, stride=2), np.s_[0, :, 4:6, 2:4]),
    (lambda: layers.MaxPool2d(2), np.s_[0, 3, 1, 0]),
    (lambda: layers.AvgPool2d(2, 1, 1), np.s_[0, 3, 2:4, 1:3]),
    (lambda: layers.AdaptiveAvgPool2d(3), np.s_[0, 3, 1:3, 0:2]),
    (lambda: layers.AdaptiveMaxPool2d(2), np.s_[0, 3, 1, 0]),
    (lambda: layers.BatchNorm2d(4), np.s_[:, 3]),
    (lambda: layers.BatchNorm2d(4).eval(), np.s_[0, 3, 2, 1]),
    (lambda: layers.LayerNorm(4), np.s_[0, 3, 2]),
    (lambda: layers.LayerNorm((4, 4, 4)), np.s_[0,]),
    (lambda: layers.GroupNorm(2, 4), np.s_[0, 2:]),
    (lambda: layers.InstanceNorm2d(4), np.s_[0, 3]),
    (lambda: layers.LocalResponseNorm(3), np.s_[0, 2:, 2, 1]),
    (lambda: layers.ReLU(), np.s_[0, 3, 2, 1]),
    (lambda: layers.Softmax(), np.s_[0, :, 2, 1]),
    (lambda: layers.Flatten(), np.s_[0, 3 * 16 + 2 * 4 + 1]),
]


@pytest.mark.parametrize(("build", "reached"), NAN_REACHES)
def test_a_nan_reaches_what_it_is_used_for_and_nothing_else(
    backend: Backend, build: Build, reached: tuple[int | slice, ...]
) -> None:
    """One, in the first of two images, channel 3, row 2, column 1."""
    layer = on(backend, build())
    values = np.random.default_rng(0).standard_normal((2, 4, 4, 4))
    values[0, 3, 2, 1] = np.nan
    output = layer(backend.tensor(values)).numpy()
    expected = np.full(output.shape, False)
    expected[reached] = True
    np.testing.assert_array_equal(np.isnan(output), expected)


@pytest.mark.parametrize(
    ("arguments", "rows", "columns"),
    [({}, slice(4, 6), slice(2, 4)), ({"mode": "bilinear"}, slice(3, 7), slice(0, 5))],
    ids=["nearest", "bilinear"],
)
def test_a_nan_in_an_image_of_another_size(
    backend: Backend, arguments: dict[str, str], rows: slice, columns: slice
) -> None:
    """Bilinear: also into column 0, which is at the border and takes it with a weight of 0, as PyTorch does."""
    values = np.zeros((1, 1, 4, 4))
    values[0, 0, 2, 1] = np.nan
    expected = np.full((8, 8), False)
    expected[rows, columns] = True
    np.testing.assert_array_equal(
        np.isnan(F.interpolate(backend.tensor(values), 8, **arguments).numpy()[0, 0]), expected
    )


def test_a_nan_spoils_the_running_statistics_of_its_channel_alone(backend: Backend) -> None:
    layer = on(backend, layers.BatchNorm2d(2))
    values = np.random.default_rng(0).standard_normal((3, 2, 2, 2))
    values[1, 1, 0, 0] = np.nan
    layer(backend.tensor(values))
    for buffer in (layer.running_mean, layer.running_var):
        np.testing.assert_array_equal(np.isnan(host(buffer.data)), [False, True])
