"""Tensor: an array that remembers how it was computed."""

import functools
import operator
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import numpy as np

from gpucnn.autograd.exchange import array_of, as_capsule, call_numpy, capsule_device, cuda_interface, shared_array
from gpucnn.autograd.tape import LEAF, Hooks, Node, current_owner, grad_enabled, run_backward
from gpucnn.autograd.torch_words import Size, words_of_tensors
from gpucnn.autograd.writes import WatchedArray, log, place_of
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
)  # fmt: skip
from gpucnn.checks import Shape, as_flag, as_function, unknown_name
from gpucnn.errors import CaptureError, DTypeError, GradientError, KeywordError, ShapeError
from gpucnn.kernels.elementwise import add_to
from gpucnn.kernels.kernel import ARITHMETIC
from gpucnn.kernels.rounding import widened
from gpucnn.text import shape_text

OPERATORS: dict[str, Callable[..., "Tensor"]] = {}
"""The functions behind the operators below. `functions.operators`, which lies above this package, fills it."""


class Tensor:
    """An array on a device, with its gradient.

    - `data`: a numpy.ndarray or cupy.ndarray. Lists and Python floats become float32; arrays keep their dtype.
    - `requires_grad`: whether `backward` computes a gradient for it; then the dtype must be a float.
    - `grad`: None, or the gradient, an array of the same shape and dtype. `backward` adds to it.

    Raises DTypeError for data that are not numbers, or for `requires_grad` with a dtype that is not a float.
    """

    __slots__ = ("__weakref__", "_data", "grad", "hooks", "is_bf16", "is_stored", "node", "requires_grad", "watched")

    grad: Array | None
    hooks: Hooks | None
    """What its gradient goes through, if it is a leaf."""
    watched: bool
    """Whether an operation on the tape has used it, so that who writes to its array is noted."""
    is_bf16: bool
    """Whether its values, and its gradient, are rounded to bfloat16, see `backend.precision`."""
    is_stored: bool
    """Whether they are kept in two bytes, as kernels of a GPU pass them on, see `held`. Who asks for `array` gets float32."""

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        if isinstance(data, Tensor):
            raise DTypeError("expected an array, got a Tensor; use it as it is, or tensor.detach() without its history")
        self._data = as_array(data.unwatched() if isinstance(data, WatchedArray) else data)
        self.grad, self.hooks = None, None
        self.watched = self.is_bf16 = self.is_stored = False
        self.node: Node | None = None
        self.requires_grad = as_flag(requires_grad, "Tensor: requires_grad")
        if requires_grad:
            _check_can_learn(self.dtype)

    @property
    def array(self) -> Array:
        """`data`, for functions, which write to no array that they are given: a write to this one is not noted."""
        return widened(self._data) if self.is_stored else self._data

    @property
    def data(self) -> Array:
        array = self.in_float32()
        return WatchedArray.of(array) if self.watched and isinstance(array, np.ndarray) else array

    @data.setter
    def data(self, array: Array) -> None:
        if not self._is_written_by(array):
            self._data, self.is_stored = array.unwatched() if isinstance(array, WatchedArray) else array, False

    @property
    def shape(self) -> Shape:
        return tuple(self._data.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        """The number of elements."""
        return Size(self._data.size)

    @property
    def dtype(self) -> np.dtype:
        dtype: np.dtype = self._data.dtype
        return ARITHMETIC[dtype] if self.is_stored else dtype

    @property
    def device(self) -> Device:
        return device_of(self._data)

    def backward(self, grad: Any = None, retain_graph: bool = False, create_graph: bool = False) -> None:
        """Compute the gradient of this tensor with respect to every leaf that requires one, and add it to their `grad`.

        `grad` is the gradient of this tensor itself, of its shape; it may be left out for a single element (a loss),
        where it is 1. The tape is released on the way, unless `retain_graph`: a second call then needs a new forward pass.
        Raises GradientError if there is nothing to differentiate, if an array was written to that the tape had saved, and for
        `create_graph`, as gradients have no gradients here; ShapeError if `grad` does not fit.
        """
        refuse_higher_order("backward()", create_graph)
        run_backward({self.start_node(): self.start_gradient(grad)}, as_flag(retain_graph, "backward: retain_graph"))

    @property
    def held(self) -> Array:
        """The array as it is kept: `array`, or where `is_stored` one of two bytes, see `kernel.BF16`."""
        return self._data if self.is_stored else self.array

    def in_float32(self) -> Array:
        """`array`, which the tensor holds from now on: for who may write to it, or keeps its address."""
        if self.is_stored:
            self._data, self.is_stored = self.array, False
        return self.array

    @classmethod
    def of_stored(cls, array: Array) -> "Tensor":
        """A tensor that holds an array of bfloat16 in two bytes."""
        tensor = cls(array)
        tensor.is_bf16 = tensor.is_stored = True
        return tensor

    def start_node(self) -> Node:
        """Where a backward pass from here begins; GradientError if there is nothing to differentiate."""
        origin = self.origin()
        if origin is None:
            raise GradientError(
                "backward() on a tensor that no gradient leads to; "
                "compute it, outside of no_grad(), from tensors with requires_grad=True"
            )
        return origin

    def start_gradient(self, grad: Any = None) -> Array:
        """The gradient that a backward pass begins with: `grad`, or 1."""
        if grad is None:
            return self._ones()
        gradient = as_array(grad.array if isinstance(grad, Tensor) else grad, self.dtype)
        if gradient.dtype != self.dtype or not are_together(gradient, self.held):
            gradient = converted(to_device(gradient, self.device), self.dtype)
        if gradient.shape != self.shape:
            raise ShapeError(
                f"grad must have the tensor's shape {shape_text(self.shape)}, got {shape_text(gradient.shape)}"
            )
        return gradient

    def _ones(self) -> Array:
        if self.size != 1:
            raise ShapeError(
                f"backward() without grad needs a single element, got shape {shape_text(self.shape)}; "
                f"reduce it to a loss (e.g. with .sum()) or give grad"
            )
        if xp_of(self.held) is np:
            return _one(self.dtype).reshape(self.shape)
        with beside(self.held):
            return _ones(self.array)

    def origin(self) -> Node | None:
        """Where a gradient of this tensor goes: the operation that made it, its own `grad` if a leaf, or nowhere."""
        if self.node is None and self.requires_grad:
            leaf = Node(LEAF, (), self.add_gradient)
            leaf.is_bf16 = self.is_bf16
            return leaf
        return self.node

    def add_gradient(self, gradient: Array) -> tuple[()]:
        """Keep a gradient that a backward pass has found for this leaf."""
        if self.grad is None:
            # A backward function may hand one array to several inputs, and NumPy has a scalar where an array is of no axes.
            self.grad = as_array(gradient.copy())
        else:
            add_to(self.grad, gradient)
        return ()

    def to(self, device: str | Device) -> "Tensor":
        """The same values on `device`: this tensor if it is there, else a copy, to which gradients find their way."""
        here, there = self.device, choose_device(device).device
        if here == there:
            return self
        moved = Tensor(to_device(self.array, there))
        moved.is_bf16 = self.is_bf16
        if self.requires_grad and grad_enabled():
            moved.requires_grad = True
            moved.node = Node("to", [self.origin()], lambda gradient: (to_device(gradient, here),))
            moved.node.is_bf16 = self.is_bf16
        return moved

    def numpy(self) -> np.ndarray:
        """The values as a numpy.ndarray; on the CPU, the very array, read-only if it has gradients: `data` is for writing.

        CaptureError in a step that is recorded.
        """
        self._refuse_to_be_read()
        if not self.requires_grad:
            return to_host(self.array)
        values = to_host(self.array)[...]
        values.flags.writeable = False
        return values

    def item(self) -> float:
        """The single value as a Python number. ShapeError if there is more than one."""
        if self.size != 1:
            raise ShapeError(
                f"item() needs a tensor of one element, got shape {shape_text(self.shape)}; reduce it first"
            )
        self._refuse_to_be_read()
        value: float = to_host(self.array).item()
        return value

    def _refuse_to_be_read(self) -> None:
        """CaptureError within a step that is recorded: no replay would read it again."""
        if recording():
            owner = current_owner.get() or "a step"
            raise CaptureError(f"{owner} reads a tensor's values, which a replay would not; read them after the step")

    def detach(self) -> "Tensor":
        """A tensor of the same array that knows nothing of its history."""
        detached = Tensor(self.held)
        detached.watched = True
        detached.is_bf16, detached.is_stored = self.is_bf16, self.is_stored
        return detached

    def gradient_buffer(self) -> Array:
        """A contiguous array of the tensor's shape and dtype, for a backward function to write the gradient to."""
        return xp_of(self.held).empty(self.shape, self.dtype)

    def _is_written_by(self, array: Any) -> bool:
        """Whether `array`, which is assigned to `data`, is its own: so ends `tensor.data -= step`, which has written to it."""
        if isinstance(array, WatchedArray):
            return array.looks_at(self._data)
        if array is self._data:
            self.note_write("an assignment to its data")
        return array is self._data

    def note_write(self, by: str) -> None:
        """Have a write to the array noted, which the library has done."""
        log.note(by, place_of(self._data))

    def __repr__(self) -> str:
        place = "" if self.device.kind == "cpu" else f", device={self.device}"
        text = np.array2string(self.numpy(), separator=", ", prefix="Tensor(")
        return f"Tensor({text}, dtype={self.dtype}{place}{', requires_grad=True' if self.requires_grad else ''})"

    def __len__(self) -> int:
        if not self.shape:
            raise ShapeError("a tensor of shape () has no length; use item() for its value")
        return self.shape[0]

    def __setitem__(self, place: Any, value: Any) -> NoReturn:
        raise KeywordError(
            "tensors do not change in place; write parameter.assign(values) for what learns, x.data[...] = values, or "
            "F.where(mask, value, x)"
        )

    def __round__(self, digits: int | None = None) -> float:
        return round(self.item(), digits)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return operator.index(self.item())  # type: ignore[arg-type]  # which refuses floats

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ShapeError(
                f"the truth of a tensor {shape_text(self.shape)} is not one value; compare its elements, and take .all() or "
                f".any() of what comes out"
            )
        return bool(self.item())

    def __format__(self, form: str) -> str:
        return format(self.item(), form) if form else str(self)

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

    def reshape(self, *shape: int | Sequence[int]) -> "Tensor":
        """The same elements in another shape, given as ints or as one sequence; one size may be -1."""
        return OPERATORS["reshape"](self, shape[0] if len(shape) == 1 else shape)

    def transpose(self, *axes: int | Sequence[int]) -> "Tensor":
        """The axes in the order `axes`, ints or one sequence; reversed if none are given."""
        order = axes[0] if len(axes) == 1 else axes
        return OPERATORS["transpose"](self, None if isinstance(order, tuple) and not order else order)

    if TYPE_CHECKING:  # the functions of these names, see `functions.operators`
        abs: Callable[..., "Tensor"]
        argmax: Callable[..., "Tensor"]
        argmin: Callable[..., "Tensor"]
        astype: Callable[..., "Tensor"]
        clip: Callable[..., "Tensor"]
        clone: Callable[..., "Tensor"]
        exp: Callable[..., "Tensor"]
        expand_dims: Callable[..., "Tensor"]
        flatten: Callable[..., "Tensor"]
        log: Callable[..., "Tensor"]
        max: Callable[..., "Tensor"]
        mean: Callable[..., "Tensor"]
        min: Callable[..., "Tensor"]
        sqrt: Callable[..., "Tensor"]
        squeeze: Callable[..., "Tensor"]
        sum: Callable[..., "Tensor"]
        var: Callable[..., "Tensor"]

    @property
    def T(self) -> "Tensor":
        """The axes in reversed order."""
        return self.transpose()

    def tolist(self) -> Any:
        """The values as Python's numbers, in lists of lists; a single number for a tensor ()."""
        return self.numpy().tolist()

    def cpu(self) -> "Tensor":
        """The same on the CPU, see `to`."""
        return self.to("cpu")

    def cuda(self) -> "Tensor":
        """The same on the GPU, see `to`."""
        return self.to("cuda")

    @property
    def is_leaf(self) -> bool:
        """Whether no operation made it that the tape knows: gradients then add up in its `grad`."""
        return self.node is None

    def requires_grad_(self, requires_grad: bool = True) -> "Tensor":
        """This tensor, for which `backward` computes a gradient from now on, or does no more.

        GradientError for what an operation made, DTypeError for a dtype that is not a float.
        """
        wanted = as_flag(requires_grad, "requires_grad_: requires_grad")
        if self.node is not None:
            raise GradientError("requires_grad_() of what an operation made; take tensor.detach().requires_grad_()")
        if wanted:
            _check_can_learn(self.dtype)
        self.requires_grad = wanted
        return self

    def register_hook(self, hook: Callable[[Array], Any]) -> "TensorHook":
        """Call `hook(gradient)` when a backward pass has this tensor's whole gradient, an array, which it must leave as it is.

        What the hook returns, of the same shape, takes the gradient's place; None leaves it. The handle's `remove()` ends it.
        GradientError for a tensor without gradients, ArgumentError if `hook` cannot be called.
        """
        as_function(hook, "register_hook: hook", "of a gradient")
        if not self.requires_grad:
            raise GradientError("register_hook() of a tensor without gradients; make it one with requires_grad=True")
        if self.node is None:
            self.hooks = self.hooks or {}
            return TensorHook(self.hooks, hook)
        self.node.hooks = self.node.hooks or {}
        return TensorHook(self.node.hooks, hook)

    def retain_grad(self) -> None:
        """Have `backward` keep the gradient of this tensor in `grad`, also if an operation made it. A leaf does so anyway."""
        if self.node is not None and not (self.node.hooks and any(one.keeps for one in self.node.hooks)):
            watched = weakref.ref(self)

            def keep(gradient: Array) -> None:
                if (tensor := watched()) is not None:
                    tensor.add_gradient(gradient)

            self.register_hook(keep).keeps = True
        elif not self.requires_grad:
            raise GradientError("retain_grad() of a tensor without gradients; make it one with requires_grad=True")

    __hash__ = object.__hash__  # tensors are keys by what they are, not by what they hold

    def __eq__(self, other: Any) -> Any:
        return self._compared("equal", other)

    def __ne__(self, other: Any) -> Any:
        return self._compared("not_equal", other)

    def __lt__(self, other: "Operand") -> Array:
        return self._compared("less", other)

    def __le__(self, other: "Operand") -> Array:
        return self._compared("less_equal", other)

    def __gt__(self, other: "Operand") -> Array:
        return self._compared("greater", other)

    def __ge__(self, other: "Operand") -> Array:
        return self._compared("greater_equal", other)

    def _compared(self, name: str, other: Any) -> Any:
        """An array of bool: NumPy's function `name` of the two, element by element. What is no number is unlike all tensors."""
        mine, here, is_number = self.array, self.device, type(other) in (bool, int, float)
        try:
            values = other if is_number else as_array(other.array if isinstance(other, Tensor) else other, self.dtype)
        except DTypeError:
            if hasattr(other, "dtype"):
                raise
            return NotImplemented
        with beside(mine), np.errstate(over="ignore"):  # of a number that the dtype cannot hold
            if not is_number:  # which NumPy takes in the tensor's dtype
                values = to_device(values, here)
            try:
                return getattr(xp_of(mine), name)(mine, values)
            except ValueError:
                raise ShapeError(
                    f"{name}: shapes {shape_text(mine.shape)} and {shape_text(values.shape)} do not broadcast; "
                    f"from the last axis backwards, sizes must be equal or 1"
                ) from None

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return array_of(self, dtype, copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        """NumPy's operators on tensors, e.g. `np.maximum(0, x)`: recorded like our own, or refused.

        Without it NumPy would silently compute on the values and lose the gradient.
        """
        name = ufunc.__name__
        if method == "__call__" and not options:
            if name in OPERATORS:
                return OPERATORS[name](*inputs)
            if name in MIRRORED:
                a, b = inputs
                return a._compared(name, b) if isinstance(a, Tensor) else self._compared(MIRRORED[name], a)
        return call_numpy(name, getattr(ufunc, method), inputs, options)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """NumPy's functions on tensors, e.g. `np.mean(x)`: ours of that name, or NumPy's on values that have no gradient to lose."""
        own = OPERATORS.get(function.__name__) if function.__module__ == "numpy" else None
        if own is None:
            return call_numpy(function.__name__, function, args, kwargs)
        if function.__name__ == "var" and "correction" not in kwargs:  # NumPy's is 0 by default, ours 1, as PyTorch's
            kwargs = {**kwargs, "correction": kwargs.get("ddof", 0)}
            kwargs.pop("ddof", None)
        return own(*args, **kwargs)

    def __dlpack__(self, **options: Any) -> Any:
        return as_capsule(self, options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return capsule_device(self)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return cuda_interface(self)

    def __getattr__(self, name: str) -> NoReturn:
        raise unknown_name("Tensor", name, dir(type(self)), words_of_tensors())


MIRRORED = {
    "equal": "equal",
    "not_equal": "not_equal",
    "less": "greater",
    "less_equal": "greater_equal",
    "greater": "less",
    "greater_equal": "less_equal",
}
"""NumPy's comparisons, and what each is with its operands exchanged."""


class TensorHook:
    """What `register_hook` returns: `remove()` takes the hook away; once more does nothing."""

    keeps = False
    """Whether it is that of `retain_grad`."""

    def __init__(self, hooks: Hooks, hook: Callable[[Array], Any]) -> None:
        self._hooks = hooks
        hooks[self] = functools.partial(_hooked, hook)

    def remove(self) -> None:
        """Call the hook no more."""
        self._hooks.pop(self, None)


def _hooked(hook: Callable[[Array], Any], gradient: Array) -> Array:
    """What a hook gives in place of `gradient`, or the gradient itself."""
    given = hook(gradient)
    if given is None:
        return gradient
    with beside(gradient):
        replacement = as_array(given.array if isinstance(given, Tensor) else given, gradient.dtype)
    if replacement.shape != gradient.shape or replacement.dtype != gradient.dtype:
        raise ShapeError(
            f"register_hook: the hook must give None or a gradient {gradient.dtype} {shape_text(gradient.shape)}, got "
            f"{replacement.dtype} {shape_text(replacement.shape)}"
        )
    return replacement


def _check_can_learn(dtype: np.dtype) -> None:
    if dtype.kind != "f":
        raise DTypeError(f"only float tensors have gradients, got {dtype}; convert with array.astype('float32')")


def from_dlpack(array: Any) -> Tensor:
    """A tensor of another library's array, or tensor, that knows DLPack: it shares its memory, on the CPU or a GPU.

    What that library marks as read-only is copied. Raises DTypeError for what does not know DLPack, or holds no numbers;
    DeviceError for a device that gpucnn does not work with.
    """
    return Tensor(shared_array(array))


@functools.cache
def _one(dtype: np.dtype) -> np.ndarray:
    """The number 1, which nobody can write to: a step that is recorded has it in place of a fill."""
    one = np.ones((), dtype)
    one.flags.writeable = False
    return one


def refuse_higher_order(owner: str, create_graph: bool) -> None:
    """GradientError if a gradient is to have gradients itself."""
    if as_flag(create_graph, f"{owner}: create_graph"):
        raise GradientError(
            f"{owner}: create_graph=True asks for gradients of gradients, which gpucnn does not compute; write the second "
            f"derivative as a function, or take differences of first ones"
        )


Operand: TypeAlias = Tensor | Array | float | Sequence[float]
"""What an operation takes beside tensors: plain arrays and numbers, which have no gradient."""

_kept_ones: dict[tuple[Any, ...], Array] = {}
"""Of each GPU, by shape and dtype: the gradients that losses begin with."""
_MOST_KEPT = 64


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
