"""Borders around a tensor."""

from collections.abc import Sequence
from numbers import Real

from gpucnn.autograd import Operand, Tensor, as_tensor, operation, record
from gpucnn.backend import Array, xp_of
from gpucnn.checks import is_int, shape_text, value_text
from gpucnn.errors import ArgumentError, DTypeError, ShapeError

MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}
"""PyTorch's names of the ways to pad, and NumPy's."""


@operation
def pad(x: Operand, padding: Sequence[Sequence[int]], mode: str = "constant", value: float = 0) -> Tensor:
    """x with borders; `padding` gives ((before, after), ...), one pair of ints >= 0 for each axis of x, as in NumPy.

    `mode` is "constant", a border of `value`; "reflect", the elements mirrored at the outermost, which is not repeated; or
    "replicate", the outermost repeated. Gradients of repeated elements add up. Raises ArgumentError for another mode, for
    padding that is no ints >= 0 and for a value that is no number, ShapeError where there is not one pair to an axis, or
    too few elements to mirror, and DTypeError for a float value beside integers.
    """
    x = as_tensor(x)
    if not isinstance(mode, str) or mode not in MODES:
        names = ", ".join(f'"{name}"' for name in MODES)
        raise ArgumentError(f"pad: mode must be one of {names}, got {value_text(mode)}")
    if not isinstance(value, Real) or isinstance(value, bool):
        raise ArgumentError(f"pad: value must be a plain number, got {value_text(value)}")
    if x.dtype.kind != "f" and not is_int(value):
        raise DTypeError(f"pad: value {value} met {x.dtype}; convert x with array.astype('float32')")
    pairs = _as_pairs(x, padding)
    shape = x.shape
    for axis, pair in enumerate(pairs):
        largest = {"constant": None, "reflect": shape[axis] - 1, "replicate": None if shape[axis] else 0}[mode]
        if any(pair) and largest is not None and max(pair) > largest:
            raise ShapeError(
                f"pad: {mode} takes borders of at most {max(largest, 0)} on axis {axis} of {shape_text(shape)}, got {pair}"
            )

    def backward(gradient: Array) -> tuple[Array]:
        for axis, (before, after) in enumerate(pairs):
            if before or after:
                gradient = _fold(gradient, axis, before, shape[axis], mode)
        return (gradient,)

    options = {"constant_values": value} if mode == "constant" else {}
    return record("pad", xp_of(x.data).pad(x.data, pairs, MODES[mode], **options), (x,), backward)


def _as_pairs(x: Tensor, padding: Sequence[Sequence[int]]) -> list[tuple[int, int]]:
    try:
        pairs = [tuple(pair) for pair in padding]
    except TypeError:
        pairs = [()]
    if any(len(pair) != 2 or not all(is_int(border) and border >= 0 for border in pair) for pair in pairs):
        raise ArgumentError(f"pad: padding must be pairs (before, after) of ints >= 0, got {value_text(padding)}")
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
    if mode == "reflect":
        inner[part(1, 1 + before)] += xp.flip(first, axis)
        inner[part(size - 1 - after, size - 1)] += xp.flip(last, axis)
    else:
        inner[part(0, 1)] += first.sum(axis=axis, keepdims=True)
        inner[part(size - 1, size)] += last.sum(axis=axis, keepdims=True)
    return inner
