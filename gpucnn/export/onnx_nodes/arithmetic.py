"""Arithmetic, products of matrices and conversions as ONNX nodes."""

from collections.abc import Callable

import numpy as np

from gpucnn.export.onnx_call import Call, Nodes


def _of_one(op: str) -> Callable[[Call], str]:
    return lambda call: call.put(op, call.x)


def _of_two(op: str, first: str = "a", second: str = "b") -> Callable[[Call], str]:
    def node(call: Call) -> str:
        return call.put(op, *(call.value(call.arguments[name], call.dtype) for name in (first, second)))

    return node


def add(call: Call) -> str:
    """A sum, and then ReLU if asked for."""
    return call.activated(_of_two("Add")(call))


def where(call: Call) -> str:
    """a or b, as a condition tells."""
    chosen = call.value(call.arguments["condition"], np.dtype(bool))
    return call.put("Where", chosen, *(call.value(call.arguments[name], call.dtype) for name in ("a", "b")))


def clip(call: Call) -> str:
    """Between limits that are numbers or arrays; `high` comes last, as where they cross it is taken."""
    limited = call.value(call.arguments["x"], call.dtype)
    for op, name in (("Max", "low"), ("Min", "high")):
        limit = call.optional(name)
        limited = limited if limit is None else call.put(op, limited, limit)
    return limited


def linear(call: Call) -> str:
    """Gemm for vectors (N, in), else a product with the transposed weight."""
    weight, bias = call.value(call.arguments["weight"], call.dtype), call.optional("bias")
    if len(call.sizes) == 2:
        return call.activated(call.put("Gemm", call.x, weight, *([] if bias is None else [bias]), transB=1))
    product = call.put("MatMul", call.x, call.put("Transpose", weight, perm=[1, 0]))
    return call.activated(product if bias is None else call.put("Add", product, bias))


def astype(call: Call) -> str:
    """The same values in another dtype."""
    return call.value(call.arguments["x"], call.dtype)


def as_it_is(call: Call) -> str:
    """x itself."""
    return call.x


def dropout(call: Call) -> str:
    """x itself, as in evaluation nothing is dropped; refused where it is."""
    if call.arguments["training"] and call.arguments["p"] != 0:
        raise call.refused("what is drawn anew at each call", "call it with training=self.training")
    return call.x


NODES: Nodes = {
    "add": add,
    "subtract": _of_two("Sub"),
    "multiply": _of_two("Mul"),
    "divide": _of_two("Div"),
    "maximum": _of_two("Max"),
    "minimum": _of_two("Min"),
    "power": _of_two("Pow", "x", "exponent"),
    "matmul": _of_two("MatMul"),
    "where": where,
    "clip": clip,
    **{
        name: _of_one(op)
        for name, op in (("negative", "Neg"), ("abs", "Abs"), ("sqrt", "Sqrt"), ("exp", "Exp"), ("log", "Log"))
    },
    "linear": linear,
    "astype": astype,
    "clone": as_it_is,
    **dict.fromkeys(("dropout", "dropout2d", "stochastic_depth"), dropout),
}
