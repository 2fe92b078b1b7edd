"""Activations."""

from gpucnn import functions as F
from gpucnn.autograd import Tensor
from gpucnn.onnx_model.node import OnnxNode
from gpucnn.onnx_model.operators.operator import Inputs, Operator
from gpucnn.onnx_model.operators.values import needed


def relu(node: OnnxNode, inputs: Inputs) -> Tensor:
    return F.relu(needed(inputs, 0))


OPERATORS = {
    "Relu": Operator(relu, (6, 13, 14)),
}
