"""gradcheck passes what is right and names what is wrong."""

import numpy as np
import pytest

from gpucnn import Tensor, gradcheck, layers
from gpucnn import functions as F
from gpucnn.autograd import record
from gpucnn.errors import DTypeError, GradientError


def times(factor: float, gradient_factor: float):  # type: ignore[no-untyped-def]
    return lambda x: record("times", x.data * factor, (x,), lambda gradient: (gradient * gradient_factor,))


def test_right_gradients_pass_and_inputs_stay(rng: np.random.Generator) -> None:
    x = Tensor(rng.standard_normal((2, 3)), requires_grad=True)
    before = x.numpy().copy()
    gradcheck(lambda x: F.exp(x) * x, x)
    gradcheck(times(3.0, 3.0), x)
    np.testing.assert_array_equal(x.numpy(), before)
    assert x.grad is None


def test_a_wrong_gradient_is_named() -> None:
    x = Tensor(np.ones((2, 2)), requires_grad=True)
    with pytest.raises(GradientError, match=r"gradient of input 1 at \(0, 0\) is .*, central differences give"):
        gradcheck(lambda a, b: a * 2.0 + times(3.0, 3.001)(b), x, x)


def test_a_gradient_of_nan_is_wrong() -> None:
    with pytest.raises(GradientError, match="is nan"):
        gradcheck(times(3.0, float("nan")), Tensor(np.ones(1), requires_grad=True))


def test_an_input_the_output_does_not_depend_on_has_slope_zero() -> None:
    x = Tensor(np.ones(2), requires_grad=True)
    gradcheck(lambda a, b: a * 2.0, x, x)


def test_float32_is_refused() -> None:
    with pytest.raises(DTypeError, match="gradcheck needs float64 inputs, input 0 is float32"):
        gradcheck(F.relu, Tensor([1.0], requires_grad=True))


def test_a_function_that_draws_anew_is_told_and_not_its_gradient() -> None:
    dropout, x = layers.Dropout(0.5), Tensor(np.ones(40), requires_grad=True)
    with pytest.raises(
        GradientError, match=r"other values for the same inputs.*call eval\(\), or put its counter back"
    ):
        gradcheck(dropout, x)
    gradcheck(dropout.eval(), x)
