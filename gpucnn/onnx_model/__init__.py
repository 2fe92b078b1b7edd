"""An ONNX file as a layer that trains."""

from gpucnn.checks import public_names as _public_names
from gpucnn.onnx_model.model import OnnxModel as OnnxModel
from gpucnn.onnx_model.model import load_onnx as load_onnx

__all__ = _public_names(globals())


def __dir__() -> list[str]:
    return __all__
