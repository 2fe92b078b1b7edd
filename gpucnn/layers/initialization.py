"""How parameters start: functions (generator, shape) -> float64 array, for `Parameter`, and a way to name them.

Weights are (outputs, inputs) or (filters, channels, height, width). Their fan_in is how many inputs feed one output, the
product of all axes but the first; their fan_out how many outputs one input feeds, that of all axes but the second. Both
are counted as PyTorch counts them: strides and groups change neither. ShapeError for shapes of fewer than two axes where
a fan is needed.
"""

import math

import numpy as np

from gpucnn.checks import Shape, known_name, unknown_name
from gpucnn.errors import ShapeError
from gpucnn.layers.parameter import Initializer
from gpucnn.text import shape_text

TRUNCATED_STANDARD_DEVIATION = 0.02
TRUNCATED_AT = 2.0
"""In standard deviations."""


def he_normal(generator: "np.random.Generator", shape: Shape) -> np.ndarray:
    """Normal with standard deviation sqrt(2 / fan_in).

    Keeps the variance of ReLU layers. Source: He et al., "Delving deep into rectifiers", ICCV 2015; chapter 5,
    "Complete CNN Implementation".
    """
    fan_in, _ = _fans(shape)
    return generator.standard_normal(shape) * math.sqrt(2.0 / fan_in)


def he_uniform(generator: "np.random.Generator", shape: Shape) -> np.ndarray:
    """Uniform within sqrt(6 / fan_in) of zero, which has the variance of `he_normal`."""
    fan_in, _ = _fans(shape)
    bound = math.sqrt(6.0 / fan_in)
    return generator.uniform(-bound, bound, shape)


def glorot_normal(generator: "np.random.Generator", shape: Shape) -> np.ndarray:
    """Normal with standard deviation sqrt(2 / (fan_in + fan_out)).

    Keeps the variance of layers with tanh or no activation, forwards and backwards. PyTorch calls it Xavier.
    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks", AISTATS 2010.
    """
    return generator.standard_normal(shape) * math.sqrt(2.0 / sum(_fans(shape)))


def glorot_uniform(generator: "np.random.Generator", shape: Shape) -> np.ndarray:
    """Uniform within sqrt(6 / (fan_in + fan_out)) of zero, which has the variance of `glorot_normal`."""
    bound = math.sqrt(6.0 / sum(_fans(shape)))
    return generator.uniform(-bound, bound, shape)


def truncated_normal(generator: "np.random.Generator", shape: Shape) -> np.ndarray:
    """Normal with standard deviation 0.02, cut off at two of them: what lies beyond is drawn again.

    As transformers and ConvNeXt start.
    """
    values = generator.standard_normal(shape)
    outside = np.abs(values) > TRUNCATED_AT
    while outside.any():
        values[outside] = generator.standard_normal(int(outside.sum()))
        outside = np.abs(values) > TRUNCATED_AT
    return values * TRUNCATED_STANDARD_DEVIATION


def orthogonal(generator: "np.random.Generator", shape: Shape, gain: float = 1.0) -> np.ndarray:
    """`gain` times a random matrix (first axis, all others) whose rows, or columns if fewer, are orthonormal.

    Keeps the length of what passes through. Every such matrix is equally likely: the signs of R's diagonal, which are
    chance in a QR decomposition, are put into Q. Source: Saxe et al., "Exact solutions to the nonlinear dynamics of
    learning in deep linear neural networks", ICLR 2014.
    """
    fan_in, _ = _fans(shape)
    rows, columns = max(shape[0], fan_in), min(shape[0], fan_in)
    basis, triangle = np.linalg.qr(generator.standard_normal((rows, columns)))
    basis *= np.where(np.diagonal(triangle) < 0, -gain, gain)
    return np.ascontiguousarray(basis if shape[0] >= fan_in else basis.T).reshape(shape)


def dirac(generator: "np.random.Generator", shape: Shape) -> np.ndarray:
    """Filters (O, C, ...) the first min(O, C) of which pass on a channel each, the n-th the n-th; others as `he_normal`.

    The one is in the middle of a filter, of an even side behind it, so that with "same" padding a channel comes out as it
    went in. With `groups` C is a group's channels. PyTorch's `dirac_` leaves zeros in the others, which then learn alike.
    Source: Zagoruyko and Komodakis, "DiracNets", 2017; Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024.
    """
    if len(shape) < 3:
        raise ShapeError(
            f"expected filters (O, C, ...) for dirac, got {shape_text(shape)}; start what is no convolution's otherwise"
        )
    filters = he_normal(generator, shape)
    middle = tuple(side // 2 for side in shape[2:])
    for channel in range(min(shape[:2])):
        filters[channel] = 0
        filters[(channel, channel, *middle)] = 1
    return filters


def zeros(generator: "np.random.Generator", shape: Shape) -> np.ndarray:
    """All zeros, as biases start."""
    return np.zeros(shape)


def ones(generator: "np.random.Generator", shape: Shape) -> np.ndarray:
    """All ones, as the scales of a normalisation start."""
    return np.ones(shape)


INITIALIZERS: dict[str, Initializer] = {
    function.__name__: function
    for function in (
        he_normal, he_uniform, glorot_normal, glorot_uniform, truncated_normal, orthogonal, dirac, zeros, ones,
    )
}  # fmt: skip


_ELSEWHERE = {
    f"{theirs}{end}": f'"{ours}", as in Conv2d(1, 8, 3, initialize="{ours}")'
    for theirs, ours in {
        "kaiming_normal": "he_normal",
        "kaiming_uniform": "he_uniform",
        "xavier_normal": "glorot_normal",
        "xavier_uniform": "glorot_uniform",
        "trunc_normal": "truncated_normal",
        "orthogonal": "orthogonal",
        "dirac": "dirac",
        "zeros": "zeros",
        "ones": "ones",
    }.items()
    for end in ("_", "")
    if f"{theirs}{end}" != ours
} | dict.fromkeys(("constant_", "normal_", "uniform_", "eye_"), "parameter.assign(values)")
"""Names in torch.nn.init, and what does the same here."""


def __getattr__(name: str) -> object:
    raise unknown_name("initialization", name, globals(), _ELSEWHERE)


def initializer(name: "str | Initializer") -> Initializer:
    """The initializer of this name, in upper or lower case; a function is one itself.

    ArgumentError for an unknown name, with the names there are and the nearest.
    """
    return name if callable(name) else INITIALIZERS[known_name(name, INITIALIZERS, "initializer")]


def _fans(shape: Shape) -> tuple[int, int]:
    if len(shape) < 2:
        raise ShapeError(
            f"expected a weight of at least two axes, (outputs, inputs, ...), got {shape_text(shape)}; "
            f"start vectors with zeros, ones or truncated_normal"
        )
    return math.prod(shape[1:]), shape[0] * math.prod(shape[2:])
