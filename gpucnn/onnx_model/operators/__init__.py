"""The operators of ONNX that are computed here, one family a file, and the table of them all."""

from gpucnn.onnx_model.operators import activation, basic, convolution, normalization, pooling, products
from gpucnn.onnx_model.operators.operator import Function as Function
from gpucnn.onnx_model.operators.operator import Inputs as Inputs
from gpucnn.onnx_model.operators.operator import Operator as Operator
from gpucnn.onnx_model.operators.operator import Value as Value

OPERATORS: dict[str, Operator] = {
    **activation.OPERATORS,
    **basic.OPERATORS,
    **convolution.OPERATORS,
    **normalization.OPERATORS,
    **pooling.OPERATORS,
    **products.OPERATORS,
}
"""By name, of the domain "ai.onnx"."""
