"""The fully connected layer, vectors @ weight^T + bias, and its gradients. Each row of `vectors` is one image."""

from gpucnn.backend import Array, xp_of
from gpucnn.checks import public_names as _public_names
from gpucnn.kernels.channel_sums import channel_sums
from gpucnn.kernels.linear import compiled, cuda, fused, numpy_way, plain
from gpucnn.kernels.ways import Way, choose

LINEAR = {
    Way.FUSED: fused.linear,
    Way.CUDA: cuda.linear,
    Way.COMPILED: compiled.linear,
    Way.NUMPY: numpy_way.linear,
    Way.PLAIN: plain.linear,
}
VECTORS_GRADIENT = {
    Way.COMPILED: compiled.vectors_gradient,
    Way.NUMPY: numpy_way.vectors_gradient,
    Way.PLAIN: plain.vectors_gradient,
}
"""Each gives the gradient of the vectors, and the output's past ReLU, which ways that are not in FUSES_RELU are given."""

WEIGHT_GRADIENT = {
    Way.CUDA: cuda.weight_gradient,
    Way.COMPILED: compiled.weight_gradient,
    Way.NUMPY: numpy_way.weight_gradient,
    Way.PLAIN: plain.weight_gradient,
}
PAST_RELU = {
    Way.CUDA: cuda.past_relu,
    Way.COMPILED: plain.past_relu,  # which is one compiled loop there
    Way.PLAIN: plain.past_relu,
}
"""Each gives the output's gradient past ReLU, and the gradient of the bias if it has still to be made."""

BIAS_GRADIENT = {Way.COMPILED: compiled.bias_gradient, Way.PLAIN: plain.bias_gradient}

SUITS = {Way.FUSED: fused.suits, Way.COMPILED: compiled.suits}
SUITS_GRADIENTS = {Way.FUSED: fused.suits_gradients}
SUITS_PAST_RELU = {Way.CUDA: cuda.suits_past_relu}
FUSES_RELU = {Way.COMPILED}


def linear(vectors: Array, weight: Array, bias: Array | None, relu: bool) -> Array:
    """vectors (N, I) @ weight (O, I)^T + bias (O,), if there is one: (N, O). With `relu`, what is negative becomes 0."""
    matrices = (vectors, weight, bias)
    return LINEAR[choose(LINEAR, *matrices, task=matrices, suits=SUITS)](vectors, weight, bias, relu)


def linear_gradients(
    gradient: Array,
    vectors: Array | None,
    weight: Array | None,
    relu_output: Array | None = None,
    weight_gradient: Array | None = None,
    bias_gradient: Array | None = None,
) -> Array | None:
    """The gradient of the vectors (N, I), from `gradient`, that of the output (N, O); None without `weight`.

    - `relu_output`: the output of a layer with ReLU; None without.
    - `weight_gradient`, `bias_gradient`: contiguous arrays (O, I) and (O,) that are overwritten; None for one that nobody
      needs. The former needs `vectors`.
    """
    matrices = (gradient, vectors, weight)
    way = choose(GRADIENTS, *matrices, task=matrices, suits=SUITS_GRADIENTS)
    return GRADIENTS[way](gradient, vectors, weight, relu_output, weight_gradient, bias_gradient)


def _one_by_one(
    gradient: Array,
    vectors: Array | None,
    weight: Array | None,
    relu_output: Array | None,
    weight_gradient: Array | None,
    bias_gradient: Array | None,
) -> Array | None:
    """`linear_gradients`, each of them in a way of its own."""
    matrices = (gradient, weight, relu_output)
    way = None if weight is None else choose(VECTORS_GRADIENT, *matrices, task=matrices, suits=SUITS)
    if relu_output is not None and way not in FUSES_RELU:
        past = choose(PAST_RELU, gradient, relu_output, task=gradient.shape, suits=SUITS_PAST_RELU)
        (gradient, bias_gradient), relu_output = PAST_RELU[past](gradient, relu_output, bias_gradient), None
    vectors_gradient = None
    if way is not None:
        vectors_gradient, gradient = VECTORS_GRADIENT[way](gradient, weight, relu_output)
    if weight_gradient is not None:
        matrices = (gradient, vectors, weight_gradient)
        way = choose(WEIGHT_GRADIENT, *matrices, task=matrices, suits=SUITS)
        WEIGHT_GRADIENT[way](gradient, vectors, weight_gradient, bias_gradient)
    elif bias_gradient is not None:
        channel_sums(xp_of(gradient).ascontiguousarray(gradient)[..., None], out=bias_gradient)
    return vectors_gradient


GRADIENTS = {Way.FUSED: fused.linear_gradients, Way.COMPILED: _one_by_one, Way.PLAIN: _one_by_one}


def bias_gradient(gradient: Array, relu_output: Array | None, bias_gradient: Array) -> None:
    """Fill the gradient of the bias alone, from that of the output, for a precision that rounds the gradient for the others."""
    way = choose(BIAS_GRADIENT, gradient, relu_output, task=(gradient, relu_output), suits=SUITS)
    BIAS_GRADIENT[way](gradient, relu_output, bias_gradient)


__all__ = _public_names(globals())


def __dir__() -> list[str]:
    return __all__
