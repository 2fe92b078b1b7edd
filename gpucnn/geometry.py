"""Window arithmetic on plain integers: how convolution and pooling windows lie on an image.

A `Window` slides over the last two axes of an image. Each of its `kernel` positions is a *tap*; one tap, looked at
over all output positions at once, is a strided slice of the image. Every loop over windows in `kernels` is a loop over
taps, so padding needs no padded copy: a tap is just shorter where it would fall outside.

Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias, cast

from gpucnn.checks import IntOrPair, Pair, Shape, as_flag, as_items, as_pair, check_shape, is_int
from gpucnn.errors import ArgumentError, ShapeError
from gpucnn.text import shape_text, value_text

Padding: TypeAlias = IntOrPair | str | Sequence[Pair]
"""An int, (height, width), ((top, bottom), (left, right)), "same" or "valid"."""


class Tap(NamedTuple):
    """One kernel position over all output positions at once."""

    row: int
    column: int
    outputs: tuple[slice, slice]
    """The output positions (rows, columns) at which this tap lies inside the image."""
    inputs: tuple[slice, slice]
    """The image positions that it reads there, in the same order."""


class Window(NamedTuple):
    """A sliding window: kernel size, step, zero padding at (before, after) each side, and spacing of its taps."""

    kernel: Pair
    stride: Pair = (1, 1)
    padding: tuple[Pair, Pair] = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    ceil_mode: bool = False

    @classmethod
    def of(
        cls,
        kernel_size: IntOrPair,
        stride: IntOrPair = 1,
        padding: Padding = 0,
        dilation: IntOrPair = 1,
        ceil_mode: bool = False,
    ) -> "Window":
        """A window from a layer's arguments, each an int or a (height, width) pair; ArgumentError if one is no size.

        `padding` may also be ((top, bottom), (left, right)), "valid" for none, or "same", which for stride 1 keeps the
        image's size and, where the two sides cannot be equal, pads the end by one more, as PyTorch does.
        """
        kernel, steps = as_pair(kernel_size, "kernel_size", 1), as_pair(stride, "stride", 1)
        spacing, ceil = as_pair(dilation, "dilation", 1), as_flag(ceil_mode, "ceil_mode")
        if type(padding) is int:  # the usual case, at once
            side = as_pair(padding, "padding", 0)
            return cls(kernel, steps, (side, side), spacing, ceil)
        window = cls(kernel, steps, ((0, 0), (0, 0)), spacing, ceil)
        return window._replace(padding=window._sides(padding))

    def _sides(self, padding: Padding) -> tuple[Pair, Pair]:
        """`padding`, in any of its forms, as ((top, bottom), (left, right))."""
        if isinstance(padding, str) and padding == "same":
            if self.stride != (1, 1):
                raise ArgumentError(f'padding "same" needs stride 1, got {self.stride}; give the padding in numbers')
            top, left = ((extent - 1) // 2 for extent in self.extent)
            return (top, self.extent[0] - 1 - top), (left, self.extent[1] - 1 - left)
        if isinstance(padding, str):
            if padding == "valid":
                return (0, 0), (0, 0)
            raise ArgumentError(f'padding must be "same", "valid" or ints >= 0, got {value_text(padding)}')
        sides = as_items(padding)
        if sides is not None and len(sides) == 2 and None not in [as_items(side) for side in sides]:
            vertical, horizontal = (as_pair(side, "padding", 0) for side in sides)
            return vertical, horizontal
        top, left = as_pair(cast("IntOrPair", padding), "padding", 0)
        return (top, top), (left, left)

    @property
    def extent(self) -> Pair:
        """The (height, width) that the window spans, gaps of the dilation included."""
        return self.dilation[0] * (self.kernel[0] - 1) + 1, self.dilation[1] * (self.kernel[1] - 1) + 1

    @property
    def overlaps(self) -> bool:
        """Whether neighbouring windows share positions of the image, or may."""
        return self.extent[0] > self.stride[0] or self.extent[1] > self.stride[1]

    @property
    def is_pixel(self) -> bool:
        """Whether the window reads one pixel at each output position, and no padding."""
        return self.kernel == (1, 1) and self.padding == ((0, 0), (0, 0))

    def sizes(self, image_size: Pair, output_size: Pair) -> tuple[int, ...]:
        """All that a kernel needs to slide the window: twelve ints, in the order of `kernels.kernel.WINDOW`."""
        (top, _), (left, _) = self.padding
        return (*image_size, *self.kernel, *self.stride, top, left, *self.dilation, *output_size)

    def within(self, image_size: Pair) -> "Window":
        """The same window, its strides cut to the shortest that leave images of this size, as all longer ones do the same."""
        longest = [size + sum(sides) + 1 for size, sides in zip(image_size, self.padding, strict=True)]
        if self.stride[0] <= longest[0] and self.stride[1] <= longest[1]:
            return self
        return self._replace(stride=(min(self.stride[0], longest[0]), min(self.stride[1], longest[1])))

    def output_size(self, image_size: Pair, owner: str = "window") -> Pair:
        """Output (height, width): floor((size + padding - extent) / stride) + 1.

        In ceil mode the division rounds up, unless the last window would then start in the padding after the image.
        Raises ShapeError, which names `owner`, if the window is larger than the padded image; in ceil mode, as in PyTorch,
        only if it is so by a whole stride.
        """
        rows, columns = (self._steps(axis, size) for axis, size in enumerate(image_size))
        if rows < 0 or columns < 0:
            raise ShapeError(
                f"{owner}: a window of {self.extent[0]}x{self.extent[1]} does not fit into an image of "
                f"{image_size[0]}x{image_size[1]} with padding {_padding_text(self.padding)}; "
                f"use a smaller kernel_size or dilation, more padding, or larger images"
            )
        return rows + 1, columns + 1

    def _steps(self, axis: int, size: int) -> int:
        """How many strides the window makes along an axis; below 0 if it does not fit."""
        before, after = self.padding[axis]
        spare = size + before + after - self.extent[axis]
        steps = -(-spare // self.stride[axis]) if self.ceil_mode else spare // self.stride[axis]
        return steps - 1 if self.ceil_mode and steps * self.stride[axis] >= size + before else steps

    def taps(self, image_size: Pair, output_size: Pair) -> Iterator[Tap]:
        """The taps, row by row, each with the slices of output and image where it lies inside the image."""
        columns = [self._tap_slices(1, tap, image_size, output_size) for tap in range(self.kernel[1])]
        for row in range(self.kernel[0]):
            output_rows, input_rows = self._tap_slices(0, row, image_size, output_size)
            for column, (output_columns, input_columns) in enumerate(columns):
                yield Tap(row, column, (output_rows, output_columns), (input_rows, input_columns))

    def taps_within(self, axis: int, image_size: int, output_size: int) -> range:
        """The taps along an axis from the first to the last that ever lies within the image; one of them if none does."""
        sizes = (image_size, image_size), (output_size, output_size)
        inside = [tap for tap in range(self.kernel[axis]) if self._tap_slices(axis, tap, *sizes)[0] != slice(0, 0)]
        return range(inside[0], inside[-1] + 1) if inside else range(1)

    def _tap_slices(self, axis: int, tap: int, image_size: Pair, output_size: Pair) -> tuple[slice, slice]:
        stride = self.stride[axis]
        offset = tap * self.dilation[axis] - self.padding[axis][0]
        first = max(0, -(offset // stride))
        last = min(output_size[axis], (image_size[axis] - 1 - offset) // stride + 1)
        if last <= first:
            return slice(0, 0), slice(0, 0)
        return slice(first, last), slice(first * stride + offset, (last - 1) * stride + offset + 1, stride)

    def part(self, image_size: Pair, rows: slice, columns: slice) -> tuple[tuple[slice, slice], "Window"]:
        """What one rectangle of output positions needs: the slices of the image it reads, and a window for them.

        The window has the padding that the part still sees, so a large image can be worked on tile by tile.
        """
        row_slice, row_padding = self._part_of_axis(0, image_size[0], rows)
        column_slice, column_padding = self._part_of_axis(1, image_size[1], columns)
        return (row_slice, column_slice), self._replace(padding=(row_padding, column_padding), ceil_mode=False)

    def _part_of_axis(self, axis: int, size: int, outputs: slice) -> tuple[slice, Pair]:
        start = outputs.start * self.stride[axis] - self.padding[axis][0]
        stop = (outputs.stop - 1) * self.stride[axis] - self.padding[axis][0] + self.extent[axis]
        first = min(max(start, 0), size)
        last = max(min(stop, size), first)
        before = min(max(-start, 0), stop - start)
        return slice(first, last), (before, stop - start - before - (last - first))


def _padding_text(padding: tuple[Pair, Pair]) -> str:
    (top, bottom), (left, right) = padding
    if top == bottom == left == right:
        return str(top)
    return f"({top}, {left})" if (top, left) == (bottom, right) else str(padding)


def as_groups(owner: str, groups: int, out_channels: int) -> int:
    """`groups` as an int; ArgumentError, which names `owner`, unless it is positive and divides the filters."""
    if not is_int(groups) or groups < 1 or out_channels % groups:
        raise ArgumentError(
            f"{owner}: groups must be an int >= 1 that divides {out_channels} filters, got {value_text(groups)}"
        )
    return int(groups)


def images_fix(shape: Shape, channels: int) -> str:
    """What brings images of `shape` to (N, channels, H, W), as messages say it; "" if no order of axes does."""
    if len(shape) == 4 and shape[3] == channels:
        return "the axes are N,H,W,C: x.transpose(0, 3, 1, 2)"
    if (
        len(shape) == 4 and shape[1] != channels and shape[1] == shape[2] and shape[3] in (1, 3, 4)
    ):  # those of other images
        return (
            f"the axes look like N,H,W,C: x.transpose(0, 3, 1, 2), and {channels} channels are needed, not {shape[3]}: "
            f"build it with in_channels={shape[3]}"
        )
    if len(shape) == 3 and shape[0] == channels:
        return "add a batch axis: x[None]"
    if len(shape) == 3 and shape[2] == channels:
        return "the axes are H,W,C, of one image: x.transpose(2, 0, 1)[None]"
    if len(shape) == 3 and channels == 1:
        return "add a channel axis: x[:, None]"
    return ""


def check_images(owner: str, shape: Shape, channels: int, size: int | None = None) -> None:
    """ShapeError, which names `owner`, unless `shape` is (N, channels, H, W), with a `size` (N, channels, size, size)."""
    if len(shape) != 4 or shape[1] != channels or (size is not None and shape[2:] != (size, size)):
        raise _other_images(owner, shape, channels, size)


def _other_images(owner: str, shape: Shape, channels: int, size: int | None) -> ShapeError:
    what, sides = ("input", ("H", "W")) if size is None else ("images", (size, size))
    fix = images_fix(shape, channels)
    if not fix and len(shape) != 4:
        fix = "images need a batch and a channel axis: add them with images[:, None] or images[None, None]"
    elif not fix and shape[1] != channels:
        fix = f"give it {channels} channels or build it with in_channels={shape[1]}"
    elif not fix:
        fix = f"pad or resize the images to {size}x{size}"
    return ShapeError(f"{owner}: expected {what} {shape_text(('N', channels, *sides))}, got {shape_text(shape)}; {fix}")


def conv2d_shape(owner: str, image_shape: Shape, weight_shape: Shape, window: Window, groups: int) -> Shape:
    """The output shape (N, O, OH, OW) of a convolution.

    `image_shape` is (N, C, H, W) and `weight_shape` (O, C / groups, KH, KW). Raises ShapeError, which names `owner`,
    if they do not go together.
    """
    check_images(owner, image_shape, weight_shape[1] * groups)
    output_size = window.output_size((image_shape[2], image_shape[3]), owner)
    return check_shape(owner, (image_shape[0], weight_shape[0], *output_size))


def conv1d_shape(owner: str, sequence_shape: Shape, weight_shape: Shape, window: Window, groups: int) -> Shape:
    """The output shape (N, O, OL) of a convolution of (N, C, L) with weight (O, C / groups, K); `window` is one row high.

    Raises ShapeError, which names `owner`, if they do not go together.
    """
    in_channels = weight_shape[1] * groups
    if len(sequence_shape) != 3 or sequence_shape[1] != in_channels:
        fix = ""
        if len(sequence_shape) == 2 and sequence_shape[0] == in_channels:
            fix = "; add a batch axis: x[None]"
        elif len(sequence_shape) == 3 and sequence_shape[2] == in_channels:
            fix = "; the axes are N,L,C: x.transpose(0, 2, 1)"
        raise ShapeError(f"{owner}: expected input (N, {in_channels}, L), got {shape_text(sequence_shape)}{fix}")
    return sequence_shape[0], weight_shape[0], _output_length(owner, window, sequence_shape[2])


def pool1d_shape(owner: str, sequence_shape: Shape, window: Window) -> Shape:
    """The output shape (N, C, OL) of pooling (N, C, L); ShapeError, which names `owner`, where none exists."""
    if len(sequence_shape) != 3:
        raise ShapeError(f"{owner}: expected input (N, C, L), got {shape_text(sequence_shape)}")
    return *sequence_shape[:2], _output_length(owner, window, sequence_shape[2])


def _output_length(owner: str, window: Window, length: int) -> int:
    try:
        return window.output_size((1, length))[1]
    except ShapeError:
        before, after = window.padding[1]
        raise ShapeError(
            f"{owner}: a window of {window.extent[1]} does not fit into a sequence of {length} with padding "
            f"{before if before == after else (before, after)}; use a smaller kernel_size or dilation, more padding, or longer sequences"
        ) from None


def conv_transpose2d_shape(
    owner: str, image_shape: Shape, weight_shape: Shape, window: Window, output_padding: IntOrPair, groups: int
) -> Shape:
    """The output shape (N, O, OH, OW) of a transposed convolution of (N, I, H, W) with weight (I, O / groups, KH, KW).

    Raises ShapeError, which names `owner`, if they do not go together or nothing would be left of an image, and
    ArgumentError for an output padding that the convolution could not have lost.
    """
    extra = as_pair(output_padding, "output_padding", 0)
    check_images(owner, image_shape, weight_shape[0])
    sizes = []
    for axis in (0, 1):
        if extra[axis] >= max(window.stride[axis], window.dilation[axis]):
            raise ArgumentError(
                f"{owner}: output_padding must be smaller than stride or dilation, got {output_padding} for stride "
                f"{window.stride} and dilation {window.dilation}"
            )
        spread = (image_shape[2 + axis] - 1) * window.stride[axis] + window.extent[axis]
        sizes.append(spread - sum(window.padding[axis]) + extra[axis])
    if min(sizes) < 1:
        raise ShapeError(
            f"{owner}: images of {image_shape[2]}x{image_shape[3]} would give {sizes[0]}x{sizes[1]}; use less padding"
        )
    return check_shape(owner, (image_shape[0], weight_shape[1] * groups, *sizes))


def pool2d_shape(owner: str, image_shape: Shape, window: Window) -> Shape:
    """The output shape (N, C, OH, OW) of pooling (N, C, H, W); ShapeError, which names `owner`, where none exists."""
    if len(image_shape) != 4:
        fix = "add a batch axis: x[None]" if len(image_shape) == 3 else "pool images before flattening them"
        raise ShapeError(f"{owner}: expected input (N, C, H, W), got {shape_text(image_shape)}; {fix}")
    output_size = window.output_size((image_shape[2], image_shape[3]), owner)
    return check_shape(owner, (*image_shape[:2], *output_size))


def linear_shape(owner: str, input_shape: Shape, weight_shape: Shape) -> Shape:
    """The output shape (..., out) for input (..., in) and weight (out, in); ShapeError, which names `owner`, otherwise."""
    out_features, in_features = weight_shape
    if input_shape[-1:] != (in_features,):
        leading = "N" if len(input_shape) == 2 else "..."
        fix = f"build it with in_features={input_shape[-1]}" if input_shape else "give it vectors"
        if len(input_shape) > 2:
            fix = f"flatten the images first, or {fix}"
        raise ShapeError(f"{owner}: expected input ({leading}, {in_features}), got {shape_text(input_shape)}; {fix}")
    return (*input_shape[:-1], out_features)
