"""gpucnn: train convolutional neural networks on an NVIDIA GPU with CuPy, or on a laptop with NumPy, from one source."""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

from gpucnn import autograd as autograd
from gpucnn import errors as errors
from gpucnn import functions as functions
from gpucnn import layers as layers
from gpucnn.autograd import Tensor as Tensor
from gpucnn.autograd import gradcheck as gradcheck
from gpucnn.autograd import no_grad as no_grad
from gpucnn.functions import convolve2d as convolve2d
from gpucnn.functions import max_pooling as max_pooling

if TYPE_CHECKING:
    from gpucnn import data as data
    from gpucnn import models as models
    from gpucnn import optim as optim
    from gpucnn import training as training

__version__ = "0.1.0"

_AT_FIRST_USE = ("data", "models", "optim", "training")


def __getattr__(name: str) -> ModuleType:
    # Imported when first looked at, so that `import gpucnn` costs little more than NumPy.
    if name in _AT_FIRST_USE:
        return importlib.import_module(f"gpucnn.{name}")
    raise AttributeError(f"module 'gpucnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_AT_FIRST_USE])
