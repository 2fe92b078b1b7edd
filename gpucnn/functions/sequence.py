"""Convolution and max pooling of sequences (N, C, L): those of images that are one pixel high."""

from gpucnn.autograd import Operand, Tensor, as_operands, as_tensor, operation
from gpucnn.checks import as_count, as_flag, is_int, shape_text, value_text
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.functions.conv import conv2d
from gpucnn.functions.pooling import max_pool2d
from gpucnn.functions.shape import expand_dims, squeeze
from gpucnn.geometry import Padding, Window, check_groups, conv1d_shape, pool1d_shape


@operation
def conv1d(
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: int = 1,
    padding: int | str = 0,
    dilation: int = 1,
    groups: int = 1,
) -> Tensor:
    """Slide each filter along the sequences and add up the products: (N, O, OL). `conv2d` in one dimension.

    - `x`: sequences (N, C, L). `weight`: filters (O, C / groups, K). `bias`: (O,) or None.
    - `padding`: zeros at both ends, an int, "same" or "valid".

    OL = floor((L + 2 * padding - dilation * (K - 1) - 1) / stride) + 1. Raises ShapeError where the shapes do not go
    together, ArgumentError for arguments out of range.
    """
    inputs = as_operands(x, weight) if bias is None else as_operands(x, weight, bias)
    x, weight = inputs[:2]
    if weight.ndim != 3 or 0 in weight.shape:
        raise ShapeError(f"conv1d: expected weight (O, C / groups, K), no size 0, got {shape_text(weight.shape)}")
    window = sequence_window("conv1d", weight.shape[2], stride, padding, dilation)
    check_groups("conv1d", groups, weight.shape[0])
    conv1d_shape("conv1d", x.shape, weight.shape, window, groups)
    if bias is not None and inputs[2].shape != weight.shape[:1]:
        raise ShapeError(
            f"conv1d: expected bias ({weight.shape[0]},), one per filter, got {shape_text(inputs[2].shape)}"
        )
    offsets = None if bias is None else inputs[2]
    images, filters = expand_dims(x, 2), expand_dims(weight, 2)
    output = conv2d(images, filters, offsets, window.stride, window.padding, window.dilation, groups)
    return squeeze(output, 2)


@operation
def max_pool1d(
    x: Operand,
    kernel_size: int,
    stride: int | None = None,
    padding: int = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """The maximum of every window of sequences (N, C, L): (N, C, OL). `max_pool2d` in one dimension.

    Raises ShapeError for input that does not fit, ArgumentError for arguments out of range.
    """
    x = as_tensor(x)
    window = pool1d_window("max_pool1d", kernel_size, stride, padding, dilation, ceil_mode)
    pool1d_shape("max_pool1d", x.shape, window)
    (_, (before, _)) = window.padding
    images = expand_dims(x, 2)
    maxima = max_pool2d(images, window.kernel, window.stride, (0, before), window.dilation, window.ceil_mode)
    return squeeze(maxima, 2)


def sequence_window(owner: str, kernel_size: int, stride: int, padding: int | str, dilation: int) -> Window:
    """A window one row high. ArgumentError, which names `owner`, for arguments that are no sizes."""
    sizes = [
        as_count(value, f"{owner}: {name}")
        for name, value in (("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation))
    ]
    if not (padding in ("same", "valid") if isinstance(padding, str) else is_int(padding) and padding >= 0):
        raise ArgumentError(f'{owner}: padding must be "same", "valid" or an int >= 0, got {value_text(padding)}')
    if isinstance(padding, str) and padding == "same" and sizes[1] != 1:
        raise ArgumentError(f'{owner}: padding "same" needs stride 1, got {stride}; give the padding in numbers')
    sides: Padding = padding if isinstance(padding, str) else (0, padding)
    return Window.of((1, sizes[0]), (1, sizes[1]), sides, (1, sizes[2]))


def pool1d_window(
    owner: str, kernel_size: int, stride: int | None, padding: int, dilation: int, ceil_mode: bool
) -> Window:
    """A pooling window one row high. ArgumentError, which names `owner`, for arguments out of range."""
    if not is_int(padding) or padding < 0:
        raise ArgumentError(f"{owner}: padding must be an int >= 0, got {value_text(padding)}")
    step = kernel_size if stride is None else stride
    window = sequence_window(owner, kernel_size, step, padding, dilation)
    if 2 * padding > kernel_size:
        raise ArgumentError(
            f"{owner}: padding must be at most half of kernel_size, got padding {padding} for kernel_size {kernel_size}: "
            f"some windows would see no sequence at all"
        )
    return window._replace(ceil_mode=as_flag(ceil_mode, f"{owner}: ceil_mode"))
