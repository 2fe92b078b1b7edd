"""gpucnn: train convolutional neural networks on an NVIDIA GPU with CuPy, or on a laptop with NumPy, from one source."""

import importlib

TYPE_CHECKING = False  # typing's own takes a while to import
if TYPE_CHECKING:
    from gpucnn import autograd as autograd
    from gpucnn import backend as backend
    from gpucnn import checks as checks
    from gpucnn import data as data
    from gpucnn import errors as errors
    from gpucnn import functions as functions
    from gpucnn import geometry as geometry
    from gpucnn import kernels as kernels
    from gpucnn import layers as layers
    from gpucnn import models as models
    from gpucnn import optim as optim
    from gpucnn import training as training
    from gpucnn.autograd import Tensor as Tensor
    from gpucnn.autograd import no_grad as no_grad
    from gpucnn.autograd.gradcheck import gradcheck as gradcheck
    from gpucnn.functions import convolve2d as convolve2d
    from gpucnn.functions import max_pooling as max_pooling

__version__ = "0.1.0"

_MODULES = (
    "autograd", "backend", "checks", "data", "errors", "functions", "geometry", "kernels", "layers", "models", "optim",
    "training",
)  # fmt: skip
_HOMES = {
    "Tensor": "autograd",
    "gradcheck": "autograd",
    "no_grad": "autograd",
    "convolve2d": "functions",
    "max_pooling": "functions",
}
__all__ = [*_MODULES, *_HOMES]

_ELSEWHERE = {
    "nn": "gpucnn.layers, and gpucnn.functions for nn.functional",
    "manual_seed": "seed=, of each model and loader; nothing else is random",
    "save": "a file of model.state_dict(), e.g. np.savez(path, **model.state_dict())",
    "tensor": "gpucnn.Tensor(values)",
    "as_tensor": "gpucnn.Tensor(values)",
    "from_numpy": "gpucnn.Tensor(array)",
    "device": '"cpu" or "cuda:0", as a text',
    "cuda": 'model.to("cuda"); gpucnn doctor tells what there is',
    "compile": "training.CapturedStep(model, optimizer)",
    "utils": "gpucnn.data for data sets and loaders, gpucnn.optim for clipping",
    "vision": "gpucnn.models and gpucnn.data",
    **dict.fromkeys(
        ("zeros", "ones", "randn", "rand", "arange", "full"), "an array of NumPy's, in gpucnn.Tensor(array)"
    ),
}
"""Names in PyTorch, and what does the same here."""


def __getattr__(name: str) -> object:
    # Imported when first looked at: the command line tells its version without NumPy, and so soon that Ctrl-C finds it ready.
    if name in _MODULES:
        return importlib.import_module(f"gpucnn.{name}")
    if name in _HOMES:
        found = getattr(importlib.import_module(f"gpucnn.{_HOMES[name]}"), name)
        globals()[name] = found
        return found
    raise importlib.import_module("gpucnn.checks").unknown_name("gpucnn", name, __all__, _ELSEWHERE)


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
