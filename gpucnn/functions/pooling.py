"""Max and average pooling, over sliding windows or over a fixed number of cells, and unpooling."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from gpucnn.autograd import Operand, Tensor, as_float_tensor, grad_enabled, operation, record
from gpucnn.autograd.rounding import stored
from gpucnn.backend import Array, as_array, to_device, xp_of
from gpucnn.checks import LARGEST, IntOrPair, Pair, Shape, as_flag, as_items, check_shape, is_int
from gpucnn.errors import ArgumentError, DTypeError, ShapeError
from gpucnn.geometry import Padding, Window, pool2d_shape
from gpucnn.kernels import pooling as kernel
from gpucnn.kernels.pooling import Pooling
from gpucnn.text import shape_text, value_text

MOST_CELLS = 1 << 22
"""Of adaptive pooling, which takes them one by one."""

LARGEST_PLANE = 1 << 31
"""Images have fewer pixels than this, so that indices of maxima are int32."""

AdaptiveSize: TypeAlias = int | Sequence[int | None] | None
"""An int, or (height, width); None keeps the images' own."""


@operation
def max_pool2d(
    x: Operand,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum of every window of images (N, C, H, W): (N, C, OH, OW).

    - `kernel_size`, `stride` (by default `kernel_size`), `dilation`: an int or (height, width). `padding`: the same, or
      ((top, bottom), (left, right)), "same" or "valid", as for `conv2d`; none more than half a kernel.
    - `ceil_mode`: round the output size up, so that the last columns and rows are not dropped.
    - `return_indices`: give (maxima, where they were), the latter an integer tensor of indices into the (H, W) plane,
      -1 for a window in padding and gaps alone; see `max_unpool2d`.

    Padding is minus infinity and never wins, the first maximum wins a tie, a NaN wins its window; the gradient goes to
    the winner alone. Raises ShapeError if the window does not fit, ArgumentError for padding of more than half a kernel.
    Source: chapter 5, "Max Pooling" and "Pooling Gradient".
    """
    window = pooling_window("max_pool2d", kernel_size, stride, padding, dilation, ceil_mode)
    x, task = _pooling("max_pool2d", x, window)
    return_indices = as_flag(return_indices, "max_pool2d: return_indices")
    if x.shape[2] * x.shape[3] >= LARGEST_PLANE:
        raise _uncountable("max_pool2d", x.shape)
    learns = x.requires_grad and grad_enabled()
    held = stored(x)
    output, argmax = kernel.max_pool(task, x.array if held is None else held[0], learns or return_indices)

    def backward(gradient: Array) -> tuple[Array]:
        return (kernel.max_pool_gradient(task, gradient, argmax),)

    maxima = record("max_pool2d", output, (x,), backward, stored=held is not None)
    return (maxima, Tensor(argmax)) if return_indices else maxima


@operation
def max_unpool2d(
    x: Operand,
    indices: Operand,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    output_size: Sequence[int] | None = None,
) -> Tensor:
    """Put the maxima (N, C, H, W) back where they were, zeros elsewhere: (N, C, OH, OW).

    - `indices`: what `max_pool2d(..., return_indices=True)` gave with the same window.
    - `output_size`: (OH, OW), or the whole shape, if not the smallest that the pooling could have come from.

    Where overlapping windows had one winner, its value is put there once. Raises ShapeError where shapes do not go
    together, DTypeError for indices that are no integers, ArgumentError for indices outside of the output; those that are
    on a GPU are not looked at, as that would wait for it.
    Source: Zeiler and Fergus, "Visualizing and understanding convolutional networks", ECCV 2014.
    """
    x = as_float_tensor("max_unpool2d", x)
    places = to_device(indices.array if isinstance(indices, Tensor) else as_array(indices), x.device)
    window = pooling_window("max_unpool2d", kernel_size, stride, padding, 1, False)
    if x.ndim != 4 or places.shape != x.shape:
        raise ShapeError(
            f"max_unpool2d: expected maxima (N, C, H, W) and indices of their shape, got {shape_text(x.shape)} and "
            f"{shape_text(places.shape)}"
        )
    smallest = [
        (x.shape[2 + axis] - 1) * window.stride[axis] + window.kernel[axis] - sum(window.padding[axis])
        for axis in (0, 1)
    ]
    size = tuple(smallest if output_size is None else (as_items(output_size) or ())[-2:])
    if len(size) != 2 or not all(is_int(one) and one < LARGEST for one in size):
        raise ArgumentError(f"max_unpool2d: output_size must be (height, width), got {value_text(output_size)}")
    if min(size) < 1:
        raise ShapeError(
            f"max_unpool2d: maxima {shape_text(x.shape)} would give {size[0]}x{size[1]}; give the output_size of the "
            f"images that were pooled"
        )
    check_shape("max_unpool2d", (*x.shape[:2], *size))
    _check_indices(places, size)
    xp = xp_of(x.array)
    planes = x.shape[0] * x.shape[1]
    rows, columns = xp.arange(planes)[:, None], places.reshape(planes, x.shape[2] * x.shape[3])
    output = xp.zeros((planes, size[0] * size[1]), x.dtype)
    output[rows, columns] = x.array.reshape(columns.shape)
    shape = x.shape

    def backward(gradient: Array) -> tuple[Array]:
        return (gradient.reshape(planes, size[0] * size[1])[rows, columns].reshape(shape),)

    return record("max_unpool2d", output.reshape(*shape[:2], *size), (x,), backward)


@operation
def avg_pool2d(
    x: Operand,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of every window of images (N, C, H, W): (N, C, OH, OW).

    Arguments and errors are those of `max_pool2d`. Padding counts as zeros; with `count_include_pad=False` the mean is
    over the elements of the image alone. With `divisor_override`, an int that is not 0, windows' sums are divided by that.
    The gradient is shared out evenly. Source: chapter 5, "Average Pooling".
    """
    x, task = _pooling("avg_pool2d", x, pooling_window("avg_pool2d", kernel_size, stride, padding, 1, ceil_mode))
    include = as_flag(count_include_pad, "avg_pool2d: count_include_pad")
    if divisor_override is None:
        task = task._replace(count_include_pad=include)
        held = stored(x)
        mean = kernel.avg_pool(task, x.array if held is None else held[0])
        is_stored = held is not None
        return record(
            "avg_pool2d", mean, (x,), lambda gradient: (kernel.avg_pool_gradient(task, gradient),), stored=is_stored
        )
    if not is_int(divisor_override) or divisor_override == 0 or not -LARGEST < divisor_override < LARGEST:
        raise ArgumentError(
            f"avg_pool2d: divisor_override must be an int, and not 0, got {value_text(divisor_override)}"
        )
    scale = kernel.counts(task, xp_of(x.array), x.dtype) / divisor_override
    mean = kernel.avg_pool(task, x.array) * scale
    return record("avg_pool2d", mean, (x,), lambda gradient: (kernel.avg_pool_gradient(task, gradient * scale),))


@operation
def adaptive_avg_pool2d(x: Operand, output_size: AdaptiveSize) -> Tensor:
    """The means of images (N, C, H, W) over `output_size` cells that cover them evenly: (N, C, OH, OW).

    `output_size` is an int or (OH, OW), of which None keeps the images' size. Cell i reaches from floor(i * H / OH) to below
    ceil((i + 1) * H / OH), as in PyTorch; for an output size of 1 it is the whole image ("global average pooling"). Raises
    ShapeError for input that is no image or empty, ArgumentError for sizes below 1. Source: Lin et al., "Network in
    network", ICLR 2014.
    """
    x, output, cells = _adaptive("adaptive_avg_pool2d", x, output_size)
    values, shape = x.array, x.shape
    for place, part in cells():
        output[:, :, *place] = values[:, :, *part].mean(axis=(2, 3))

    def backward(gradient: Array) -> tuple[Array]:
        images = xp_of(gradient).zeros(shape, gradient.dtype)
        for place, (rows, columns) in cells():
            count = (rows.stop - rows.start) * (columns.stop - columns.start)
            images[:, :, rows, columns] += (gradient[:, :, *place] / count)[:, :, None, None]
        return (images,)

    return record("adaptive_avg_pool2d", output, (x,), backward)


@operation
def adaptive_max_pool2d(x: Operand, output_size: AdaptiveSize, return_indices: bool = False) -> Any:
    """The maxima of images (N, C, H, W) over the cells of `adaptive_avg_pool2d`: (N, C, OH, OW).

    The first maximum of a cell gets its gradient; a NaN wins. With `return_indices` it gives (maxima, where they were), as
    `max_pool2d` does. Errors are those of `adaptive_avg_pool2d`.
    """
    x, output, cells = _adaptive("adaptive_max_pool2d", x, output_size)
    return_indices = as_flag(return_indices, "adaptive_max_pool2d: return_indices")
    values, shape = x.array, x.shape
    xp = xp_of(values)
    for place, part in cells():
        output[:, :, *place] = values[:, :, *part].max(axis=(2, 3))

    def winners(part: tuple[slice, slice]) -> Array:
        """The first maximum of a cell, as a number within it, (N, C)."""
        cell = values[:, :, *part]
        # NumPy's argmax is the first maximum, and a NaN before all others.
        return cell.reshape(*shape[:2], cell.shape[2] * cell.shape[3]).argmax(axis=2)

    def backward(gradient: Array) -> tuple[Array]:
        images = xp.zeros(shape, gradient.dtype)
        for place, part in cells():
            cell = images[:, :, *part]
            won = xp.arange(cell.shape[2] * cell.shape[3]) == winners(part)[:, :, None]
            cell += xp.where(won, gradient[:, :, *place][:, :, None], 0).reshape(cell.shape)
        return (images,)

    maxima = record("adaptive_max_pool2d", output, (x,), backward)
    if not return_indices:
        return maxima
    if shape[2] * shape[3] >= LARGEST_PLANE:
        raise _uncountable("adaptive_max_pool2d", shape)
    indices = xp.empty(output.shape, xp.int32)
    for place, (rows, columns) in cells():
        won, width = winners((rows, columns)), columns.stop - columns.start
        indices[:, :, *place] = (rows.start + won // width) * shape[3] + columns.start + won % width
    return maxima, Tensor(indices)


def _cells(image_size: Pair, size: Pair) -> Iterator[Any]:
    """Cells that cover an image evenly, each as (its place in the output, the slices of the image)."""
    rows, columns = (
        [slice(i * full // count, -(-(i + 1) * full // count)) for i in range(count)]
        for full, count in zip(image_size, size, strict=True)
    )
    for i, row in enumerate(rows):
        for j, column in enumerate(columns):
            yield (i, j), (row, column)


def _adaptive(owner: str, x: Operand, output_size: AdaptiveSize) -> tuple[Tensor, Array, Callable[[], Iterator[Any]]]:
    """Images as a tensor, an array for what each cell gives, and the cells, as often as they are asked for."""
    x = as_float_tensor(owner, x)
    size = adaptive_size(owner, output_size)
    shape = adaptive_shape(owner, x.shape, size)
    check_shape(owner, tuple(max(size, 1) for size in shape))
    if shape[2] * shape[3] > MOST_CELLS:
        raise ShapeError(
            f"{owner}: {shape[2]}x{shape[3]} cells are more than {MOST_CELLS:,}; use F.interpolate for larger images"
        )
    output = xp_of(x.array).empty(shape, x.dtype)
    return x, output, partial(_cells, (x.shape[2], x.shape[3]), (shape[2], shape[3]))


def adaptive_size(owner: str, output_size: AdaptiveSize) -> tuple[int | None, int | None]:
    """`output_size` as (height, width), None where the images' own is kept. ArgumentError, which names `owner`, for other values."""
    items = as_items(output_size)
    pair: Any = (output_size, output_size) if items is None else items
    if len(pair) != 2 or any(one is not None and (not is_int(one) or not 1 <= one < LARGEST) for one in pair):
        raise ArgumentError(
            f"{owner}: output_size must be an int >= 1 or a (height, width) pair of them, got {value_text(output_size)}; "
            f"None keeps the images' size"
        )
    rows, columns = (None if one is None else int(one) for one in pair)
    return rows, columns


def adaptive_shape(owner: str, shape: Shape, size: tuple[int | None, int | None]) -> Shape:
    """What adaptive pooling to `size` makes of images of `shape`; ShapeError, which names `owner`, for no images."""
    if len(shape) != 4 or 0 in shape[2:]:
        raise ShapeError(f"{owner}: expected images (N, C, H, W), at least 1x1, got {shape_text(shape)}")
    return (*shape[:2], *(own if new is None else new for own, new in zip(shape[2:], size, strict=True)))


def pooling_window(
    owner: str, kernel_size: IntOrPair, stride: IntOrPair | None, padding: Padding, dilation: IntOrPair, ceil_mode: bool
) -> Window:
    """The window of a pooling operation. ArgumentError, which names `owner`, for padding of more than half a kernel."""
    window = Window.of(kernel_size, kernel_size if stride is None else stride, padding, dilation, ceil_mode)
    if any(2 * max(window.padding[axis]) > window.kernel[axis] for axis in (0, 1)):
        raise ArgumentError(
            f"{owner}: padding must be at most half of kernel_size, got padding {value_text(padding)} for a kernel of "
            f"{window.kernel[0]}x{window.kernel[1]}: some windows would see no image at all"
        )
    return window


def _uncountable(owner: str, shape: Shape) -> ShapeError:
    return ShapeError(
        f"{owner}: images must have fewer than 2^31 pixels, which its indices count, got {shape_text(shape)}; "
        f"cut them into tiles"
    )


def _check_indices(indices: Array, size: Sequence[int]) -> None:
    if indices.dtype.kind not in "iu":
        raise DTypeError(f"max_unpool2d: indices must be integers, got {indices.dtype}; take those of max_pool2d")
    if xp_of(indices) is np and indices.size and (indices.min() < 0 or indices.max() >= size[0] * size[1]):
        raise ArgumentError(
            f"max_unpool2d: indices must be from 0 to {size[0] * size[1] - 1} for an output of {size[0]}x{size[1]}, got "
            f"{indices.min()} to {indices.max()}; give the output_size of the images that were pooled"
        )


def _pooling(owner: str, x: Operand, window: Window) -> tuple[Tensor, Pooling]:
    """Images as a tensor, and how to pool them; ShapeError or DTypeError, which name `owner`, for what cannot be pooled."""
    x = as_float_tensor(owner, x)
    pool2d_shape(owner, x.shape, window)
    return x, Pooling(x.shape, window.within((x.shape[2], x.shape[3])))
