"""im2col: lay every window of an image out as a column, so that convolution becomes a matrix product.

Source: Chellapilla, Puri and Simard, "High performance convolutional neural networks for document processing", 2006.
"""

from gpucnn.backend import Array, xp_of
from gpucnn.geometry import Window


def im2col(images: Array, window: Window, out: Array | None = None) -> Array:
    """Images (N, C, H, W) to columns (N, C * KH * KW, OH * OW), zeros where a window lies in the padding.

    Row c * KH * KW + i * KW + j holds channel c under tap (i, j). `out`, a contiguous array of that shape and dtype, is
    overwritten and returned; without it a new array is made.
    """
    batch, channels, height, width = images.shape
    rows, columns = window.output_size((height, width), "im2col")
    kernel_size = window.kernel[0] * window.kernel[1]
    if out is None:
        out = xp_of(images).empty((batch, channels * kernel_size, rows * columns), images.dtype)
    taps = out.reshape(batch, channels, *window.kernel, rows, columns)
    for tap in window.taps((height, width), (rows, columns)):
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
