"""The updates of SGD and Adam over one flat buffer, a loop or a launch for all parameters.

Their numbers come in an array, `settings`, in the parameters' dtype and on their device, in the order of `SgdSettings` or
`AdamSettings`: what changes from step to step must not be an argument of a launch. `FlatBuffer.hand_over` makes it.
"""

from gpucnn.backend import Array
from gpucnn.kernels.update import compiled, cuda, plain
from gpucnn.kernels.update.plain import AdamSettings, SgdSettings
from gpucnn.kernels.ways import Way, choose

__all__ = ["AdamSettings", "SgdSettings", "adam", "sgd"]

SGD = {Way.CUDA: cuda.sgd, Way.COMPILED: compiled.sgd, Way.PLAIN: plain.sgd}
ADAM = {Way.CUDA: cuda.adam, Way.COMPILED: compiled.adam, Way.PLAIN: plain.adam}


def sgd(parameters: Array, gradients: Array, velocities: Array | None, settings: Array, nesterov: bool) -> None:
    """Change `parameters` and `velocities`, flat arrays (size,), in place, along `gradients`.

    `settings` (3,): see `SgdSettings`. Without `velocities` there is no momentum.
    """
    way = choose(SGD, parameters, gradients, velocities, settings)
    SGD[way](parameters, gradients, velocities, settings, nesterov)


def adam(parameters: Array, gradients: Array, means: Array, squares: Array, settings: Array) -> None:
    """Change `parameters`, `means` and `squares`, flat arrays (size,), in place, along `gradients`.

    `settings` (8,): see `AdamSettings`.
    """
    way = choose(ADAM, parameters, gradients, means, squares, settings)
    ADAM[way](parameters, gradients, means, squares, settings)
