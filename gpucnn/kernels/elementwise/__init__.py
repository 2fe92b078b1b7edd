"""Operations on one element at a time: ReLU, a bias for every channel, and the sum of two arrays."""

from gpucnn.backend import Array
from gpucnn.checks import public_names as _public_names
from gpucnn.kernels.elementwise import compiled, cuda, numpy_way, plain
from gpucnn.kernels.ways import Way, choose

RELU = {Way.CUDA: cuda.relu, Way.COMPILED: compiled.relu, Way.NUMPY: numpy_way.relu, Way.PLAIN: plain.relu}
RELU_GRADIENT = {
    Way.CUDA: cuda.relu_gradient,
    Way.COMPILED: compiled.relu_gradient,
    Way.NUMPY: numpy_way.relu_gradient,
    Way.PLAIN: plain.relu_gradient,
}
ADD_BIAS = {Way.CUDA: cuda.add_bias, Way.NUMPY: numpy_way.add_bias, Way.PLAIN: plain.add_bias}
ADD = {Way.COMPILED: compiled.add, Way.NUMPY: numpy_way.add, Way.PLAIN: plain.add}
ADD_TO = {Way.COMPILED: compiled.add_to, Way.PLAIN: plain.add_to}
SUITS_ADD = {way: lambda pair: _are_alike(*pair) for way in (Way.COMPILED, Way.NUMPY)}


def relu(x: Array) -> Array:
    """max(0, x), element by element, for an array of any shape. A NaN stays one."""
    return RELU[choose(RELU, x)](x)


def relu_gradient(gradient: Array, output: Array) -> Array:
    """The gradient of x in relu(x), from that of its `output`: it passes where the output is not 0."""
    return RELU_GRADIENT[choose(RELU_GRADIENT, gradient, output)](gradient, output)


def add_bias(values: Array, bias: Array | None, relu: bool) -> Array:
    """Add `bias` (C,), if there is one, to values (N, C, ...), contiguous, and apply ReLU if asked to, in place: the values."""
    if bias is None and not relu:
        return values
    return ADD_BIAS[choose(ADD_BIAS, values, bias)](values, bias, relu)


def add(a: Array, b: Array, relu: bool = False) -> Array:
    """a + b, broadcast, and with `relu` 0 where that is negative."""
    return ADD[choose(ADD, a, b, task=(a, b), suits=SUITS_ADD)](a, b, relu)


def add_bf16(a: Array, b: Array, relu: bool = False) -> Array:
    """The same for arrays of one shape that hold bfloat16 on a GPU, see `kernel.BF16`: to others they are integers."""
    return cuda.add_bf16(a, b, relu)


def add_to(place: Array, more: Array) -> None:
    """place += more, for an array of its shape and dtype."""
    ADD_TO[choose(ADD_TO, place, more, task=(place, more), suits=SUITS_ADD)](place, more)


def _are_alike(a: Array, b: Array) -> bool:
    """Whether two arrays, none of them a scalar, can be gone through side by side."""
    alike = a.ndim > 0 and a.shape == b.shape and a.dtype == b.dtype
    return bool(alike and a.flags.c_contiguous and b.flags.c_contiguous)


__all__ = _public_names(globals())


def __dir__() -> list[str]:
    return __all__
