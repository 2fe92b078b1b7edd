"""gpucnn: train convolutional neural networks on an NVIDIA GPU with CuPy, or on a laptop with NumPy, from one source."""

import importlib

TYPE_CHECKING = False  # typing's own takes a while to import
if TYPE_CHECKING:
    from gpucnn import autograd as autograd
    from gpucnn import backend as backend
    from gpucnn import checks as checks
    from gpucnn import data as data
    from gpucnn import errors as errors
    from gpucnn import explain as explain
    from gpucnn import functions as functions
    from gpucnn import geometry as geometry
    from gpucnn import kernels as kernels
    from gpucnn import layers as layers
    from gpucnn import models as models
    from gpucnn import optim as optim
    from gpucnn import plot as plot
    from gpucnn import report as report
    from gpucnn import serve as serve
    from gpucnn import training as training
    from gpucnn.autograd import Tensor as Tensor
    from gpucnn.autograd import from_dlpack as from_dlpack
    from gpucnn.autograd import no_grad as no_grad
    from gpucnn.autograd.gradcheck import gradcheck as gradcheck
    from gpucnn.functions import convolve2d as convolve2d
    from gpucnn.functions import max_pooling as max_pooling
    from gpucnn.image_classifier import ImageClassifier as ImageClassifier
    from gpucnn.onnx_model.model import load_onnx as load_onnx
    from gpucnn.runs.load import load as load

__version__ = "0.1.0"

_MODULES = (
    "autograd", "backend", "checks", "data", "errors", "explain", "export", "functions", "geometry", "kernels", "layers", "models",
    "optim", "plot", "report", "serve", "training",
)  # fmt: skip
_HOMES = {
    "Tensor": "autograd",
    "from_dlpack": "autograd",
    "gradcheck": "autograd",
    "load": "runs.load",
    "load_onnx": "onnx_model.model",
    "no_grad": "autograd",
    "convolve2d": "functions",
    "max_pooling": "functions",
}
_WITH_LIBRARY = {"ImageClassifier": ("image_classifier", "sklearn")}
"""What stands on a library that may not be there, and so is not in `from gpucnn import *`."""
__all__ = [*_MODULES, *_HOMES]


def __getattr__(name: str) -> object:
    # Imported when first looked at: the command line tells its version without NumPy, and so soon that Ctrl-C finds it ready.
    if name in _MODULES:
        return importlib.import_module(f"gpucnn.{name}")
    if name in _HOMES:
        importlib.import_module("gpucnn.functions")  # which gives tensors their operators and methods
        found = getattr(importlib.import_module(f"gpucnn.{_HOMES[name]}"), name)
        globals()[name] = found
        return found
    if name in _WITH_LIBRARY:
        return getattr(importlib.import_module(f"gpucnn.{_WITH_LIBRARY[name][0]}"), name)
    if name.startswith("_"):  # which only programs ask for
        raise AttributeError(f"module 'gpucnn' has no attribute {name!r}")
    words = importlib.import_module("gpucnn.autograd.torch_words").words_of_torch()
    raise importlib.import_module("gpucnn.checks").unknown_name("gpucnn", name, __all__, words)


def __dir__() -> list[str]:
    find_spec = importlib.import_module("importlib.util").find_spec
    there = [name for name, (_, library) in _WITH_LIBRARY.items() if find_spec(library)]
    return sorted([*__all__, *there, *(name for name in globals() if name.startswith("__"))])
