"""The plain way, on any array module: what the other ways must equal."""

from gpucnn.backend import Array, xp_of


def relu(x: Array) -> Array:
    """See `relu` of this folder, as for the functions below."""
    return xp_of(x).maximum(x, 0)


def relu_gradient(gradient: Array, output: Array) -> Array:
    """The gradient where the output is not 0, and 0 elsewhere: a product with a mask would make infinity times 0 a NaN."""
    return xp_of(gradient, output).where(output != 0, gradient, 0)


def add_bias(values: Array, bias: Array | None, relu: bool) -> Array:
    """In place."""
    if bias is not None:
        values += bias.reshape(-1, *[1] * (values.ndim - 2))
    return xp_of(values).maximum(values, 0, out=values) if relu else values


def add(a: Array, b: Array, relu: bool) -> Array:
    """A new array."""
    total = a + b
    return xp_of(total).maximum(total, 0) if relu else total


def add_to(place: Array, more: Array) -> None:
    """place += more"""
    place += more
