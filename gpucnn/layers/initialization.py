"""How parameters start: functions (generator, shape) -> float64 array, for `Parameter`."""

import math

import numpy as np

from gpucnn.checks import Shape


def he_normal(generator: "np.random.Generator", shape: Shape) -> np.ndarray:
    """Normal with standard deviation sqrt(2 / fan_in), where fan_in is the product of all axes but the first.

    Keeps the variance of ReLU layers. Source: He et al., "Delving deep into rectifiers", ICCV 2015; chapter 5,
    "Complete CNN Implementation".
    """
    fan_in = math.prod(shape[1:])
    return generator.standard_normal(shape) * math.sqrt(2.0 / fan_in)


def zeros(generator: "np.random.Generator", shape: Shape) -> np.ndarray:
    """All zeros, as biases start."""
    return np.zeros(shape)
