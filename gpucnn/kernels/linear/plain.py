"""The plain way: three matrix products."""

from gpucnn.backend import Array, xp_of
from gpucnn.kernels.elementwise import relu_gradient
from gpucnn.kernels.gemm import matmul


def linear(vectors: Array, weight: Array, bias: Array | None, relu: bool) -> Array:
    """vectors @ weight^T + bias: (N, O)."""
    output = matmul(vectors, weight.T)
    if bias is not None:
        output += bias
    return xp_of(output).maximum(output, 0) if relu else output


def vectors_gradient(gradient: Array, weight: Array, relu_output: Array | None) -> tuple[Array, Array]:
    """gradient @ weight: (N, I), and the gradient itself. `relu_output` is None, as this way does not fuse ReLU."""
    return matmul(gradient, weight), gradient


def past_relu(gradient: Array, relu_output: Array, bias_gradient: Array | None) -> tuple[Array, Array | None]:
    """The gradient where the output was positive; that of the bias comes with the weight's."""
    return relu_gradient(gradient, relu_output), bias_gradient


def bias_gradient(gradient: Array, relu_output: Array | None, bias_gradient: Array) -> None:
    """The sums of the gradient over images."""
    passed = gradient if relu_output is None else relu_gradient(gradient, relu_output)
    passed.sum(axis=0, out=bias_gradient)


def weight_gradient(gradient: Array, vectors: Array, weight_gradient: Array, bias_gradient: Array | None) -> None:
    """gradient^T @ vectors: (O, I), and the sums of the gradient over images."""
    matmul(gradient.T, vectors, out=weight_gradient)
    if bias_gradient is not None:
        gradient.sum(axis=0, out=bias_gradient)
