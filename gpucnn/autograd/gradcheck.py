"""Hold a function's gradients against central differences in float64."""

from collections.abc import Callable

import numpy as np

from gpucnn.autograd.operation import on_their_device
from gpucnn.autograd.tape import no_grad
from gpucnn.autograd.tensor import Tensor
from gpucnn.backend import generator, to_host, xp_of
from gpucnn.errors import ArgumentError, DTypeError, GradientError
from gpucnn.text import value_text


@on_their_device
def gradcheck(
    function: Callable[..., Tensor], *inputs: Tensor, step: float = 1e-6, relative: float = 1e-5, absolute: float = 1e-7
) -> None:
    """Check the gradient of `function(*inputs)` with respect to every input that requires one.

    The output, of any shape, is weighed with fixed random numbers into one scalar; each element of each input is moved
    by +-`step`, and the gradient must be within `absolute + relative * |difference|` of the difference quotient. The inputs must be
    float64 (DTypeError otherwise: float32 differences prove nothing), and the function smooth within a step of them and
    the same every time.
    Raises GradientError that names the input, the element and both values, or says that the function gives other values
    for the same inputs. The inputs' own `grad` stays untouched.
    """
    for position, tensor in enumerate(inputs):
        if not isinstance(tensor, Tensor):
            raise ArgumentError(f"gradcheck: expected tensors, got {value_text(tensor)} as input {position}")
        if tensor.requires_grad and tensor.dtype != np.float64:
            raise DTypeError(f"gradcheck needs float64 inputs, input {position} is {tensor.dtype}")
    leaves = [Tensor(tensor.array.copy(), tensor.requires_grad) for tensor in inputs]
    output = function(*leaves)
    with no_grad():
        again = to_host(function(*leaves).array)
    if not np.array_equal(to_host(output.array), again, equal_nan=True):
        raise GradientError(
            "the function gives other values for the same inputs, so that differences prove nothing; if a layer draws at "
            "random, call eval(), or put its counter back before each call"
        )
    weights = xp_of(output.array).asarray(generator(0, "gradcheck").uniform(0.5, 1.5, output.shape))
    output.backward(weights)

    def weighed() -> float:
        return float((function(*leaves).array * weights).sum())

    for position, leaf in enumerate(leaves):
        if not leaf.requires_grad:
            continue
        computed = np.zeros(leaf.shape) if leaf.grad is None else to_host(leaf.grad)
        for index in np.ndindex(leaf.shape):
            expected = _central_difference(weighed, leaf, index, step)
            if not abs(computed[index] - expected) <= absolute + relative * abs(expected):
                raise GradientError(
                    f"gradient of input {position} at {index} is {computed[index]:.9g}, "
                    f"central differences give {expected:.9g}"
                )


def _central_difference(function: Callable[[], float], leaf: Tensor, index: tuple[int, ...], step: float) -> float:
    value, sides = leaf.array[index].item(), []
    with no_grad():
        for moved in (value + step, value - step):
            leaf.array[index] = moved
            sides.append(function())
    leaf.array[index] = value
    return (sides[0] - sides[1]) / (2 * step)
