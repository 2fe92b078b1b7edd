"""Borders around a tensor."""

from collections.abc import Sequence

from gpucnn.autograd import Operand, Tensor, as_tensor, operation, record
from gpucnn.autograd.rounding import stored
from gpucnn.backend import Array, xp_of
from gpucnn.checks import LARGEST, Pair, Shape, as_choice, is_int, is_real
from gpucnn.errors import ArgumentError, DTypeError, ShapeError
from gpucnn.text import shape_text, value_text

MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}
"""PyTorch's names of the ways to pad, and NumPy's."""

CROPS_FIRST = ("constant", "circular")
"""The ways that look at what is left of an axis; the others at all of it, also at what is then cut off, as in PyTorch."""


@operation
def pad(x: Operand, padding: Sequence[Sequence[int]], mode: str = "constant", value: float = 0) -> Tensor:
    """x with borders; `padding` gives ((before, after), ...), one pair of ints for each axis of x, as in NumPy.

    A negative one cuts elements off instead. `mode` is "constant", a border of `value`; "reflect", the elements
    mirrored at the outermost, which is not repeated; "replicate", the outermost repeated; or "circular", those of the other
    end. Gradients of repeated elements add up. Raises ArgumentError for another mode, for padding that is not ints and for a
    value that is not a number, ShapeError where there is not one pair to an axis, more to cut off than there is, or too few
    elements to repeat, and DTypeError for a float value beside integers.
    """
    x = as_tensor(x)
    as_choice(mode, "pad: mode", MODES)
    if not is_real(value):
        raise ArgumentError(f"pad: value must be a plain number, got {value_text(value)}")
    if x.dtype.kind != "f" and not is_int(value):
        raise DTypeError(f"pad: value {value} met {x.dtype}; convert x with array.astype('float32')")
    pairs = _as_pairs(x, padding)
    borders = [(max(before, 0), max(after, 0)) for before, after in pairs]
    cut = [(max(-before, 0), max(-after, 0)) for before, after in pairs]
    crops, crops_first = any(map(any, cut)), mode in CROPS_FIRST
    shape = source_shape = x.shape
    if crops_first:
        source_shape = tuple(size - sum(pair) for size, pair in zip(shape, cut, strict=True))
    _check_borders(shape, source_shape, pairs, mode)
    held = stored(x) if mode == "constant" and value == 0 else None  # whose zeros are integers' zeros
    values = x.array if held is None else held[0]
    source = _crop(values, cut) if crops and crops_first else values
    options = {"constant_values": value} if mode == "constant" else {}
    padded = xp_of(source).pad(source, borders, MODES[mode], **options)
    padded_shape = padded.shape

    def backward(gradient: Array) -> tuple[Array]:
        if crops and not crops_first:
            gradient = _uncrop(gradient, cut, padded_shape)
        for axis, (before, after) in enumerate(borders):
            if before or after:
                gradient = _fold(gradient, axis, before, source_shape[axis], mode)
        return (_uncrop(gradient, cut, shape) if crops and crops_first else gradient,)

    output = _crop(padded, cut) if crops and not crops_first else padded
    return record("pad", output, (x,), backward, stored=held is not None)


def _crop(x: Array, cut: list[Pair]) -> Array:
    """x without the elements that `cut` tells before and after, axis by axis."""
    return x[tuple(slice(before, size - after) for (before, after), size in zip(cut, x.shape, strict=True))]


def _uncrop(gradient: Array, cut: list[Pair], shape: Shape) -> Array:
    """The gradient of what `_crop` took from an array of `shape`: what was cut off has none."""
    whole = xp_of(gradient).zeros(shape, gradient.dtype)
    _crop(whole, cut)[...] = gradient
    return whole


def _check_borders(shape: Shape, source_shape: Shape, pairs: list[Pair], mode: str) -> None:
    for axis, (pair, size) in enumerate(zip(pairs, source_shape, strict=True)):
        if -sum(min(border, 0) for border in pair) > shape[axis]:
            raise ShapeError(f"pad: {pair} cuts more off axis {axis} of {shape_text(shape)} than there is")
        repeated = {"reflect": size - 1, "replicate": 0 if size == 0 else None, "circular": size}
        largest = repeated.get(mode)
        if largest is not None and max(*pair, 0) > max(largest, 0):
            raise ShapeError(
                f"pad: {mode} takes borders of at most {max(largest, 0)} on axis {axis} of {shape_text(shape)}, got {pair}"
            )


def _as_pairs(x: Tensor, padding: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    try:
        pairs = [tuple(pair) for pair in padding]
    except TypeError:
        pairs = [()]
    if any(len(pair) != 2 or not all(is_int(n) and -LARGEST < n < LARGEST for n in pair) for pair in pairs):
        raise ArgumentError(f"pad: padding must be pairs (before, after) of ints, got {value_text(padding)}")
    if len(pairs) != x.ndim:
        raise ShapeError(
            f"pad: expected {x.ndim} pairs (before, after), one for each axis of {shape_text(x.shape)}, got {len(pairs)}"
        )
    return [(int(before), int(after)) for before, after in pairs]


def _fold(gradient: Array, axis: int, before: int, size: int, mode: str) -> Array:
    """The gradient of an axis of `size` from that of the padded one: borders are added to where they came from."""

    def part(start: int, stop: int) -> tuple[slice, ...]:
        return (*[slice(None)] * axis, slice(start, stop))

    first, last = gradient[part(0, before)], gradient[part(before + size, gradient.shape[axis])]
    inner = gradient[part(before, before + size)]
    after = last.shape[axis]
    if mode == "constant" or size == 0:
        return inner
    inner, xp = inner.copy(), xp_of(gradient)
    if mode == "circular":
        inner[part(size - before, size)] += first
        inner[part(0, after)] += last
    elif mode == "reflect":
        inner[part(1, 1 + before)] += xp.flip(first, axis)
        inner[part(size - 1 - after, size - 1)] += xp.flip(last, axis)
    else:
        inner[part(0, 1)] += first.sum(axis=axis, keepdims=True)
        inner[part(size - 1, size)] += last.sum(axis=axis, keepdims=True)
    return inner
