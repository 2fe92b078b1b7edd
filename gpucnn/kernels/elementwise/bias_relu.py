"""Where callers of other operations still look for these; it goes with them."""

from gpucnn.kernels.elementwise import add_bias, relu, relu_gradient
from gpucnn.kernels.elementwise import add_bias as add_channel_bias
from gpucnn.kernels.elementwise.numpy_way import rectify
from gpucnn.kernels.elementwise.rows import images_to_rows, rows_to_images

__all__ = [
    "add_bias", "add_channel_bias", "images_to_rows", "rectify", "relu", "relu_gradient", "rows_to_images",
]  # fmt: skip
