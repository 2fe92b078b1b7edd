"""Max and average pooling."""

from gpucnn.autograd import Operand, Tensor, as_tensor, check_float, grad_enabled, record
from gpucnn.backend import Array
from gpucnn.checks import IntOrPair
from gpucnn.errors import ArgumentError
from gpucnn.geometry import Window, pool2d_shape
from gpucnn.kernels import avg_pool, max_pool


def max_pool2d(
    x: Operand,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    dilation: IntOrPair = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """The maximum of every window of images (N, C, H, W): (N, C, OH, OW).

    - `kernel_size`, `stride` (by default `kernel_size`), `padding`, `dilation`: an int or (height, width).
    - `ceil_mode`: round the output size up, so that the last columns and rows are not dropped.

    Padding is minus infinity and never wins, the first maximum wins a tie, a NaN wins its window; the gradient goes to
    the winner alone. Raises ShapeError if the window does not fit, ArgumentError for padding of more than half a kernel.
    Source: chapter 5, "Max Pooling" and "Pooling Gradient".
    """
    x = as_tensor(x)
    window = pooling_window("max_pool2d", kernel_size, stride, padding, dilation, ceil_mode)
    _check_images("max_pool2d", x, window)
    if not (x.requires_grad and grad_enabled()):
        return Tensor(max_pool.max_pool(x.data, window))
    output, argmax = max_pool.max_pool_with_argmax(x.data, window)
    shape = x.shape
    return record(
        "max_pool2d", output, (x,), lambda gradient: (max_pool.max_pool_gradient(gradient, argmax, shape, window),)
    )


def avg_pool2d(
    x: Operand,
    kernel_size: IntOrPair,
    stride: IntOrPair | None = None,
    padding: IntOrPair = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of every window of images (N, C, H, W): (N, C, OH, OW).

    Arguments and errors are those of `max_pool2d`. Padding counts as zeros; with `count_include_pad=False` the mean is
    over the elements of the image alone. The gradient is shared out evenly. Source: chapter 5, "Average Pooling".
    """
    x = as_tensor(x)
    window = pooling_window("avg_pool2d", kernel_size, stride, padding, 1, ceil_mode)
    _check_images("avg_pool2d", x, window)
    shape = x.shape

    def backward(gradient: Array) -> tuple[Array]:
        return (avg_pool.avg_pool_gradient(gradient, shape, window, count_include_pad),)

    return record("avg_pool2d", avg_pool.avg_pool(x.data, window, count_include_pad), (x,), backward)


def pooling_window(
    owner: str,
    kernel_size: IntOrPair,
    stride: IntOrPair | None,
    padding: IntOrPair,
    dilation: IntOrPair,
    ceil_mode: bool,
) -> Window:
    """The window of a pooling operation. ArgumentError, which names `owner`, for padding of more than half a kernel."""
    window = Window.of(kernel_size, kernel_size if stride is None else stride, padding, dilation, ceil_mode)
    for axis in (0, 1):
        if 2 * window.padding[axis][0] > window.kernel[axis]:
            raise ArgumentError(
                f"{owner}: padding must be at most half of kernel_size, got padding {padding} for a kernel of "
                f"{window.kernel[0]}x{window.kernel[1]}: some windows would see no image at all"
            )
    return window


def _check_images(owner: str, x: Tensor, window: Window) -> None:
    pool2d_shape(owner, x.shape, window)
    check_float(owner, x)
