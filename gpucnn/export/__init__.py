"""A trained model for others: ONNX, one NumPy file, weights under names of others."""

from gpucnn.checks import public_names as _public_names
from gpucnn.checks import unknown_name as _unknown_name
from gpucnn.export.onnx_writer import save_onnx as save_onnx
from gpucnn.export.onnx_writer import to_onnx as to_onnx

__all__ = _public_names(globals())


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> object:
    raise _unknown_name("export", name, __all__)
