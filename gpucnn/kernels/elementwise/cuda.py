"""On a GPU: one launch each, of the kernels in bias_relu.cu and sum.cu.

A convolution's product has *rows* there, all images side by side: (1, C, N * P), for N images of P positions. Layers take and
give *images*, (N, C, H, W). The kernels go from one layout to the other on the way.
"""

from pathlib import Path

from gpucnn.backend import Array, xp_of
from gpucnn.kernels.kernel import Kernel
from gpucnn.kernels.launch import contiguous, launch

SOURCE = Path(__file__).with_name("bias_relu.cu")
BIAS_RELU = Kernel(
    SOURCE,
    "bias_relu",
    "const T* rows, const A* bias = null, T* images, I size, Divisor channels, Divisor positions, "
    "I image_stride, I channel_stride, int relu",
    bf16=True,
)
BIAS_RELU_GRADIENT = Kernel(
    SOURCE,
    "bias_relu_gradient",
    "const T* gradient, const T* output = null, T* rows, I size, Divisor channels, Divisor positions, "
    "I image_stride, I channel_stride",
    bf16=True,
)
ADD = Kernel(Path(__file__).with_name("sum.cu"), "add", "const T* a, const T* b, T* total, I size, int relu", bf16=True)


def relu(x: Array) -> Array:
    """See `relu` of this folder, as for the functions below. All elements are one image of one channel."""
    output, size = xp_of(x).empty(x.shape, x.dtype), x.size
    launch(BIAS_RELU, size, contiguous(x), None, output, size, 1, max(size, 1), 0, 0, 1)
    return output


def relu_gradient(gradient: Array, output: Array) -> Array:
    """One image of one channel, too."""
    passed, size = xp_of(gradient, output).empty(gradient.shape, gradient.dtype), gradient.size
    arrays = (contiguous(gradient), contiguous(output), passed)
    launch(BIAS_RELU_GRADIENT, size, *arrays, size, 1, max(size, 1), 0, 0)
    return passed


def add_bf16(a: Array, b: Array, relu: bool) -> Array:
    """See `add_bf16` of this folder."""
    total = xp_of(a).empty(a.shape, a.dtype)
    launch(ADD, total.size, contiguous(a), contiguous(b), total, total.size, int(relu))
    return total


def add_bias(values: Array, bias: Array | None, relu: bool) -> Array:
    """In place."""
    batch, channels = values.shape[:2]
    positions = values.size // max(1, batch * channels)
    sizes = (values.size, channels, positions, channels * positions, positions)
    launch(BIAS_RELU, values.size, values, contiguous(bias), values, *sizes, int(relu))
    return values


def rows_to_images(rows: Array, bias: Array | None, relu: bool, out: Array) -> None:
    """Write rows to `out`, images, with `bias` (C,) added, if there is one, and ReLU applied if asked to."""
    batch, channels, height, width = out.shape
    images = out if out.flags.c_contiguous else xp_of(out).empty(out.shape, out.dtype)
    positions = height * width
    sizes = (out.size, channels, positions, positions, batch * positions)
    launch(BIAS_RELU, out.size, rows, contiguous(bias), images, *sizes, int(relu))
    if images is not out:
        out[...] = images


def images_to_rows(gradient: Array, output: Array | None) -> Array:
    """The gradient of rows from that of images, and of ReLU if its `output` is given."""
    batch, channels, height, width = gradient.shape
    positions = height * width
    rows = xp_of(gradient).empty((1, channels, batch * positions), gradient.dtype)
    sizes = (rows.size, channels, positions, positions, batch * positions)
    launch(BIAS_RELU_GRADIENT, rows.size, contiguous(gradient), contiguous(output), rows, *sizes)
    return rows
