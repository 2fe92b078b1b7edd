"""Products of matrices."""

import math

from gpucnn import functions as F
from gpucnn.autograd import Tensor, as_tensor
from gpucnn.errors import ShapeError
from gpucnn.functions.broadcasting import check_broadcast
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.operators.operator import Inputs, Operator
from gpucnn.onnx_model.operators.values import check_made, check_work, needed, optional
from gpucnn.text import shape_text


def gemm(node: OnnxNode, inputs: Inputs) -> Tensor:
    """alpha * A @ B + beta * C, A and B transposed if asked for; `F.linear`, where that is all there is."""
    a, b, c = as_tensor(needed(inputs, 0)), as_tensor(needed(inputs, 1)), optional(inputs, 2)
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    if a.ndim != 2 or b.ndim != 2:
        raise ShapeError(f"expected two matrices, got {shape_text(a.shape)} and {shape_text(b.shape)}")
    rows, inner = a.shape[::-1] if node.integer("transA") else a.shape
    from_inner, columns = b.shape[::-1] if node.integer("transB") else b.shape
    if inner != from_inner:
        raise ShapeError(
            f"expected (M, K) @ (K, N), got {shape_text((rows, inner))} @ {shape_text((from_inner, columns))}"
        )
    check_made((rows, columns))
    check_work(rows, inner, columns)
    is_linear = node.integer("transB") and not node.integer("transA") and alpha == 1 and a.dtype.kind == "f"
    if is_linear and (c is None or (c.shape == (columns,) and beta == 1)):
        return F.linear(a, b, c)
    product = F.matmul(F.transpose(a) if node.integer("transA") else a, F.transpose(b) if node.integer("transB") else b)
    product = product if alpha == 1 else F.multiply(product, alpha)
    if c is None:
        return product
    _check_onto(c.shape, (rows, columns))
    return F.add(product, c if beta == 1 else F.multiply(c, beta))


def _check_onto(shape: tuple[int, ...], onto: tuple[int, ...]) -> None:
    """That an array of `shape` can be added to one of the shape `onto`, which stays as it is."""
    padded = (1,) * (len(onto) - len(shape)) + tuple(shape)
    if len(padded) > len(onto) or any(size not in (1, full) for size, full in zip(padded, onto, strict=True)):
        raise ShapeError(f"expected C that broadcasts to {shape_text(onto)}, got {shape_text(shape)}")


def matmul(node: OnnxNode, inputs: Inputs) -> Tensor:
    """The matrix product, leading axes broadcast."""
    a, b = as_tensor(needed(inputs, 0)), as_tensor(needed(inputs, 1))
    if a.ndim > 1 and b.ndim > 1:
        check_broadcast("MatMul", a.shape[:-2], b.shape[:-2])
        leading = a.shape[:-2] if a.ndim >= b.ndim else b.shape[:-2]
        made = check_made(
            (max(math.prod(a.shape[:-2]), math.prod(b.shape[:-2]), math.prod(leading)), a.shape[-2], b.shape[-1])
        )
        check_work(*made, a.shape[-1])
    return F.matmul(a, b)


OPERATORS = {
    "Gemm": Operator(gemm, (1, 6, 7, 9, 11, 13), learns={0: "weight", 1: "weight", 2: "bias"}),
    "MatMul": Operator(matmul, (1, 9, 13), learns={0: "weight", 1: "weight"}),
}
