"""Max pooling and its gradient.

Padding is minus infinity and never wins; the first maximum of a window wins a tie; a NaN in a window wins it.
"""

from gpucnn.backend import Array, xp_of
from gpucnn.checks import Shape
from gpucnn.geometry import Tap, Window


def max_pool(images: Array, window: Window) -> Array:
    """The maximum of every window: images (N, C, H, W) of a float dtype to (N, C, OH, OW)."""
    xp = xp_of(images)
    image_size = images.shape[2:4]
    output_size = window.output_size(image_size, "max_pool")
    output = xp.full((*images.shape[:2], *output_size), -xp.inf, images.dtype)
    for tap in window.taps(image_size, output_size):
        target = output[..., *tap.outputs]
        xp.maximum(target, images[..., *tap.inputs], out=target)
    return output


def max_pool_with_argmax(images: Array, window: Window) -> tuple[Array, Array]:
    """`max_pool`, and where each maximum was: int32 indices (N, C, OH, OW) into the flat (H, W) plane.

    A window that lies wholly in padding or gaps has the index -1.
    """
    xp = xp_of(images)
    image_size = images.shape[2:4]
    output = max_pool(images, window)
    argmax = xp.full(output.shape, -1, xp.int32)
    # From the last tap to the first, so that the first one that holds the maximum is the one that stays.
    for tap in reversed(list(window.taps(image_size, output.shape[2:4]))):
        values = images[..., *tap.inputs]
        wins = (values == output[..., *tap.outputs]) | (values != values)
        xp.copyto(argmax[..., *tap.outputs], _plane_indices(xp, tap, image_size[1]), where=wins)
    return output, argmax


def max_pool_gradient(gradient: Array, argmax: Array, image_shape: Shape, window: Window) -> Array:
    """The gradient of the images (N, C, H, W): each window's gradient goes to the position that won it.

    A gather over taps, with no scattered addition: the result is the same every time, overlapping windows included.
    """
    xp = xp_of(gradient, argmax)
    images = xp.zeros(image_shape, gradient.dtype)
    for tap in window.taps((image_shape[2], image_shape[3]), gradient.shape[2:4]):
        won = argmax[..., *tap.outputs] == _plane_indices(xp, tap, image_shape[3])
        images[..., *tap.inputs] += gradient[..., *tap.outputs] * won
    return images


def _plane_indices(xp: Array, tap: Tap, image_width: int) -> Array:
    """The flat (H, W) index of the element that a tap reads, for each of its output positions."""
    rows, columns = (xp.arange(axis.start, axis.stop, axis.step, dtype=xp.int32) for axis in tap.inputs)
    return rows[:, None] * image_width + columns
