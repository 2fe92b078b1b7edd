"""The updates on a GPU, one launch a buffer. See the `.cu` file of each."""

from pathlib import Path

from gpucnn.backend import Array
from gpucnn.kernels.kernel import Kernel
from gpucnn.kernels.launch import launch

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
ADAGRAD = Kernel(
    Path(__file__).with_name("adagrad.cu"),
    "adagrad",
    "T* parameters, const T* gradients, T* sums, const T* settings, long long size",
)
RMSPROP = Kernel(
    Path(__file__).with_name("rmsprop.cu"),
    "rmsprop",
    "T* parameters, const T* gradients, T* squares, T* means = null, T* velocities = null, const T* settings, long long size",
)
LION = Kernel(
    Path(__file__).with_name("lion.cu"),
    "lion",
    "T* parameters, const T* gradients, T* momenta, const T* settings, long long size",
)
AVERAGE = Kernel(
    Path(__file__).with_name("average.cu"),
    "average",
    "T* averages, const T* weights, const T* share, long long size",
)


def sgd(parameters: Array, gradients: Array, velocities: Array | None, settings: Array, nesterov: bool) -> None:
    """See `sgd` of this folder."""
    launch(SGD, parameters.size, parameters, gradients, velocities, settings, parameters.size, int(nesterov))


def adam(parameters: Array, gradients: Array, means: Array, squares: Array, settings: Array) -> None:
    """See `adam` of this folder."""
    launch(ADAM, parameters.size, parameters, gradients, means, squares, settings, parameters.size)


def adagrad(parameters: Array, gradients: Array, sums: Array, settings: Array) -> None:
    """See `adagrad` of this folder."""
    launch(ADAGRAD, parameters.size, parameters, gradients, sums, settings, parameters.size)


def rmsprop(
    parameters: Array, gradients: Array, squares: Array, means: Array | None, velocities: Array | None, settings: Array
) -> None:
    """See `rmsprop` of this folder."""
    launch(RMSPROP, parameters.size, parameters, gradients, squares, means, velocities, settings, parameters.size)


def lion(parameters: Array, gradients: Array, momenta: Array, settings: Array) -> None:
    """See `lion` of this folder."""
    launch(LION, parameters.size, parameters, gradients, momenta, settings, parameters.size)


def average(averages: Array, weights: Array, share: Array) -> None:
    """See `average` of this folder."""
    launch(AVERAGE, averages.size, averages, weights, share, averages.size)
