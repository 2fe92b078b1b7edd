"""Max and average pooling of images (N, C, H, W), and their gradients.

Of maxima padding is minus infinity and never wins; the first maximum of a window wins a tie; a NaN in a window wins it.
"""

from gpucnn.backend import Array
from gpucnn.checks import public_names as _public_names
from gpucnn.kernels.pooling import compiled, cuda, numpy_way, plain
from gpucnn.kernels.pooling.plain import Pooling as Pooling
from gpucnn.kernels.pooling.plain import counts as counts
from gpucnn.kernels.ways import Way, choose

MAX_POOL = {
    Way.CUDA: cuda.max_pool,
    Way.COMPILED: compiled.max_pool,
    Way.NUMPY: numpy_way.max_pool,
    Way.PLAIN: plain.max_pool,
}
MAX_POOL_GRADIENT = {
    Way.CUDA: cuda.max_pool_gradient,
    Way.COMPILED: compiled.max_pool_gradient,
    Way.NUMPY: numpy_way.max_pool_gradient,
    Way.PLAIN: plain.max_pool_gradient,
}
AVG_POOL = {Way.CUDA: cuda.avg_pool, Way.PLAIN: plain.avg_pool}
AVG_POOL_GRADIENT = {Way.CUDA: cuda.avg_pool_gradient, Way.PLAIN: plain.avg_pool_gradient}


def max_pool(task: Pooling, images: Array, with_argmax: bool) -> tuple[Array, Array | None]:
    """The maximum of every window: images (N, C, H, W) of a float dtype to (N, C, OH, OW), of that dtype.

    Beside it where each one was: int32 indices (N, C, OH, OW) into the (H, W) plane, -1 for a window that lies wholly
    in padding or gaps. Without `with_argmax` nobody looks at them: a way may give None, or leave out the -1.
    """
    way = Way.PLAIN if 0 in task.image_shape else choose(MAX_POOL, images)
    return MAX_POOL[way](task, images, with_argmax)


def max_pool_gradient(task: Pooling, gradient: Array, argmax: Array) -> Array:
    """The gradient of the images (N, C, H, W), from that of the maxima (N, C, OH, OW): it goes to what has won.

    The result is the same every time, overlapping windows included: nothing is added up in an order left to chance.
    """
    way = Way.PLAIN if 0 in task.image_shape else choose(MAX_POOL_GRADIENT, gradient)
    return MAX_POOL_GRADIENT[way](task, gradient, argmax)


def avg_pool(task: Pooling, images: Array) -> Array:
    """The mean of every window: images (N, C, H, W) of a float dtype to (N, C, OH, OW), of that dtype."""
    return AVG_POOL[choose(AVG_POOL, images)](task, images)


def avg_pool_gradient(task: Pooling, gradient: Array) -> Array:
    """The gradient of the images (N, C, H, W), from that of the means (N, C, OH, OW)."""
    return AVG_POOL_GRADIENT[choose(AVG_POOL_GRADIENT, gradient)](task, gradient)


__all__ = _public_names(globals())


def __dir__() -> list[str]:
    return __all__
