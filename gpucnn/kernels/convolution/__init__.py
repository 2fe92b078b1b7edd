"""Convolution and its gradients. `plain` is the text to read; the other ways find the same, faster."""

from gpucnn.backend import Array
from gpucnn.checks import public_names as _public_names
from gpucnn.kernels.convolution import compiled, cuda, depthwise, implicit, numpy_way, plain, tensor_cores
from gpucnn.kernels.convolution.plain import Convolution, Gradients
from gpucnn.kernels.ways import Suits, Way, choose

CONV2D = {
    Way.DEPTHWISE: depthwise.conv2d,
    Way.TENSOR_CORES: tensor_cores.conv2d,
    Way.IMPLICIT: implicit.conv2d,
    Way.CUDA: cuda.conv2d,
    Way.COMPILED: compiled.conv2d,
    Way.NUMPY: numpy_way.conv2d,
    Way.PLAIN: plain.conv2d,
}
GRADIENTS = {
    Way.DEPTHWISE: depthwise.conv2d_gradients,
    Way.TENSOR_CORES: tensor_cores.conv2d_gradients,
    Way.IMPLICIT: implicit.conv2d_gradients,
    Way.CUDA: cuda.conv2d_gradients,
    Way.COMPILED: compiled.conv2d_gradients,
    Way.NUMPY: numpy_way.conv2d_gradients,
    Way.PLAIN: plain.conv2d_gradients,
}
SUITS: Suits = {
    Way.DEPTHWISE: depthwise.suits,
    Way.TENSOR_CORES: tensor_cores.suits,
    Way.IMPLICIT: implicit.suits,
    Way.COMPILED: compiled.suits,
}

__all__ = ["Convolution", "Gradients", "conv2d", "conv2d_gradients"]


def conv2d(task: Convolution, images: Array, weight: Array, bias: Array | None) -> Array:
    """Cross-correlate images (N, C, H, W) with weight (O, C / groups, KH, KW) and add bias (O,): (N, O, OH, OW)."""
    way = _way(task, images, weight, bias)
    return CONV2D[way](task, images, weight, bias)


def conv2d_gradients(
    task: Convolution, gradient: Array, images: Array | None, weight: Array, output: Array | None, found: Gradients
) -> None:
    """Fill the gradients that are `found` from `gradient`, that of the output.

    `images` are only looked at for the gradient of the weight, and `output` where the convolution is one with ReLU.
    """
    way = _way(task, gradient, images, weight)
    GRADIENTS[way](task, gradient, images, weight, output, found)


def _way(task: Convolution, *arrays: Array | None) -> Way:
    """How to compute on these arrays; without a pixel there is nothing that the others would do faster."""
    return Way.PLAIN if 0 in task.image_shape else choose(CONV2D, *arrays, task=task, suits=SUITS)


__all__ = _public_names(globals())


def __dir__() -> list[str]:
    return __all__
