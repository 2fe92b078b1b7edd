"""The operators of ONNX that are computed here, one family a file, and the table of them all."""

from gpucnn.checks import public_names as _public_names
from gpucnn.onnx_model.operators import (
    activation,
    arithmetic,
    basic,
    comparison,
    convolution,
    curves,
    indices,
    normalization,
    padding,
    pooling,
    products,
    reductions,
    resizing,
    shapes,
)
from gpucnn.onnx_model.operators.operator import Function as Function
from gpucnn.onnx_model.operators.operator import Inputs as Inputs
from gpucnn.onnx_model.operators.operator import Operator as Operator
from gpucnn.onnx_model.operators.operator import Value as Value

OPERATORS: dict[str, Operator] = {
    **convolution.OPERATORS,
    **pooling.OPERATORS,
    **normalization.OPERATORS,
    **products.OPERATORS,
    **activation.OPERATORS,
    **basic.OPERATORS,
    **shapes.OPERATORS,
    **indices.OPERATORS,
    **arithmetic.OPERATORS,
    **curves.OPERATORS,
    **comparison.OPERATORS,
    **reductions.OPERATORS,
    **padding.OPERATORS,
    **resizing.OPERATORS,
}
"""By name, of the domain "ai.onnx"."""

__all__ = _public_names(globals())


def __dir__() -> list[str]:
    return __all__
