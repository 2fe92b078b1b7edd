"""The chapter's own two functions: convolution and max pooling of one plain image, arrays in and out."""

import numpy as np

from gpucnn.autograd import operation
from gpucnn.backend import Array, as_array, xp_of
from gpucnn.errors import ShapeError
from gpucnn.functions.conv import conv2d
from gpucnn.functions.pooling import max_pool2d
from gpucnn.text import shape_text


@operation
def convolve2d(image: Array, kernel: Array, stride: int = 1, padding: int = 0) -> Array:
    """The convolution of an image (H, W) with a kernel (KH, KW): (OH, OW).

    Integers are computed in float64, as in the chapter. Raises ShapeError if either is not two-dimensional or the
    kernel is larger than the padded image. Source: chapter 5, "Convolution Implementation".
    """
    image, kernel = _plain("convolve2d", "image", image), _plain("convolve2d", "kernel", kernel)
    dtype = np.result_type(image.dtype, kernel.dtype)
    image, kernel = image.astype(dtype, copy=False), kernel.astype(dtype, copy=False)
    return conv2d(image[None, None], kernel[None, None], stride=stride, padding=padding).array[0, 0]


@operation
def max_pooling(feature_map: Array, pool_size: int = 2, stride: int = 2) -> Array:
    """The maxima of the windows of a feature map (H, W): (OH, OW).

    Integers are computed in float64, as in the chapter. Raises ShapeError if it is not two-dimensional or smaller than
    the window. Source: chapter 5, "Pooling Implementation".
    """
    image = _plain("max_pooling", "feature_map", feature_map)
    return max_pool2d(image[None, None], pool_size, stride).array[0, 0]


def _plain(owner: str, name: str, image: Array) -> Array:
    """`image` as a float array (H, W)."""
    try:
        xp_of(image)
    except TypeError:
        image = as_array(image, np.dtype(np.float64))
    if image.ndim != 2:
        raise ShapeError(
            f"{owner}: {name} must be a plain (H, W) array, got {shape_text(image.shape)}; "
            f"for batches and channels use functions.conv2d and functions.max_pool2d"
        )
    return image if image.dtype.kind == "f" else image.astype(np.float64)
