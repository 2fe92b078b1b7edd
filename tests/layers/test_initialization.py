"""Initial values against theory: moments within five standard errors, bounds, orthogonality, and refusals."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from gpucnn import layers
from gpucnn.backend import generator
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.layers import initialization
from gpucnn.layers.initialization import INITIALIZERS, initializer, orthogonal
from gpucnn.layers.parameter import Parameter

LINEAR, CONV = (60, 300), (40, 16, 5, 3)
FANS = {LINEAR: (300, 60), CONV: (16 * 15, 40 * 15)}
"""(fan_in, fan_out), as PyTorch counts them."""

# The variance of a standard normal that is cut off at two: 1 - 2 * 2 * density(2) / P(|x| < 2).
CUT_VARIANCE = 1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2))


def draw(name: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    return initializer(name)(generator(seed, "initial weight"), shape)


@pytest.mark.parametrize("shape", [LINEAR, CONV])
@pytest.mark.parametrize(
    ("name", "variance", "fourth"),
    [
        ("he_normal", lambda fan_in, fan_out: 2 / fan_in, 3.0),
        ("he_uniform", lambda fan_in, fan_out: 2 / fan_in, 1.8),
        ("glorot_normal", lambda fan_in, fan_out: 2 / (fan_in + fan_out), 3.0),
        ("glorot_uniform", lambda fan_in, fan_out: 2 / (fan_in + fan_out), 1.8),
        ("truncated_normal", lambda fan_in, fan_out: 0.02**2 * CUT_VARIANCE, 3.0),
    ],
)
def test_mean_and_variance(
    name: str, variance: Callable[[int, int], float], fourth: float, shape: tuple[int, ...]
) -> None:
    """`fourth`: the fourth moment over the squared variance, or more; it sets the variance's standard error."""
    values = draw(name, shape)
    expected, count = variance(*FANS[shape]), values.size
    assert (values.shape, values.dtype) == (shape, np.float64)
    assert abs(values.mean()) < 5 * math.sqrt(expected / count)
    assert abs((values**2).mean() - expected) < 5 * expected * math.sqrt((fourth - 1) / count)


@pytest.mark.parametrize("shape", [LINEAR, CONV])
@pytest.mark.parametrize("name", ["he_uniform", "glorot_uniform"])
def test_uniform_fills_its_bounds(name: str, shape: tuple[int, ...]) -> None:
    fan_in, fan_out = FANS[shape]
    bound = math.sqrt(6 / (fan_in if name == "he_uniform" else fan_in + fan_out))
    values = draw(name, shape)
    assert -bound <= values.min() < -0.999 * bound
    assert 0.999 * bound < values.max() < bound


def test_truncated_normal_redraws_what_lies_beyond_two_standard_deviations() -> None:
    values = draw("truncated_normal", CONV)
    assert 0.039 < np.abs(values).max() <= 0.04
    # Clipping would pile 4.6% of the values up at the bounds; redrawing leaves about 0.1% in the last hundredth.
    assert (np.abs(values) > 0.0396).mean() < 0.005
    assert len(np.unique(values)) == values.size


@pytest.mark.parametrize("shape", [(6, 10), (10, 6), (7, 7), (8, 3, 2, 2), (30, 3, 2, 2), (1, 5)])
def test_orthogonal_rows_or_columns(shape: tuple[int, ...]) -> None:
    values = draw("orthogonal", shape)
    assert values.shape == shape
    assert values.flags.c_contiguous
    matrix = values.reshape(shape[0], -1)
    product = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    np.testing.assert_allclose(product, np.eye(len(product)), atol=1e-12)


def test_orthogonal_gain() -> None:
    doubled = orthogonal(generator(0, "initial weight"), (4, 6), gain=2.0)
    np.testing.assert_allclose(doubled, 2 * draw("orthogonal", (4, 6)))


def test_orthogonal_matrices_favour_no_direction() -> None:
    """Each element has mean 0 and variance 1 / 3. LAPACK's own signs would make the diagonal negative on average."""
    matrices = np.stack([draw("orthogonal", (3, 3), seed) for seed in range(400)])
    assert np.abs(matrices.mean(axis=0)).max() < 5 * math.sqrt(1 / 3 / 400)
    # Squared elements of a unit vector in three dimensions are Beta(1/2, 1), with variance 4 / 45.
    assert np.abs((matrices**2).mean(axis=0) - 1 / 3).max() < 5 * math.sqrt(4 / 45 / 400)
    # Rotations and reflections are equally frequent.
    assert abs(np.sign(np.linalg.det(matrices)).mean()) < 5 / math.sqrt(400)


@pytest.mark.parametrize(
    ("shape", "middle"), [((6, 4, 3, 3), (1, 1)), ((3, 5, 2, 4), (1, 2)), ((4, 4, 1), (0,)), ((2, 1, 5, 5), (2, 2))]
)
def test_dirac_passes_channels_on_and_starts_the_other_filters_as_he_normal(
    shape: tuple[int, ...], middle: tuple[int, ...]
) -> None:
    values, passed = draw("dirac", shape), min(shape[:2])
    expected = np.zeros((passed, *shape[1:]))
    for channel in range(passed):
        expected[(channel, channel, *middle)] = 1
    np.testing.assert_array_equal(values[:passed], expected)
    np.testing.assert_array_equal(values[passed:], draw("he_normal", shape)[passed:])


def test_what_comes_out_of_a_convolution_that_starts_with_dirac_is_what_went_in() -> None:
    images = np.random.default_rng(0).standard_normal((2, 3, 5, 5)).astype(np.float32)
    layer = layers.Conv2d(3, 7, 3, padding=1, bias=False, initialize="dirac")
    np.testing.assert_array_equal(layer(images).numpy()[:, :3], images)


@pytest.mark.parametrize("shape", [(4,), (4, 3)])
def test_dirac_is_for_filters(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ShapeError,
        match=r"expected filters \(O, C, ...\) for dirac, got \(4,.*\); start what is no convolution's otherwise$",
    ):
        draw("dirac", shape)


def test_zeros_and_ones() -> None:
    np.testing.assert_array_equal(draw("zeros", (3,)), np.zeros(3))
    np.testing.assert_array_equal(draw("ones", (2, 3)), np.ones((2, 3)))


@pytest.mark.parametrize("name", INITIALIZERS)
def test_values_are_a_function_of_the_generator(name: str) -> None:
    first = draw(name, CONV)
    np.testing.assert_array_equal(draw(name, CONV), first)
    assert (name in ("zeros", "ones")) == np.array_equal(draw(name, CONV, seed=1), first)
    weight = Parameter(CONV, initializer(name))
    assert weight.data.dtype == np.float32


@pytest.mark.parametrize("name", INITIALIZERS)
def test_every_name_is_its_function(name: str) -> None:
    assert initializer(name) is getattr(initialization, name)


def test_an_unknown_name_is_answered_with_the_names_and_the_nearest() -> None:
    names = "he_normal, he_uniform, glorot_normal, glorot_uniform, truncated_normal, orthogonal, dirac, zeros, ones"
    with pytest.raises(ArgumentError) as caught:
        initializer("glorot_unifrom")
    assert str(caught.value) == (
        f"unknown initializer 'glorot_unifrom', expected one of {names}; did you mean glorot_uniform?"
    )
    with pytest.raises(ArgumentError) as caught:
        initializer("lecun")
    assert str(caught.value) == f"unknown initializer 'lecun', expected one of {names}"


@pytest.mark.parametrize("name", ["he_normal", "he_uniform", "glorot_normal", "glorot_uniform", "orthogonal"])
@pytest.mark.parametrize(("shape", "text"), [((4,), r"\(4,\)"), ((), r"\(\)")])
def test_a_vector_has_no_fans(name: str, shape: tuple[int, ...], text: str) -> None:
    with pytest.raises(
        ShapeError,
        match=rf"expected a weight of at least two axes, \(outputs, inputs, ...\), got {text}; start vectors with zeros",
    ):
        draw(name, shape)


@pytest.mark.parametrize(
    "build",
    [
        lambda initialize: layers.Conv2d(8, 6, 3, initialize=initialize),
        lambda initialize: layers.ConvTranspose2d(8, 6, 3, initialize=initialize),
        lambda initialize: layers.Conv1d(8, 6, 3, initialize=initialize),
        lambda initialize: layers.Linear(8, 6, initialize=initialize),
    ],
)
def test_layers_take_an_initializer_by_name_or_as_a_function(build: Callable[..., layers.Layer]) -> None:
    assert (build("ones").weight.data == 1).all()
    weight = build("orthogonal").weight.data.reshape(len(build("zeros").weight.data), -1)
    gram = weight @ weight.T if len(weight) <= weight.shape[1] else weight.T @ weight
    np.testing.assert_allclose(gram, np.eye(len(gram)), atol=1e-5)
    assert (build(lambda generator, shape: np.full(shape, 3.0)).weight.data == 3).all()
    np.testing.assert_array_equal(build("he_normal").weight.data, build(initialization.he_normal).weight.data)
    with pytest.raises(
        ArgumentError, match="unknown initializer 'he_norm', expected one of .*; did you mean he_normal"
    ):
        build("he_norm")


def test_an_initializer_must_give_the_shape_that_it_is_asked_for() -> None:
    model = layers.Sequential(layers.Linear(3, 2, initialize=lambda generator, shape: np.ones(shape[::-1])))
    with pytest.raises(ShapeError) as raised:
        model(np.ones((1, 3), np.float32))
    assert str(raised.value) == "0.weight: its initializer gave an array (3, 2) when asked for (2, 3)"
