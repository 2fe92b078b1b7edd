"""Tensor: an array that remembers how it was computed."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from gpucnn.autograd.tape import Node, current_owner, grad_enabled, run_backward
from gpucnn.backend import (
    Array,
    Device,
    are_together,
    as_array,
    beside,
    choose_device,
    converted,
    device_of,
    recording,
    to_device,
    to_host,
    xp_of,
)
from gpucnn.checks import Shape, as_flag
from gpucnn.errors import CaptureError, DTypeError, GradientError, ShapeError
from gpucnn.kernels.elementwise import add_to
from gpucnn.text import shape_text

OPERATORS: dict[str, Callable[..., "Tensor"]] = {}
"""The functions behind the operators below. `functions.operators`, which lies above this package, fills it."""

_kept_ones: dict[tuple[Any, ...], Array] = {}
"""Of each GPU, by shape and dtype: the gradients that losses begin with."""
_MOST_KEPT = 64


class Tensor:
    """An array on a device, with its gradient.

    - `data`: a numpy.ndarray or cupy.ndarray. Lists and Python floats become float32; arrays keep their dtype.
    - `requires_grad`: whether `backward` computes a gradient for it; then the dtype must be a float.
    - `grad`: None, or the gradient, an array of the same shape and dtype. `backward` adds to it.

    Raises DTypeError for data that are not numbers, or for `requires_grad` with a dtype that is not a float.
    """

    __slots__ = ("__weakref__", "data", "grad", "node", "requires_grad")

    data: Array
    grad: Array | None

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        if isinstance(data, Tensor):
            raise DTypeError("expected an array, got a Tensor; use it as it is, or tensor.detach() without its history")
        self.data = as_array(data)
        self.grad = None
        self.node: Node | None = None
        self.requires_grad = as_flag(requires_grad, "Tensor: requires_grad")
        if requires_grad and self.dtype.kind != "f":
            raise DTypeError(
                f"only float tensors have gradients, got {self.dtype}; convert with array.astype('float32')"
            )

    @property
    def shape(self) -> Shape:
        return tuple(self.data.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(self.data.size)

    @property
    def dtype(self) -> np.dtype:
        dtype: np.dtype = self.data.dtype
        return dtype

    @property
    def device(self) -> Device:
        return device_of(self.data)

    def to(self, device: str | Device) -> "Tensor":
        """The same values on `device`: this tensor if it is there, else a copy, to which gradients find their way."""
        here, there = self.device, choose_device(device).device
        if here == there:
            return self
        moved = Tensor(to_device(self.data, there))
        if self.requires_grad and grad_enabled():
            moved.requires_grad = True
            moved.node = Node("to", [self.origin()], lambda gradient: (to_device(gradient, here),))
        return moved

    def numpy(self) -> np.ndarray:
        """The values as a numpy.ndarray; on the CPU, the very array. CaptureError in a step that is recorded."""
        self._refuse_to_be_read()
        return to_host(self.data)

    def item(self) -> float:
        """The single value as a Python number. ShapeError if there is more than one."""
        if self.size != 1:
            raise ShapeError(
                f"item() needs a tensor of one element, got shape {shape_text(self.shape)}; reduce it first"
            )
        self._refuse_to_be_read()
        value: float = to_host(self.data).item()
        return value

    def _refuse_to_be_read(self) -> None:
        """CaptureError within a step that is recorded: no replay would read it again."""
        if recording():
            owner = current_owner.get() or "a step"
            raise CaptureError(f"{owner} reads a tensor's values, which a replay would not; read them after the step")

    def detach(self) -> "Tensor":
        """A tensor of the same array that knows nothing of its history."""
        return Tensor(self.data)

    def backward(self, grad: Any = None) -> None:
        """Compute the gradient of this tensor with respect to every leaf that requires one, and add it to their `grad`.

        `grad` is the gradient of this tensor itself, of its shape; it may be left out for a single element (a loss),
        where it is 1. The tape is released on the way, so a second call needs a new forward pass.
        Raises GradientError if there is nothing to differentiate, ShapeError if `grad` does not fit.
        """
        origin = self.origin()
        if origin is None:
            raise GradientError(
                "backward() on a tensor that no gradient leads to; "
                "compute it, outside of no_grad(), from tensors with requires_grad=True"
            )
        run_backward(origin, self._ones() if grad is None else self._seed(grad))

    def _ones(self) -> Array:
        if self.size != 1:
            raise ShapeError(
                f"backward() without grad needs a single element, got shape {shape_text(self.shape)}; "
                f"reduce it to a loss (e.g. with .sum()) or give grad"
            )
        if xp_of(self.data) is np:
            return _one(self.dtype).reshape(self.shape)
        with beside(self.data):
            return _ones(self.data)

    def _seed(self, grad: Any) -> Array:
        gradient = as_array(grad.data if isinstance(grad, Tensor) else grad, self.dtype)
        if gradient.dtype != self.dtype or not are_together(gradient, self.data):
            gradient = converted(to_device(gradient, self.device), self.dtype)
        if gradient.shape != self.shape:
            raise ShapeError(
                f"grad must have the tensor's shape {shape_text(self.shape)}, got {shape_text(gradient.shape)}"
            )
        return gradient

    def origin(self) -> Node | None:
        """Where a gradient of this tensor goes: the operation that made it, its own `grad` if a leaf, or nowhere."""
        if self.node is None and self.requires_grad:
            return Node("leaf", (), self._add_gradient)
        return self.node

    def gradient_buffer(self) -> Array:
        """A contiguous array of the tensor's shape and dtype, for a backward function to write the gradient to."""
        return xp_of(self.data).empty(self.shape, self.dtype)

    def _add_gradient(self, gradient: Array) -> tuple[()]:
        if self.grad is None:
            self.grad = gradient.copy()  # a backward function may hand one array to several inputs
        else:
            add_to(self.grad, gradient)
        return ()

    def __repr__(self) -> str:
        place = "" if self.device.kind == "cpu" else f", device={self.device}"
        text = np.array2string(self.numpy(), separator=", ", prefix="Tensor(")
        return f"Tensor({text}, dtype={self.dtype}{place}{', requires_grad=True' if self.requires_grad else ''})"

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError("a tensor of shape () has no length; use item() for its value")
        return self.shape[0]

    def __float__(self) -> float:
        return float(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise DTypeError(
            "a tensor does not become an array by itself, as its gradient would be lost; use tensor.numpy()"
        )

    def __add__(self, other: "Operand") -> "Tensor":
        return OPERATORS["add"](self, other)

    def __radd__(self, other: "Operand") -> "Tensor":
        return OPERATORS["add"](other, self)

    def __sub__(self, other: "Operand") -> "Tensor":
        return OPERATORS["subtract"](self, other)

    def __rsub__(self, other: "Operand") -> "Tensor":
        return OPERATORS["subtract"](other, self)

    def __mul__(self, other: "Operand") -> "Tensor":
        return OPERATORS["multiply"](self, other)

    def __rmul__(self, other: "Operand") -> "Tensor":
        return OPERATORS["multiply"](other, self)

    def __truediv__(self, other: "Operand") -> "Tensor":
        return OPERATORS["divide"](self, other)

    def __rtruediv__(self, other: "Operand") -> "Tensor":
        return OPERATORS["divide"](other, self)

    def __matmul__(self, other: "Operand") -> "Tensor":
        return OPERATORS["matmul"](self, other)

    def __rmatmul__(self, other: "Operand") -> "Tensor":
        return OPERATORS["matmul"](other, self)

    def __pow__(self, exponent: "Operand") -> "Tensor":
        return OPERATORS["power"](self, exponent)

    def __rpow__(self, base: "Operand") -> "Tensor":
        return OPERATORS["power"](base, self)

    def __neg__(self) -> "Tensor":
        return OPERATORS["negative"](self)

    def __abs__(self) -> "Tensor":
        return OPERATORS["absolute"](self)

    def __getitem__(self, index: Any) -> "Tensor":
        return OPERATORS["getitem"](self, index)

    def __iter__(self) -> Iterator["Tensor"]:
        return (self[position] for position in range(len(self)))

    def sum(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> "Tensor":
        """The sum over `axis` (all axes if None)."""
        return OPERATORS["sum"](self, axis, keepdims)

    def mean(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> "Tensor":
        """The mean over `axis` (all axes if None)."""
        return OPERATORS["mean"](self, axis, keepdims)

    def var(self, axis: int | Sequence[int] | None = None, correction: float = 1, keepdims: bool = False) -> "Tensor":
        """The variance over `axis` (all axes if None), that of a sample unless `correction` is 0."""
        return OPERATORS["var"](self, axis, correction, keepdims)

    def max(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> "Tensor":
        """The largest element over `axis` (all axes if None)."""
        return OPERATORS["max"](self, axis, keepdims)

    def min(self, axis: int | Sequence[int] | None = None, keepdims: bool = False) -> "Tensor":
        """The smallest element over `axis` (all axes if None)."""
        return OPERATORS["min"](self, axis, keepdims)

    def reshape(self, *shape: int | Sequence[int]) -> "Tensor":
        """The same elements in another shape, given as ints or as one sequence; one size may be -1."""
        return OPERATORS["reshape"](self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: int | Sequence[int]) -> "Tensor":
        """The axes in the order `axes`, ints or one sequence; reversed if none are given."""
        order = axes[0] if len(axes) == 1 else axes
        return OPERATORS["transpose"](self, None if isinstance(order, tuple) and not order else order)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> "Tensor":
        """NumPy's operators on tensors, e.g. `np.maximum(0, x)`: recorded like our own, or refused.

        Without it NumPy would silently compute on the values and lose the gradient.
        """
        function = OPERATORS.get(ufunc.__name__)
        if function is None or method != "__call__" or options:
            raise DTypeError(
                f"np.{ufunc.__name__} has no gradient in gpucnn; use gpucnn.functions, or tensor.numpy() for the values"
            )
        return function(*inputs)


@functools.cache
def _one(dtype: np.dtype) -> np.ndarray:
    """The number 1, which nobody can write to: a step that is recorded has it in place of a fill."""
    one = np.ones((), dtype)
    one.flags.writeable = False
    return one


Operand: TypeAlias = Tensor | Array | float | Sequence[float]
"""What an operation takes beside tensors: plain arrays and numbers, which have no gradient."""


def _ones(array: Array) -> Array:
    """Ones like `array` on a GPU, of one element. They are made once: backward functions leave what they are given as it is."""
    xp = xp_of(array)
    key = xp, device_of(array), array.shape, array.dtype
    ones: Array | None = _kept_ones.get(key)
    if ones is None:
        ones = xp.ones(array.shape, array.dtype)
        if not recording():  # what a recording makes lives no longer than it does
            if len(_kept_ones) >= _MOST_KEPT:
                _kept_ones.clear()
            _kept_ones[key] = ones
    return ones
