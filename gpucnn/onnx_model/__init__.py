"""An ONNX file as a layer that trains."""

from gpucnn.onnx_model.model import OnnxModel as OnnxModel
from gpucnn.onnx_model.model import load_onnx as load_onnx
