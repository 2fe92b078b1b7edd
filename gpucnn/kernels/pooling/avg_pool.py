"""Average pooling and its gradient."""

from pathlib import Path

import numpy as np

from gpucnn.backend import Array, xp_of
from gpucnn.checks import Pair, Shape
from gpucnn.geometry import Window
from gpucnn.kernels.launch import WINDOW, Kernel, accepts, launch

SOURCE = Path(__file__).with_suffix(".cu")
_COUNTED = "long long size, int first_row, int end_row, int first_column, int end_column"
AVG_POOL = Kernel(SOURCE, "avg_pool", f"const T* images, T* output, {_COUNTED}, {WINDOW}")
AVG_POOL_GRADIENT = Kernel(SOURCE, "avg_pool_gradient", f"const T* gradient, T* images, {_COUNTED}, {WINDOW}")


def avg_pool(images: Array, window: Window, count_include_pad: bool = True) -> Array:
    """The mean of every window: images (N, C, H, W) of a float dtype to (N, C, OH, OW).

    Padding counts as zeros, unless `count_include_pad` is False: then the mean is over the image's elements alone.
    """
    xp = xp_of(images)
    image_size = images.shape[2:4]
    output_size = window.output_size(image_size, "avg_pool")
    if accepts(images):
        output = xp.empty((*images.shape[:2], *output_size), images.dtype)
        _launch(AVG_POOL, images, output, window, image_size, output_size, count_include_pad)
        return output
    output = xp.zeros((*images.shape[:2], *output_size), wide(images.dtype))
    for tap in window.taps(image_size, output_size):
        output[..., *tap.outputs] += images[..., *tap.inputs]
    output /= counts(xp, image_size, output_size, window, count_include_pad, output.dtype)
    return output.astype(images.dtype, copy=False)


def avg_pool_gradient(gradient: Array, image_shape: Shape, window: Window, count_include_pad: bool = True) -> Array:
    """The gradient of the images (N, C, H, W): each window's gradient is shared out evenly among its elements."""
    xp = xp_of(gradient)
    image_size, output_size = (image_shape[2], image_shape[3]), gradient.shape[2:4]
    if accepts(gradient):
        images = xp.empty(image_shape, gradient.dtype)
        _launch(AVG_POOL_GRADIENT, gradient, images, window, image_size, output_size, count_include_pad)
        return images
    shares = gradient / counts(xp, image_size, output_size, window, count_include_pad, wide(gradient.dtype))
    images = xp.zeros(image_shape, wide(gradient.dtype))
    for tap in window.taps(image_size, output_size):
        images[..., *tap.inputs] += shares[..., *tap.outputs]
    return images.astype(gradient.dtype, copy=False)


def _launch(
    kernel: Kernel, source: Array, target: Array, window: Window, image_size: Pair, output_size: Pair, include: bool
) -> None:
    counted = [
        bound
        for size, (before, after) in zip(image_size, window.padding, strict=True)
        for bound in ((-before, size + after) if include else (0, size))
    ]
    sizes = window.sizes(image_size, output_size)
    launch(kernel, target.size, xp_of(source).ascontiguousarray(source), target, target.size, *counted, *sizes)


def counts(
    xp: Array, image_size: Pair, output_size: Pair, window: Window, count_include_pad: bool, dtype: np.dtype
) -> Array:
    """How many elements each window counts, as (OH, OW)."""
    by_axis = []
    for axis in (0, 1):
        before, after = window.padding[axis] if count_include_pad else (0, 0)
        starts = np.arange(output_size[axis]) * window.stride[axis] - window.padding[axis][0]
        # The first tap from `-before` on, and the first one from the end on. In ceil mode a window can reach past the padding,
        # too: that part never counts.
        ends = [-((starts - bound) // window.dilation[axis]) for bound in (-before, image_size[axis] + after)]
        first, last = (np.clip(end, 0, window.kernel[axis]) for end in ends)
        by_axis.append(np.maximum(last - first, 0))
    # A window in the padding alone sums to zero; dividing by one keeps it there.
    return xp.asarray(np.maximum(np.outer(*by_axis), 1), dtype=dtype)


def wide(dtype: np.dtype) -> np.dtype:
    """The dtype to add up numbers of `dtype` in: float16 overflows at 65,504, and has 11 bits."""
    return np.dtype(np.float32) if dtype == np.float16 else dtype
