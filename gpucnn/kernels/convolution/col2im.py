"""col2im: the transpose of im2col. Every column is added back onto the image positions that it was read from."""

from pathlib import Path

from gpucnn.backend import Array, xp_of
from gpucnn.checks import Shape
from gpucnn.geometry import Window
from gpucnn.kernels.launch import WINDOW, Kernel, accepts, launch

COL2IM = Kernel(
    Path(__file__).with_suffix(".cu"),
    "col2im",
    f"const T* columns, T* images, long long size, int batch, int channels, {WINDOW}",
)


def col2im(columns: Array, image_shape: Shape, window: Window, out: Array | None = None) -> Array:
    """A stack of columns, as `im2col` makes it, to images of `image_shape` (N, C, H, W), where overlapping windows add up.

    `out`, a contiguous array of that shape and dtype, is overwritten and returned; without it a new array is made. What
    a column holds for the padding is dropped. The order of the additions is fixed, so the result is always the same.
    """
    batch, channels, height, width = image_shape
    output_size = window.output_size((height, width), "col2im")
    xp = xp_of(columns)
    if out is None:
        out = xp.empty(image_shape, columns.dtype)
    if accepts(columns):
        sizes = window.sizes((height, width), output_size)
        launch(COL2IM, out.size, xp.ascontiguousarray(columns), out, out.size, batch, channels, *sizes)
        return out
    taps = columns.reshape(batch, channels, *window.kernel, *output_size)
    out[...] = 0
    for tap in window.taps((height, width), output_size):
        out[..., *tap.inputs] += taps[:, :, tap.row, tap.column, *tap.outputs]
    return out
