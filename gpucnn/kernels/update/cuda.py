"""The updates on a GPU, one launch a buffer. See sgd.cu and adam.cu."""

from pathlib import Path

from gpucnn.backend import Array
from gpucnn.kernels.launch import Kernel, launch

SGD = Kernel(
    Path(__file__).with_name("sgd.cu"),
    "sgd",
    "T* parameters, const T* gradients, T* velocities = null, const T* settings, long long size, int nesterov",
)
ADAM = Kernel(
    Path(__file__).with_name("adam.cu"),
    "adam",
    "T* parameters, const T* gradients, T* means, T* squares, const T* settings, long long size",
)


def sgd(parameters: Array, gradients: Array, velocities: Array | None, settings: Array, nesterov: bool) -> None:
    """See `sgd` of this folder."""
    launch(SGD, parameters.size, parameters, gradients, velocities, settings, parameters.size, int(nesterov))


def adam(parameters: Array, gradients: Array, means: Array, squares: Array, settings: Array) -> None:
    """See `adam` of this folder."""
    launch(ADAM, parameters.size, parameters, gradients, means, squares, settings, parameters.size)
