"""Convolution and pooling of sequences (N, C, L): those of images that are one pixel high.

Sizes are ints, or sequences of one, as PyTorch takes them; padding is an int for both ends, or (before, after).
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

from gpucnn.autograd import Operand, Tensor, as_float_tensor, as_operands, as_tensor, check_float, operation
from gpucnn.backend import as_array
from gpucnn.checks import LARGEST, Shape, as_count, as_flag, as_items, is_int
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.functions.conv import conv2d
from gpucnn.functions.pooling import adaptive_avg_pool2d, adaptive_max_pool2d, avg_pool2d, max_pool2d, max_unpool2d
from gpucnn.functions.shape import expand_dims, squeeze
from gpucnn.geometry import Window, as_groups, conv1d_shape, pool1d_shape
from gpucnn.text import shape_text, value_text

Size: TypeAlias = int | Sequence[int]
"""An int, also as the only one of a sequence."""

Ends: TypeAlias = int | str | Sequence[int]
"""Padding of both ends: an int, (before, after), "same" or "valid"."""


@operation
def conv1d(
    x: Operand,
    weight: Operand,
    bias: Operand | None = None,
    stride: Size = 1,
    padding: Ends = 0,
    dilation: Size = 1,
    groups: int = 1,
) -> Tensor:
    """Slide each filter along the sequences and add up the products: (N, O, OL). `conv2d` in one dimension.

    - `x`: sequences (N, C, L). `weight`: filters (O, C / groups, K). `bias`: (O,) or None.
    - `padding`: zeros at both ends, an int, (before, after), "same" or "valid".

    OL = floor((L + 2 * padding - dilation * (K - 1) - 1) / stride) + 1. Raises ShapeError where the shapes do not go
    together, ArgumentError for arguments out of range.
    """
    inputs = as_operands(x, weight) if bias is None else as_operands(x, weight, bias)
    x, weight = inputs[:2]
    if weight.ndim != 3 or 0 in weight.shape:
        raise ShapeError(f"conv1d: expected weight (O, C / groups, K), no size 0, got {shape_text(weight.shape)}")
    window = sequence_window("conv1d", weight.shape[2], stride, padding, dilation)
    groups = as_groups("conv1d", groups, weight.shape[0])
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
    kernel_size: Size,
    stride: Size | None = None,
    padding: Ends = 0,
    dilation: Size = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """The maximum of every window of sequences (N, C, L): (N, C, OL). `max_pool2d` in one dimension.

    With `return_indices` it gives (maxima, where in the sequence they were); see `max_unpool1d`. Raises ShapeError for input
    that does not fit, ArgumentError for arguments out of range.
    """
    x = as_tensor(x)
    window = pool1d_window("max_pool1d", kernel_size, stride, padding, dilation, ceil_mode)
    pool1d_shape("max_pool1d", x.shape, window)
    check_float("max_pool1d", x)
    options = (window.kernel, window.stride, window.padding, window.dilation, window.ceil_mode, return_indices)
    return _as_sequences(max_pool2d(expand_dims(x, 2), *options))


@operation
def max_unpool1d(
    x: Operand,
    indices: Operand,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Ends = 0,
    output_size: Size | None = None,
) -> Tensor:
    """Put the maxima (N, C, L) back where they were, zeros elsewhere: (N, C, OL). `max_unpool2d` in one dimension.

    - `indices`: what `max_pool1d(..., return_indices=True)` gave with the same window.
    - `output_size`: OL, alone or as the last of a shape, if not the smallest that the pooling could have come from.

    Errors are those of `max_unpool2d`.
    """
    x = as_float_tensor("max_unpool1d", x)
    window = pool1d_window("max_unpool1d", kernel_size, stride, padding, 1, False)
    places = indices if isinstance(indices, Tensor) else Tensor(as_array(indices))
    if x.ndim != 3 or places.shape != x.shape:
        raise ShapeError(
            f"max_unpool1d: expected maxima (N, C, L) and indices of their shape, got {shape_text(x.shape)} and "
            f"{shape_text(places.shape)}"
        )
    size = None
    if output_size is not None:
        size = (1, as_count((as_items(output_size) or (output_size,))[-1], "max_unpool1d: output_size"))
    images = max_unpool2d(expand_dims(x, 2), expand_dims(places, 2), window.kernel, window.stride, window.padding, size)
    return squeeze(images, 2)


@operation
def avg_pool1d(
    x: Operand,
    kernel_size: Size,
    stride: Size | None = None,
    padding: Ends = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """The mean of every window of sequences (N, C, L): (N, C, OL). `avg_pool2d` in one dimension.

    Raises ShapeError for input that does not fit, ArgumentError for arguments out of range.
    """
    x = as_tensor(x)
    window = pool1d_window("avg_pool1d", kernel_size, stride, padding, 1, ceil_mode)
    pool1d_shape("avg_pool1d", x.shape, window)
    check_float("avg_pool1d", x)
    options = (window.kernel, window.stride, window.padding, window.ceil_mode, count_include_pad)
    return squeeze(avg_pool2d(expand_dims(x, 2), *options), 2)


@operation
def adaptive_avg_pool1d(x: Operand, output_size: Size | None) -> Tensor:
    """The means of sequences (N, C, L) over `output_size` cells that cover them evenly. `adaptive_avg_pool2d` in one dimension.

    None keeps the length. Raises ShapeError for input that is not sequences, or empty, ArgumentError for sizes below 1.
    """
    x = as_tensor(x)
    size = adaptive_length("adaptive_avg_pool1d", output_size)
    adaptive1d_shape("adaptive_avg_pool1d", x.shape, size)
    check_float("adaptive_avg_pool1d", x)
    return squeeze(adaptive_avg_pool2d(expand_dims(x, 2), (1, size)), 2)


@operation
def adaptive_max_pool1d(x: Operand, output_size: Size | None, return_indices: bool = False) -> Any:
    """The maxima of sequences (N, C, L) over the cells of `adaptive_avg_pool1d`. `adaptive_max_pool2d` in one dimension."""
    x = as_tensor(x)
    size = adaptive_length("adaptive_max_pool1d", output_size)
    adaptive1d_shape("adaptive_max_pool1d", x.shape, size)
    check_float("adaptive_max_pool1d", x)
    return _as_sequences(adaptive_max_pool2d(expand_dims(x, 2), (1, size), return_indices))


def sequence_window(owner: str, kernel_size: Size, stride: Size, padding: Ends, dilation: Size) -> Window:
    """A window one row high. ArgumentError, which names `owner`, for arguments that are not sizes."""
    kernel, step, spacing = (
        as_count(_single(value), f"{owner}: {name}")
        for name, value in (("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation))
    )
    window = Window.of((1, kernel), (1, step), 0, (1, spacing))
    if isinstance(padding, str) and padding in ("same", "valid"):
        if padding == "same" and step != 1:
            raise ArgumentError(f'{owner}: padding "same" needs stride 1, got {stride}; give the padding in numbers')
        return Window.of(window.kernel, window.stride, padding, window.dilation)
    items = as_items(padding)
    ends: Any = (padding, padding) if items is None else items * 2 if len(items) == 1 else items
    if len(ends) != 2 or any(not is_int(end) or not 0 <= end < LARGEST for end in ends):
        raise ArgumentError(
            f'{owner}: padding must be "same", "valid", an int >= 0 or a (before, after) pair of them, got {value_text(padding)}'
        )
    return window._replace(padding=((0, 0), (int(ends[0]), int(ends[1]))))


def pool1d_window(
    owner: str, kernel_size: Size, stride: Size | None, padding: Ends, dilation: Size, ceil_mode: bool
) -> Window:
    """A pooling window one row high. ArgumentError, which names `owner`, for arguments out of range."""
    window = sequence_window(owner, kernel_size, kernel_size if stride is None else stride, padding, dilation)
    if 2 * max(window.padding[1]) > window.kernel[1]:
        raise ArgumentError(
            f"{owner}: padding must be at most half of kernel_size, got padding {value_text(padding)} for kernel_size {value_text(kernel_size)}: "
            f"some windows would see no sequence at all"
        )
    return window._replace(ceil_mode=as_flag(ceil_mode, f"{owner}: ceil_mode"))


def adaptive_length(owner: str, output_size: Size | None) -> int | None:
    """`output_size` as an int, None where the length is kept. ArgumentError, which names `owner`, if it is not a size."""
    size = _single(output_size)
    return None if size is None else as_count(size, f"{owner}: output_size")


def adaptive1d_shape(owner: str, shape: Shape, size: int | None) -> Shape:
    """What adaptive pooling to `size` makes of sequences of `shape`; ShapeError, which names `owner`, for no sequences."""
    if len(shape) != 3 or shape[2] == 0:
        raise ShapeError(f"{owner}: expected sequences (N, C, L), at least 1 long, got {shape_text(shape)}")
    return (*shape[:2], shape[2] if size is None else size)


def _single(value: Any) -> Any:
    """The one item of a sequence or array of one, and all else as it is."""
    items = as_items(value)
    return items[0] if items is not None and len(items) == 1 else value


def _as_sequences(images: Any) -> Any:
    """Images of one row as sequences: a tensor, or a pair of them."""
    return tuple(squeeze(one, 2) for one in images) if isinstance(images, tuple) else squeeze(images, 2)
