"""im2col: lay every window of an image out as a column, so that convolution becomes one matrix product.

Source: Chellapilla, Puri and Simard, "High performance convolutional neural networks for document processing", 2006.
"""

import math
from pathlib import Path

from gpucnn.backend import Array, xp_of
from gpucnn.geometry import Window
from gpucnn.kernels.convolution.tiles import stack_shape
from gpucnn.kernels.launch import WINDOW, Kernel, accepts, launch

IM2COL = Kernel(
    Path(__file__).with_suffix(".cu"),
    "im2col",
    f"const T* images, T* columns, long long size, int batch, int channels, {WINDOW}",
)


def im2col(images: Array, window: Window, out: Array | None = None) -> Array:
    """Images (N, C, H, W) to a stack of columns of C * KH * KW rows, zeros where a window lies in the padding.

    Row c * KH * KW + i * KW + j holds channel c under tap (i, j), for all output positions: of all images side by side on
    a GPU, of one image elsewhere (see `stack_shape`). `out`, a contiguous array of that shape and dtype, is overwritten and
    returned; without it a new array is made.
    """
    batch, channels, height, width = images.shape
    output_size = window.output_size((height, width), "im2col")
    xp = xp_of(images)
    if out is None:
        shape = stack_shape(images, batch, channels * math.prod(window.kernel), math.prod(output_size))
        out = xp.empty(shape, images.dtype)
    if accepts(images):
        sizes = window.sizes((height, width), output_size)
        threads = channels * out.shape[2]
        launch(IM2COL, threads, xp.ascontiguousarray(images), out, threads, batch, channels, *sizes)
        return out
    taps = out.reshape(batch, channels, *window.kernel, *output_size)
    for tap in window.taps((height, width), output_size):
        target = taps[:, :, tap.row, tap.column]
        _clear_outside(target, *tap.outputs)
        target[..., *tap.outputs] = images[..., *tap.inputs]
    return out


def _clear_outside(target: Array, rows: slice, columns: slice) -> None:
    """Zero what lies outside of `rows` x `columns`: there the tap reads padding."""
    height, width = target.shape[-2:]
    if rows.start > 0:
        target[..., : rows.start, :] = 0
    if rows.stop < height:
        target[..., rows.stop :, :] = 0
    if columns.start > 0:
        target[..., : columns.start] = 0
    if columns.stop < width:
        target[..., columns.stop :] = 0
