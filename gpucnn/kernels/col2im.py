"""col2im: the transpose of im2col. Every column is added back onto the image positions that it was read from."""

from gpucnn.backend import Array, xp_of
from gpucnn.checks import Pair
from gpucnn.geometry import Window


def col2im(columns: Array, image_size: Pair, window: Window, out: Array | None = None) -> Array:
    """Columns (N, C * KH * KW, OH * OW) to images (N, C, H, W), where overlapping windows add up.

    `out`, of the images' shape, is added to and returned; without it the sum starts from zeros. What a column holds for
    the padding is dropped. The order of the additions is fixed, so the result is the same every time.
    """
    batch = columns.shape[0]
    output_size = window.output_size(image_size, "col2im")
    taps = columns.reshape(batch, -1, *window.kernel, *output_size)
    if out is None:
        out = xp_of(columns).zeros((batch, taps.shape[1], *image_size), columns.dtype)
    for tap in window.taps(image_size, output_size):
        out[..., *tap.inputs] += taps[:, :, tap.row, tap.column, *tap.outputs]
    return out
