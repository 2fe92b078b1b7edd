"""Convolution and its gradients. `plain` is the text to read; the other ways find the same, faster."""

from gpucnn.backend import Array, xp_of
from gpucnn.checks import public_names as _public_names
from gpucnn.kernels.convolution import (
    compiled,
    cuda,
    depthwise,
    few_channels,
    implicit,
    numpy_way,
    plain,
    pooled,
    tensor_cores,
)
from gpucnn.kernels.convolution.plain import Convolution, Gradients
from gpucnn.kernels.convolution.pooled import PooledConvolution
from gpucnn.kernels.kernel import BF16
from gpucnn.kernels.pooling import max_pool
from gpucnn.kernels.rounding import narrowed, round_to, widened
from gpucnn.kernels.ways import Suits, Way, choose

CONV2D = {
    Way.DEPTHWISE: depthwise.conv2d,
    Way.FEW_CHANNELS: few_channels.conv2d,
    Way.TENSOR_CORES: tensor_cores.conv2d,
    Way.IMPLICIT: implicit.conv2d,
    Way.CUDA: cuda.conv2d,
    Way.COMPILED: compiled.conv2d,
    Way.NUMPY: numpy_way.conv2d,
    Way.PLAIN: plain.conv2d,
}
GRADIENTS = {
    Way.DEPTHWISE: depthwise.conv2d_gradients,
    Way.FEW_CHANNELS: few_channels.conv2d_gradients,
    Way.TENSOR_CORES: tensor_cores.conv2d_gradients,
    Way.IMPLICIT: implicit.conv2d_gradients,
    Way.CUDA: cuda.conv2d_gradients,
    Way.COMPILED: compiled.conv2d_gradients,
    Way.NUMPY: numpy_way.conv2d_gradients,
    Way.PLAIN: plain.conv2d_gradients,
}
SUITS: Suits = {
    Way.DEPTHWISE: depthwise.suits,
    Way.FEW_CHANNELS: few_channels.suits,
    Way.TENSOR_CORES: tensor_cores.suits,
    Way.IMPLICIT: implicit.suits,
    Way.COMPILED: compiled.suits,
}

BF16_WAYS = frozenset({Way.TENSOR_CORES})
"""Those whose kernels take images and gradients of bfloat16 in two bytes, and round the weights. The others get float32."""

__all__ = ["Convolution", "Gradients", "PooledConvolution", "conv2d", "conv2d_gradients", "conv2d_max_pool", "pools"]


def conv2d(task: Convolution, images: Array, weight: Array, bias: Array | None) -> Array:
    """Cross-correlate images (N, C, H, W) with weight (O, C / groups, KH, KW) and add bias (O,): (N, O, OH, OW).

    On a GPU images may be of bfloat16 in two bytes, see `kernel.BF16`, and then the output is, too. Weight and bias are float32
    beside it; the weight is rounded before it is multiplied.
    """
    is_bf16 = images.dtype == BF16
    way = _way(task, None if is_bf16 else images, weight, bias)
    if is_bf16 and way not in BF16_WAYS:
        return narrowed(CONV2D[way](task, widened(images), round_to("bf16", weight), bias))
    return CONV2D[way](task, images, weight, bias)


def conv2d_gradients(
    task: Convolution, gradient: Array, images: Array | None, weight: Array, output: Array | None, found: Gradients
) -> None:
    """Fill the gradients that are `found` from `gradient`, that of the output.

    `images` are only looked at for the gradient of the weight, and `output` where the convolution is one with ReLU. Where
    `conv2d` takes bfloat16, so are these, with the gradient and that of the images; what is found for weight and bias is float32.
    """
    is_bf16 = gradient.dtype == BF16
    way = _way(task, weight) if is_bf16 else _way(task, gradient, images, weight)
    if is_bf16 and way not in BF16_WAYS:
        _gradients_in_float32(way, task, gradient, images, weight, output, found)
    else:
        GRADIENTS[way](task, gradient, images, weight, output, found)


def _gradients_in_float32(
    way: Way, task: Convolution, gradient: Array, images: Array | None, weight: Array, output: Array | None,
    found: Gradients,
) -> None:  # fmt: skip
    """`conv2d_gradients` of arrays of bfloat16, in a way that does not take them."""
    gradient, images, output = (None if one is None else widened(one) for one in (gradient, images, output))
    wide = found
    if found.images is not None:
        wide = found._replace(images=xp_of(gradient).empty(found.images.shape, gradient.dtype))
    GRADIENTS[way](task, gradient, images, round_to("bf16", weight), output, wide)
    if found.images is not None:
        found.images[...] = narrowed(wide.images)


def _way(task: Convolution, *arrays: Array | None) -> Way:
    """How to compute on these arrays; without a pixel there is nothing that the others would do faster."""
    return Way.PLAIN if 0 in task.image_shape else choose(CONV2D, *arrays, task=task, suits=SUITS)


def conv2d_max_pool(
    task: PooledConvolution, images: Array, weight: Array, bias: Array | None, with_argmax: bool
) -> tuple[Array, Array | None]:
    """`conv2d` and `max_pool` of its output: (N, O, PH, PW), and where the maxima were, as `max_pool` says.

    With ReLU that may be -1 for a maximum of 0, through which no gradient passes.
    """
    return CONV2D_MAX_POOL[_pooled_way(task, images, weight)](task, images, weight, bias, with_argmax)


def pools(task: PooledConvolution, images: Array, weight: Array) -> bool:
    """Whether `conv2d_max_pool` does both at once on these arrays."""
    return _pooled_way(task, images, weight) is not Way.PLAIN


def _one_after_the_other(
    task: PooledConvolution, images: Array, weight: Array, bias: Array | None, with_argmax: bool
) -> tuple[Array, Array | None]:
    output = conv2d(task.convolution, images, weight, bias)
    maxima, argmax = max_pool(task.pooling, output, with_argmax)
    if argmax is not None and task.convolution.relu:
        argmax[maxima == 0] = -1
    return maxima, argmax


CONV2D_MAX_POOL = {Way.FUSED: pooled.conv2d_max_pool, Way.PLAIN: _one_after_the_other}
SUITS_POOLED: Suits = {Way.FUSED: pooled.suits}


def _pooled_way(task: PooledConvolution, *arrays: Array) -> Way:
    return (
        Way.PLAIN
        if 0 in task.convolution.image_shape
        else choose(CONV2D_MAX_POOL, *arrays, task=task, suits=SUITS_POOLED)
    )


__all__ = _public_names(globals())


def __dir__() -> list[str]:
    return __all__
