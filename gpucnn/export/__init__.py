"""A trained model for others: ONNX, one NumPy file, weights under names of others."""

from gpucnn.checks import public_names as _public_names
from gpucnn.checks import unknown_name as _unknown_name
from gpucnn.export.numpy_predictor import numpy_predictor as numpy_predictor
from gpucnn.export.onnx_file import write_onnx as write_onnx
from gpucnn.export.onnx_run import run_to_onnx as run_to_onnx
from gpucnn.export.onnx_writer import save_onnx as save_onnx
from gpucnn.export.onnx_writer import to_onnx as to_onnx
from gpucnn.export.run_weights import write_weights as write_weights

__all__ = _public_names(globals())


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    raise _unknown_name("export", name, __all__)
