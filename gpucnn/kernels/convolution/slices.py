"""The gradient of a weight from slices of it, which blocks of a GPU have added up at the same time. See slices.cu."""

from pathlib import Path

from gpucnn.backend import Array
from gpucnn.kernels.channel_sums import channel_sums
from gpucnn.kernels.elementwise import relu_gradient
from gpucnn.kernels.kernel import Kernel
from gpucnn.kernels.launch import launch

ADD_SLICES = Kernel(
    Path(__file__).with_suffix(".cu"),
    "add_slices",
    "const T* slices, T* weight_gradient, T* bias_gradient = null, I size, I count, Divisor columns",
)


def add_slices(slices: Array, weight_gradient: Array, bias_gradient: Array | None) -> None:
    """Sum slices (S, O, taps + 1) over S, in a fixed order, into the gradient of a weight (O, ...) and of its bias (O,)."""
    count, filters, columns = slices.shape
    size = filters * columns
    launch(ADD_SLICES, size * (ADD_SLICES.block // 32), slices, weight_gradient, bias_gradient, size, count, columns)


def find_bias_gradient(gradient: Array, output: Array | None, bias_gradient: Array) -> None:
    """That of a bias alone, where no slices are made; `output` is that of the convolution if a ReLU followed."""
    passed = gradient if output is None else relu_gradient(gradient, output)
    channel_sums(passed.reshape(*passed.shape[:2], -1), out=bias_gradient)
