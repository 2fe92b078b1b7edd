"""On a GPU: cuBLAS makes the products, see `gemm`; bias with ReLU, and the bias's gradient, are a kernel each."""

from pathlib import Path

from gpucnn.backend import Array, xp_of
from gpucnn.checks import Shape
from gpucnn.kernels.channel_sums import channel_sums
from gpucnn.kernels.elementwise import add_bias, relu_gradient
from gpucnn.kernels.gemm import matmul
from gpucnn.kernels.kernel import Kernel
from gpucnn.kernels.launch import contiguous, launch

RELU_SUMS = Kernel(
    Path(__file__).with_name("relu_sums.cu"),
    "relu_sums",
    "const T* gradient, const T* output, T* passed, T* sums, I rows, I columns",
)
COLUMNS_PER_BLOCK, MOST_ROWS = 32, 4096
"""More rows are better cut into parts, for more blocks than there are columns for."""


def linear(vectors: Array, weight: Array, bias: Array | None, relu: bool) -> Array:
    """A product, and a launch for bias and ReLU."""
    return add_bias(matmul(vectors, weight.T), bias, relu)


def past_relu(gradient: Array, relu_output: Array, bias_gradient: Array | None) -> tuple[Array, Array | None]:
    """One launch for both."""
    if bias_gradient is None:
        return relu_gradient(gradient, relu_output), None
    rows, columns = gradient.shape
    passed = xp_of(gradient).empty(gradient.shape, gradient.dtype)
    threads = -(-columns // COLUMNS_PER_BLOCK) * RELU_SUMS.block
    launch(RELU_SUMS, threads, contiguous(gradient), contiguous(relu_output), passed, bias_gradient, rows, columns)
    return passed, None


def suits_past_relu(shape: Shape) -> bool:
    """Whether there are few enough rows."""
    return shape[0] <= MOST_ROWS


def weight_gradient(gradient: Array, vectors: Array, weight_gradient: Array, bias_gradient: Array | None) -> None:
    """A product, and a launch for the bias."""
    matmul(gradient.T, vectors, out=weight_gradient)
    if bias_gradient is not None:
        channel_sums(xp_of(gradient).ascontiguousarray(gradient)[..., None], out=bias_gradient)
