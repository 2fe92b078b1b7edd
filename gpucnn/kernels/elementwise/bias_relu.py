"""Bias and ReLU in one pass after a matrix product, and the way back.

On a GPU a convolution's product has *rows*, channel by channel: (C, N * P), for N images of P positions. Layers take and
give *images*, image by image: (N, C, P). The passes below go from one to the other on the way.
"""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from gpucnn.backend import Array, xp_of
from gpucnn.backend.host_memory import empty_like
from gpucnn.backend.threads import ELEMENT, cut, parallel
from gpucnn.kernels import ways
from gpucnn.kernels.compiler import loop
from gpucnn.kernels.elementwise import relu_loops
from gpucnn.kernels.elementwise.masked import masked
from gpucnn.kernels.launch import Kernel, accepts, launch
from gpucnn.kernels.tiling import PASS_PARTS, passes

BIAS_RELU = Kernel(
    Path(__file__).with_suffix(".cu"),
    "bias_relu",
    "const T* rows, const T* bias = null, T* images, long long size, int channels, long long positions, "
    "long long image_stride, long long channel_stride, int relu",
)
BIAS_RELU_GRADIENT = Kernel(
    Path(__file__).with_suffix(".cu"),
    "bias_relu_gradient",
    "const T* gradient, const T* output = null, T* rows, long long size, int channels, long long positions, "
    "long long image_stride, long long channel_stride",
)


def relu(x: Array) -> Array:
    """max(0, x), element by element, for an array of any shape. A NaN stays one."""
    xp = xp_of(x)
    if ways.compiles(x) and x.flags.c_contiguous:
        output = empty_like(x)
        _sweep(relu_loops.relu(), x, output)
        return output
    if isinstance(x, np.ndarray) and x.flags.c_contiguous and x.ndim:
        output = empty_like(x)
        flat, result = x.reshape(-1), output.reshape(-1)
        parts = cut(x.size, ELEMENT)
        parallel(lambda number: rectify(flat[parts[number]], result[parts[number]]), len(parts))
        return output
    if not accepts(x):
        return xp.maximum(x, 0)
    output = xp.empty(x.shape, x.dtype)  # ascontiguousarray would make a scalar one-dimensional
    launch(BIAS_RELU, x.size, xp.ascontiguousarray(x), None, output, x.size, 1, max(x.size, 1), 0, 0, 1)
    return output


def relu_gradient(gradient: Array, output: Array) -> Array:
    """The gradient of x in relu(x), from that of its `output`: it passes where the output is not 0."""
    xp = xp_of(gradient, output)
    if ways.compiles(gradient, output):
        passed = empty_like(gradient)  # ascontiguousarray makes a scalar one-dimensional
        _sweep(relu_loops.relu_gradient(), np.ascontiguousarray(gradient), np.ascontiguousarray(output), passed)
        return passed
    if isinstance(gradient, np.ndarray) and gradient.ndim and gradient.flags.c_contiguous and output.flags.c_contiguous:
        passed = empty_like(gradient)
        flat = [array.reshape(-1) for array in (gradient, output, passed)]
        parts = cut(gradient.size, ELEMENT, PASS_PARTS)

        def mask_part(number: int) -> None:
            for piece in passes(parts[number], gradient.itemsize):
                values, kept, out = (array[piece] for array in flat)
                masked(values, kept != 0, out=out)

        parallel(mask_part, len(parts))
        return passed
    if not accepts(gradient):
        return masked(gradient, output != 0)
    passed = xp.empty(gradient.shape, gradient.dtype)
    gradient, size = xp.ascontiguousarray(gradient), gradient.size
    launch(BIAS_RELU_GRADIENT, size, gradient, xp.ascontiguousarray(output), passed, size, 1, max(size, 1), 0, 0)
    return passed


def rectify(values: Array, out: Array) -> None:
    """max(0, values), numpy.ndarrays of one shape, in `out`, which may be `values`. A NaN stays one.

    NumPy has vectors for the maximum of two arrays, but not of an array and a number.
    """
    if not (values.flags.c_contiguous and out.flags.c_contiguous):
        np.maximum(values, 0, out=out)
        return
    zeros, (flat, result) = _zeros(values.dtype), (values.reshape(-1), out.reshape(-1))
    rows = flat.size // len(zeros)
    whole = rows * len(zeros)
    np.maximum(flat[:whole].reshape(rows, len(zeros)), zeros, out=result[:whole].reshape(rows, len(zeros)))
    np.maximum(flat[whole:], zeros[: flat.size - whole], out=result[whole:])


@functools.cache
def _zeros(dtype: np.dtype) -> np.ndarray:
    return np.zeros(2048, dtype)


def add_bias(product: Array, bias: Array | None, relu: bool) -> Array:
    """Add `bias` (C,), if there is one, to a product (N, C), and apply ReLU if asked to. The product is overwritten."""
    if bias is None and not relu:
        return product
    if accepts(product):
        channels, bias = product.shape[1], _contiguous(bias)
        launch(BIAS_RELU, product.size, product, bias, product, product.size, channels, 1, channels, 1, int(relu))
        return product
    if bias is not None:
        product += bias
    if relu and xp_of(product) is np:
        rectify(product, product)
    elif relu:
        xp_of(product).maximum(product, 0, out=product)
    return product


def add_channel_bias(images: Array, bias: Array | None, relu: bool) -> None:
    """Add `bias` (C,), if there is one, to images (N, C, H, W), contiguous, and apply ReLU if asked to, in place."""
    if bias is None and not relu:
        return
    xp = xp_of(images)
    if accepts(images):
        channels, positions = images.shape[1], images.shape[2] * images.shape[3]
        strides = (channels * positions, positions)
        bias = _contiguous(bias)
        launch(BIAS_RELU, images.size, images, bias, images, images.size, channels, positions, *strides, int(relu))
        return
    if bias is not None:
        images += bias[:, None, None]
    if relu and xp is np:
        rectify(images, images)
    elif relu:
        xp.maximum(images, 0, out=images)


def rows_to_images(rows: Array, bias: Array | None, relu: bool, out: Array) -> None:
    """Write rows to `out`, images (N, C, H, W), with `bias` (C,) added, and ReLU applied if asked to.

    Rows are (1, C, N * P), all images side by side, on a GPU, and (N, C, P) elsewhere.
    """
    xp = xp_of(rows, out)
    batch, channels, height, width = out.shape
    if accepts(rows):
        positions = height * width
        images = out if out.flags.c_contiguous else xp.empty(out.shape, out.dtype)
        strides = (positions, batch * positions)
        launch(
            BIAS_RELU,
            images.size,
            rows,
            _contiguous(bias),
            images,
            images.size,
            channels,
            positions,
            *strides,
            int(relu),
        )
        if images is not out:
            out[...] = images
        return
    images = rows.reshape(out.shape)
    if bias is None:
        out[...] = images
    else:
        xp.add(images, bias[:, None, None], out=out)
    if relu:
        xp.maximum(out, 0, out=out)


def images_to_rows(gradient: Array, output: Array | None) -> Array:
    """The gradient of rows, laid out as above, from that of images (N, C, H, W), and of ReLU if its `output` is given."""
    xp = xp_of(gradient)
    batch, channels, height, width = gradient.shape
    positions = height * width
    if accepts(gradient):
        rows = xp.empty((1, channels, batch * positions), gradient.dtype)
        strides = (positions, batch * positions)
        images = (_contiguous(gradient), _contiguous(output))
        launch(BIAS_RELU_GRADIENT, rows.size, *images, rows, rows.size, channels, positions, *strides)
        return rows
    if output is not None:
        gradient = relu_gradient(gradient, output)
    return gradient.reshape(batch, channels, positions)


def _sweep(kernel: Any, *arrays: Array) -> None:
    """Run a compiled loop over the elements of equally large arrays."""
    size = arrays[0].size
    loop.run(kernel, size, [array.reshape(size) for array in arrays], cut(size, ELEMENT))


def _contiguous(array: Array | None) -> Array | None:
    return None if array is None else xp_of(array).ascontiguousarray(array)
