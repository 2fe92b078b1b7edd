"""On a GPU: one kernel for each operation, and for the gradient of max pooling one without and one with overlaps."""

from pathlib import Path

from gpucnn.backend import Array, xp_of
from gpucnn.kernels.kernel import WINDOW, Kernel
from gpucnn.kernels.launch import launch
from gpucnn.kernels.pooling.plain import Pooling

MAXIMA, MEANS = Path(__file__).with_name("max_pool.cu"), Path(__file__).with_name("avg_pool.cu")
MAX_POOL = Kernel(MAXIMA, "max_pool", f"const T* images, T* output, int* argmax = null, I size, {WINDOW}", bf16=True)
MAX_POOL_SCATTER = Kernel(
    MAXIMA,
    "max_pool_scatter",
    "const T* gradient, const int* argmax, T* images, I size, Divisor cell_rows, Divisor cell_columns, "
    "int height, int width, int stride_height, int stride_width, int padding_top, int padding_left, "
    "int output_height, int output_width",
    bf16=True,
)
MAX_POOL_GATHER = Kernel(
    MAXIMA, "max_pool_gather", f"const T* gradient, const int* argmax, T* images, I size, {WINDOW}", bf16=True
)
_COUNTED = "I size, int first_row, int end_row, int first_column, int end_column"
AVG_POOL = Kernel(MEANS, "avg_pool", f"const T* images, T* output, {_COUNTED}, {WINDOW}", bf16=True)
AVG_POOL_GRADIENT = Kernel(MEANS, "avg_pool_gradient", f"const T* gradient, T* images, {_COUNTED}, {WINDOW}", bf16=True)


def max_pool(task: Pooling, images: Array, with_argmax: bool) -> tuple[Array, Array | None]:
    """A thread takes a window."""
    xp, shape = xp_of(images), task.output_shape
    output, argmax = xp.empty(shape, images.dtype), xp.empty(shape, xp.int32) if with_argmax else None
    launch(MAX_POOL, output.size, xp.ascontiguousarray(images), output, argmax, output.size, *_sizes(task))
    return output, argmax


def max_pool_gradient(task: Pooling, gradient: Array, argmax: Array) -> Array:
    """A thread takes an element of the images, or where windows do not overlap all of a window's elements."""
    xp, window = xp_of(gradient, argmax), task.window
    gradient, images = xp.ascontiguousarray(gradient), xp.empty(task.image_shape, gradient.dtype)
    if window.overlaps:
        launch(MAX_POOL_GATHER, images.size, gradient, argmax, images, images.size, *_sizes(task))
        return images
    padding = (window.padding[0][0], window.padding[1][0])
    cells = [-(-(task.image_size[axis] + padding[axis]) // window.stride[axis]) for axis in (0, 1)]
    threads = task.image_shape[0] * task.image_shape[1] * cells[0] * cells[1]
    sizes = (*cells, *task.image_size, *window.stride, *padding, *gradient.shape[2:])
    launch(MAX_POOL_SCATTER, threads, gradient, argmax, images, threads, *sizes)
    return images


def avg_pool(task: Pooling, images: Array) -> Array:
    """A thread takes a window."""
    xp = xp_of(images)
    output = xp.empty(task.output_shape, images.dtype)
    sizes = (output.size, *_counted(task), *_sizes(task))
    launch(AVG_POOL, output.size, xp.ascontiguousarray(images), output, *sizes)
    return output


def avg_pool_gradient(task: Pooling, gradient: Array) -> Array:
    """A thread takes an element of the images."""
    xp = xp_of(gradient)
    images = xp.empty(task.image_shape, gradient.dtype)
    sizes = (images.size, *_counted(task), *_sizes(task))
    launch(AVG_POOL_GRADIENT, images.size, xp.ascontiguousarray(gradient), images, *sizes)
    return images


def _sizes(task: Pooling) -> tuple[int, ...]:
    output_shape = task.output_shape
    return task.window.sizes(task.image_size, (output_shape[2], output_shape[3]))


def _counted(task: Pooling) -> list[int]:
    """The first row that counts and the end of those that do, then the same of columns."""
    axes = zip(task.image_size, task.window.padding, strict=True)
    by_axis = [(-before, size + after) if task.count_include_pad else (0, size) for size, (before, after) in axes]
    return [bound for bounds in by_axis for bound in bounds]
