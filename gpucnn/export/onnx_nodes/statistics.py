"""Sums, means, variances and extremes as ONNX nodes."""

import math
from collections.abc import Callable

import numpy as np

from gpucnn.export.onnx_call import INT64, Call, Nodes


def _reduction(op: str) -> Callable[[Call], str]:
    def node(call: Call) -> str:
        if call.dtype.kind == "b":
            raise call.refused("truth values", "convert them first: x.astype('int64')")
        return call.reduced(op, call.x, call.axes(), bool(call.arguments["keepdims"]))

    return node


def var(call: Call) -> str:
    """The mean of squared distances from the mean, times their number over it less the correction."""
    axes, keepdims = call.axes(), bool(call.arguments["keepdims"])
    centred = call.put("Sub", call.x, call.reduced("ReduceMean", call.x, axes))
    squares = call.put("Mul", centred, centred)
    correction = call.arguments["correction"]
    if correction == 0:
        return call.reduced("ReduceMean", squares, axes, keepdims)
    sizes = [call.sizes[axis] for axis in axes]
    known = [size for size in sizes if isinstance(size, int)]
    if len(known) == len(sizes):
        divisor = call.number(math.prod(known) - correction)
    else:
        shape = call.put("Gather", call.put("Shape", call.x), call.ints(axes), axis=0)
        count = call.cast(call.put("ReduceProd", shape, keepdims=0), call.dtype)
        divisor = call.put("Sub", count, call.number(correction))
    return call.put("Div", call.reduced("ReduceSum", squares, axes, keepdims), divisor)


def _position(op: str) -> Callable[[Call], str]:
    def node(call: Call) -> str:
        axis, keepdims = call.arguments["axis"], bool(call.arguments["keepdims"])
        if not call.sizes:
            return call.graph.array(np.int64(0))
        x = call.x
        if call.dtype_of(call.arguments["x"]).kind == "b":
            x = call.cast(x, INT64)
        if axis is not None:
            return call.put(op, x, axis=call.axes()[0], keepdims=int(keepdims))
        found = call.put(op, call.put("Reshape", x, call.ints([-1])), axis=0, keepdims=0)
        return call.reshaped(found, call.node.sizes) if keepdims else found

    return node


NODES: Nodes = {
    "sum": _reduction("ReduceSum"),
    "mean": _reduction("ReduceMean"),
    "max": _reduction("ReduceMax"),
    "min": _reduction("ReduceMin"),
    "var": var,
    "argmax": _position("ArgMax"),
    "argmin": _position("ArgMin"),
}
