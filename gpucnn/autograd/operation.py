"""What every public function on tensors has in common: how its operands meet, where it computes, and how the tape gets to know it."""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from gpucnn.autograd.calls import Arguments, Result, calls_noted, noted
from gpucnn.autograd.rounding import kept
from gpucnn.autograd.tape import BackwardFunction, Node, current_owner, grad_enabled
from gpucnn.autograd.tensor import Operand, Tensor
from gpucnn.autograd.torch_words import KEYWORDS
from gpucnn.backend import Array, are_together, arrays, as_array, beside, converted, fed, memory, to_device, to_host
from gpucnn.errors import CaptureError, DeviceError, DTypeError, KeywordError
from gpucnn.kernels.compiler.recording import check_recorded


def operation(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """`function`, computed on the device of its arrays; OutOfMemoryError, which names it, where memory does not suffice."""
    placed = on_their_device(function)

    @functools.wraps(function)
    def called(*args: Arguments.args, **options: Arguments.kwargs) -> Result:
        try:
            compute = function if arrays.loaded() is None else placed
            return compute(*args, **options) if calls_noted.get() is None else noted(compute, args, options)
        except TypeError as error:
            raise _in_words(function, options, error) from error.__cause__
        except MemoryError as error:
            raise memory.named(function.__name__, error) from error.__cause__ or error
        except CaptureError as error:
            raise error.named(current_owner.get() or function.__name__) from error.__cause__

    return called


def record(
    name: str,
    output: Array,
    inputs: Sequence[Tensor],
    backward: BackwardFunction,
    is_bf16: bool | None = None,
    stored: bool = False,
) -> Tensor:
    """The tensor of an operation's `output`, on the tape if gradients are enabled and an input needs one.

    `backward` gets the gradient of `output` and returns one per input. It should hold no more arrays than it needs:
    they stay alive until the backward pass has used them. It must not write to the gradient it gets, which others may have, too.
    `is_bf16` says whether the precision bf16 rounds the output and its gradient: True of products, False of losses, softmax and
    sums, None if it does so with one of the inputs. `stored` says that the output is an array of bfloat16 in two bytes, see
    `rounding.stored`; `backward` then gets such a gradient, and may return some.
    """
    check_recorded(name, output)
    if stored:
        result, is_bf16 = Tensor.of_stored(output), True
    else:
        output, is_bf16 = kept(output, inputs, is_bf16)
        result = Tensor(output)
        result.is_bf16 = is_bf16
    if grad_enabled() and any(tensor.requires_grad for tensor in inputs):
        result.requires_grad = True
        result.node = Node(name, [tensor.origin() for tensor in inputs], backward, output.shape)
        result.watched, result.node.is_bf16, result.node.takes_stored = True, is_bf16, stored
        for tensor in inputs:
            tensor.watched = True
    elif output.base is not None:  # it may look at an array that the tape has saved
        result.watched = any(tensor.watched for tensor in inputs)
    return result


def _in_words(function: Callable[..., Any], options: Iterable[str], error: TypeError) -> TypeError:
    """The error for a call with a keyword of PyTorch's, and for dtypes that met, in which nothing is named; others as they are."""
    name, text = function.__name__, str(error)
    if isinstance(error, DTypeError):
        is_named = current_owner.get() or ":" in text.partition(" met in one operation")[0]
        return error if is_named or " met in one operation" not in text else DTypeError(f"{name}: {text}")
    arguments = function.__code__.co_varnames[: function.__code__.co_argcount]
    for keyword in options:
        if f"argument '{keyword}'" in text:
            for own in KEYWORDS.get(keyword, ()):
                if own in arguments:
                    return KeywordError(f"{name}: {own}, not {keyword}")
    return error


def as_tensor(value: "Operand") -> Tensor:
    """`value` itself if it is a tensor, else a tensor of it."""
    return value if isinstance(value, Tensor) else Tensor(value)


def as_operand(value: "Operand", like: Tensor) -> Tensor:
    """`value` as a partner for the tensor `like`, e.g. images for a layer's weight.

    Plain arrays and numbers take on its dtype and device, and tensors without history its device. Where that would
    lose something it is refused: DTypeError for a tensor of another dtype, and for floats that meet integers;
    DeviceError for a tensor with history on another device.
    """
    if not isinstance(value, Tensor):
        return _plain_operand(value, like)
    if value.dtype != like.dtype:
        raise _dtypes_met(value.dtype, like.dtype)
    return value if are_together(value.held, like.held) else _moved(value, like)


def as_operands(*values: "Operand") -> list[Tensor]:
    """`values` as tensors of one dtype and device: those of the first that needs a gradient, else of the first tensor.

    Plain arrays and numbers alone take on the common dtype of the floats among them.
    """
    tensors = [value for value in values if isinstance(value, Tensor)]
    if not tensors:
        return _plain_operands(values)
    like = next((tensor for tensor in tensors if tensor.requires_grad), tensors[0])
    return [value if value is like else as_operand(value, like) for value in values]


def _plain_operand(value: Any, like: Tensor) -> Tensor:
    array = as_array(value, like.dtype)
    if array.dtype.kind == "f" and like.dtype.kind != "f":
        raise _dtypes_met(array.dtype, like.dtype)
    there = fed(lambda: array, like.device) if isinstance(array, np.ndarray) else to_device(array, like.device)
    there = converted(there, like.dtype)
    if like.dtype.kind != "f" and isinstance(array, np.ndarray) and (to_host(there) != array).any():
        raise DTypeError(f"{array.dtype} values that {like.dtype} cannot hold met it; convert with array.astype")
    return Tensor(there)


def _plain_operands(values: Iterable[Any]) -> list[Tensor]:
    plain = [as_array(value) for value in values]
    floats = [array.dtype for array in plain if array.dtype.kind == "f"]
    dtype = np.result_type(*(floats or [array.dtype for array in plain]))
    return [Tensor(array.astype(dtype, copy=False)) for array in plain]


def _moved(tensor: Tensor, like: Tensor) -> Tensor:
    if tensor.requires_grad:
        raise DeviceError(
            f"tensors on {tensor.device} and {like.device} met in one operation; "
            f"move the model and the images to one device"
        )
    return Tensor(to_device(tensor.array, like.device))


def check_float(owner: str, tensor: Tensor) -> None:
    """DTypeError, which names `owner`, unless the tensor's dtype is a float."""
    if tensor.dtype.kind != "f":
        fix = f"convert with array.astype('float32'){_bytes_fix(tensor.dtype)}"
        raise DTypeError(f"{owner}: expected floats, got {tensor.dtype}; {fix}")


def as_float_tensor(owner: str, value: "Operand") -> Tensor:
    """`value` as a tensor of floats; DTypeError, which names `owner`, if it has another dtype."""
    tensor = value if isinstance(value, Tensor) else Tensor(value)
    check_float(owner, tensor)
    return tensor


def _dtypes_met(a: np.dtype, b: np.dtype) -> DTypeError:
    wide, narrow = sorted((a, b), key=lambda dtype: (dtype.kind == "f", dtype.itemsize), reverse=True)
    fix = f"array.astype('{wide}')"
    if narrow.kind == "f":
        fix = f"array.astype('{narrow}') or model.astype('{wide}')"
    fix += _bytes_fix(narrow)
    return DTypeError(f"{wide} and {narrow} met in one operation; make them one dtype, e.g. {fix}")


BYTES_FIX = "divide them, e.g. (images / 255).astype('float32'), or feed them through a data.Preprocess"


def _bytes_fix(dtype: np.dtype) -> str:
    return f"; if these are raw images, {BYTES_FIX}" if dtype == np.uint8 else ""


def on_their_device(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """`function`, computed on the device of the tensors, or arrays, that it is given, alone or in lists."""

    @functools.wraps(function)
    def computed_there(*args: Arguments.args, **options: Arguments.kwargs) -> Result:
        array = None if arrays.loaded() is None else _deciding_array([*args, *options.values()])
        if array is None:
            return function(*args, **options)
        with beside(array):
            return function(*args, **options)

    return computed_there


def _deciding_array(values: Iterable[Any]) -> Array | None:
    """The array whose device the others come to (see `as_operands`): of the first tensor that needs a gradient, or else the
    first tensor's, or else the first one of CuPy's.
    """
    found: list[Any] = []
    _collect(values, found)
    tensors = [value for value in found if isinstance(value, Tensor)]
    if tensors:
        return next((tensor for tensor in tensors if tensor.requires_grad), tensors[0]).held
    return found[0] if found else None


def _collect(values: Iterable[Any], found: list[Any]) -> None:
    array = getattr(arrays.loaded(), "ndarray", np.ndarray)
    for value in values:
        if isinstance(value, Tensor | array):
            found.append(value)
        elif isinstance(value, list | tuple):
            _collect(value, found)
