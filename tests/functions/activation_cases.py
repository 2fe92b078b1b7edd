"""Activation functions, number by number with `math`; `test_every_function.py` runs them."""

import math
from collections.abc import Callable

import numpy as np

from gpucnn import Tensor
from gpucnn import functions as F
from tests.functions.case import Array, Case


def element_by_element(function: Callable[[float], float]) -> Callable[[Array], Array]:
    return np.vectorize(function, otypes=[float])


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def elu(x: float, alpha: float) -> float:
    return x if x > 0 else alpha * (math.exp(x) - 1)


def normal_below(x: float) -> float:
    """The probability that a standard normal number is below x."""
    return math.erfc(-x / math.sqrt(2)) / 2


def gelu_of_gpt2(x: float) -> float:
    return 0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def softplus(x: float, beta: float = 1, threshold: float = 20) -> float:
    return x if beta * x > threshold else math.log(1 + math.exp(beta * x)) / beta


def relu6(x: float) -> float:
    return sorted((0, x, 6))[1]


def prelu(x: Array, weight: Array) -> Array:
    output = x.copy()
    for index in np.ndindex(x.shape):
        if x[index] < 0:
            output[index] *= weight[index[1] if len(weight) > 1 else 0]
    return output


SHAPE = (3, 4, 5)


def wide(name: str, function: Callable[..., Tensor], oracle: Callable[[float], float]) -> Case:
    """Of -7.4 to 7.4, where the curves are steep and where they are flat, and the kinks at -3, 3 and 6 between."""
    return Case(name, lambda x: function(5 * x), element_by_element(lambda x: oracle(5 * x)), (SHAPE,))


CASES = [
    wide("relu6", F.relu6, relu6),
    wide("leaky_relu", F.leaky_relu, lambda x: x if x > 0 else 0.01 * x),
    Case("leaky_relu steeper", lambda x: F.leaky_relu(x, 1.5), element_by_element(lambda x: x if x > 0 else 1.5 * x), (SHAPE,)),
    Case("prelu", F.prelu, prelu, (SHAPE, (4,))),
    Case("prelu of rows", F.prelu, prelu, ((5, 3), (3,))),
    Case("prelu of images", F.prelu, prelu, ((2, 3, 2, 4), (3,))),
    Case("prelu with one slope", F.prelu, prelu, (SHAPE, (1,))),
    Case("prelu of a vector", F.prelu, prelu, ((7,), (1,))),
    wide("hardsigmoid", F.hardsigmoid, lambda x: relu6(x + 3) / 6),
    wide("hardswish", F.hardswish, lambda x: x * relu6(x + 3) / 6),
    wide("sigmoid", F.sigmoid, sigmoid),
    wide("tanh", F.tanh, math.tanh),
    wide("softplus", F.softplus, softplus),
    Case("softplus with beta and threshold", lambda x: F.softplus(x, 3, 1.7), element_by_element(lambda x: softplus(x, 3, 1.7)), (SHAPE,)),
    wide("elu", F.elu, lambda x: elu(x, 1)),
    Case("elu with alpha", lambda x: F.elu(x, 0.3), element_by_element(lambda x: elu(x, 0.3)), (SHAPE,)),
    wide("selu", F.selu, lambda x: 1.0507009873554805 * elu(x, 1.6732632423543773)),
    wide("gelu", F.gelu, lambda x: x * normal_below(x)),
    wide("gelu of tanh", lambda x: F.gelu(x, "tanh"), gelu_of_gpt2),
    wide("silu", F.silu, lambda x: x * sigmoid(x)),
    wide("mish", F.mish, lambda x: x * math.tanh(math.log(1 + math.exp(x)))),
]  # fmt: skip
