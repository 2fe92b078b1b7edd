"""On a GPU: cuBLAS makes the products, see `gemm`; bias with ReLU, and the bias's gradient, are a kernel each."""

from gpucnn.backend import Array, xp_of
from gpucnn.kernels.channel_sums import channel_sums
from gpucnn.kernels.elementwise import add_bias
from gpucnn.kernels.gemm import matmul


def linear(vectors: Array, weight: Array, bias: Array | None, relu: bool) -> Array:
    """A product, and a launch for bias and ReLU."""
    return add_bias(matmul(vectors, weight.T), bias, relu)


def weight_gradient(gradient: Array, vectors: Array, weight_gradient: Array, bias_gradient: Array | None) -> None:
    """A product, and a launch for the bias."""
    matmul(gradient.T, vectors, out=weight_gradient)
    if bias_gradient is not None:
        channel_sums(xp_of(gradient).ascontiguousarray(gradient)[..., None], out=bias_gradient)
