"""Inputs of nodes as tensors or as arrays, and results of the kind that the inputs are: known ones make known ones."""

from collections.abc import Iterable, Sequence

import numpy as np

from gpucnn.autograd import Tensor
from gpucnn.backend import Array, device_of, to_device, to_host
from gpucnn.errors import ArgumentError, DTypeError
from gpucnn.functions.broadcasting import check_broadcast as check_shapes
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.operators.operator import Inputs, Value
from gpucnn.onnx_model.operators.values import check_made
from gpucnn.text import value_text


def operand(value: Value) -> Tensor:
    """`value` as a tensor."""
    return value if isinstance(value, Tensor) else Tensor(value)


def raw(value: Value) -> Array:
    """The array of `value`, where it is."""
    return value.array if isinstance(value, Tensor) else value


def raws(values: Inputs) -> list[Array]:
    """The arrays of `values`, none of which is left out, on the device of the first that is on a GPU."""
    arrays = [raw(value) for value in all_needed(values)]
    devices = [device_of(array) for array in arrays]
    device = next((one for one in devices if one.kind != "cpu"), None)
    return arrays if device is None else [to_device(array, device) for array in arrays]


def all_needed(values: Inputs) -> list[Value]:
    """All of `values`, which the reader has made sure of."""
    assert all(value is not None for value in values)
    return [value for value in values if value is not None]


def like(source: Value | Inputs, result: Tensor | Array) -> Value:
    """`result` as a tensor if `source`, or one of several, is one; else as a host array, which is known."""
    sources = [source] if isinstance(source, Tensor | np.ndarray) else source
    if any(isinstance(one, Tensor) for one in sources):
        return result if isinstance(result, Tensor) else Tensor(result)
    return np.asarray(to_host(result.array if isinstance(result, Tensor) else result))


def learns(*values: Value | None) -> bool:
    """Whether one of `values` is a tensor of floats, through which gradients go."""
    return any(isinstance(value, Tensor) and value.dtype.kind == "f" for value in values)


def check_one_dtype(values: Inputs) -> None:
    """DTypeError unless all have one dtype, as ONNX has it, or all are floats: constants take on the model's."""
    dtypes = list(dict.fromkeys(str(value.dtype) for value in all_needed(values)))
    if len(dtypes) > 1 and not all(value.dtype.kind == "f" for value in all_needed(values)):
        raise DTypeError(
            f"expected inputs of one dtype, got {', '.join(dtypes)}; cast in the file, as ONNX asks for it"
        )


def chosen(node: OnnxNode, name: str, choices: Iterable[str], default: str) -> str:
    """An attribute that is one of some texts; ArgumentError for another."""
    text = node.text(name, default)
    if text not in choices:
        raise ArgumentError(f"expected {name} to be one of {', '.join(choices)}, got {value_text(text)}")
    return text


def check_broadcast(values: Inputs) -> None:
    """ShapeError unless the shapes broadcast, and to one that a node may make."""
    shapes = [value.shape for value in all_needed(values)]
    check_shapes("it", *shapes)
    check_made(np.broadcast_shapes(*shapes))


def check_bools(values: Sequence[Array]) -> None:
    """DTypeError unless all are bools."""
    for array in values:
        if array.dtype.kind != "b":
            raise DTypeError(f"expected bool, got {array.dtype}; compare in the file, as ONNX asks for it")
