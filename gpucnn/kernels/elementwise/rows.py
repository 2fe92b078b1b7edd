"""From the layout of a product on a GPU to that of images, with bias and ReLU on the way, and back.

There a convolution's product has *rows*, channel by channel: (C, N * P), for N images of P positions. Layers take and give
*images*, image by image: (N, C, P).
"""

from gpucnn.backend import Array, xp_of
from gpucnn.kernels.elementwise import relu_gradient
from gpucnn.kernels.elementwise.cuda import BIAS_RELU, BIAS_RELU_GRADIENT
from gpucnn.kernels.launch import accepts, contiguous, launch


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
            contiguous(bias),
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
        images = (contiguous(gradient), contiguous(output))
        launch(BIAS_RELU_GRADIENT, rows.size, *images, rows, rows.size, channels, positions, *strides)
        return rows
    if output is not None:
        gradient = relu_gradient(gradient, output)
    return gradient.reshape(batch, channels, positions)
