"""Images of another size as ONNX nodes."""

import math
from typing import Any

import numpy as np

from gpucnn.autograd import Tensor, no_grad
from gpucnn.export.onnx_call import Call, Nodes, numbers_of
from gpucnn.export.onnx_nodes.pooling import along_axis
from gpucnn.functions import interpolate as resized


def interpolate(call: Call) -> str:
    """Resize where every runtime rounds positions alike; else elements looked up, or products with matrices of weights.

    Positions are exact if elements are copied whole times, or weighed at twice or half the size, and so on; other factors are
    rounded in one way here and in others there, which moves edges and weights.
    """
    mode, old, new = call.arguments["mode"], call.spatial, call.node.shape[2:]
    factors = [after / before for before, after in zip(old, new, strict=True)]
    if _has_exact_positions(call, factors):
        scales = call.graph.array(np.array([1, 1, *factors], np.float32))
        if mode == "nearest":
            how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        else:
            how = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        return call.put("Resize", call.x, None, scales, **how)
    x = call.x
    for axis, size in enumerate(old):
        matrix = _weights(call, axis, size)
        if (matrix == np.eye(*matrix.shape)).all():
            continue
        if ((matrix == 1).sum(axis=1) == 1).all() and ((matrix != 0).sum(axis=1) == 1).all():
            x = call.put("Gather", x, call.ints(matrix.argmax(axis=1).tolist()), axis=2 + axis)
        else:
            x = along_axis(call, x, matrix, is_last=axis == len(old) - 1)
    return x


def _has_exact_positions(call: Call, factors: list[float]) -> bool:
    given = call.arguments
    if given["align_corners"] or given["antialias"]:
        return False
    scale = given["scale_factor"]
    if scale is not None and any(
        given != real for given, real in zip(_per_axis(scale, len(factors)), factors, strict=True)
    ):
        return False  # of which the size was rounded
    if given["mode"] == "nearest":
        return all(factor.is_integer() for factor in factors)
    return given["mode"] in ("linear", "bilinear") and all(math.frexp(factor)[0] == 0.5 for factor in factors)


def _weights(call: Call, axis: int, size: int) -> np.ndarray:
    """What each new element of an axis takes of the old ones, (new, old): what the function makes of the unit matrix."""
    given = {name: value for name, value in call.arguments.items() if name != "x"}
    count = len(call.spatial)
    others = tuple(1 for _ in range(count))
    if given["size"] is not None:
        given["size"] = _only(axis, _per_axis(given["size"], count))
    else:
        given["scale_factor"] = _only(axis, _per_axis(given["scale_factor"], count))
    unit = np.eye(size, dtype=call.dtype).reshape(1, size, *others[:axis], size, *others[axis + 1 :])
    with no_grad():
        matrix: np.ndarray = resized(Tensor(unit), **given).numpy().reshape(size, call.node.shape[2 + axis])
    return matrix.T


def _only(axis: int, values: list[Any]) -> tuple[Any, ...]:
    """Those values, but 1 for all other axes, which have one element."""
    return tuple(value if place == axis else 1 for place, value in enumerate(values))


def _per_axis(value: Any, count: int) -> list[Any]:
    items = numbers_of(value)
    return [*items] * (count // len(items))


NODES: Nodes = {"interpolate": interpolate}
