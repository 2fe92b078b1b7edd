"""The updates of the optimizers, and of an average, over one flat buffer: on a GPU a launch for all parameters.

Their numbers come in an array, `settings`, in the parameters' dtype and on their device, in the order of `SgdSettings`,
`AdamSettings` and so on: what changes from step to step must not be an argument of a launch. `optim.numbers.Numbers` makes it.
"""

from gpucnn.backend import Array
from gpucnn.checks import public_names as _public_names
from gpucnn.kernels.update import compiled, cuda, plain
from gpucnn.kernels.update.plain import AdagradSettings, AdamSettings, LionSettings, RmspropSettings, SgdSettings
from gpucnn.kernels.ways import Way, choose

__all__ = [
    "AdagradSettings",
    "AdamSettings",
    "LionSettings",
    "RmspropSettings",
    "SgdSettings",
    "adagrad",
    "adam",
    "average",
    "lion",
    "rmsprop",
    "sgd",
]

SGD = {Way.CUDA: cuda.sgd, Way.COMPILED: compiled.sgd, Way.PLAIN: plain.sgd}
ADAM = {Way.CUDA: cuda.adam, Way.COMPILED: compiled.adam, Way.PLAIN: plain.adam}
ADAGRAD = {Way.CUDA: cuda.adagrad, Way.PLAIN: plain.adagrad}
RMSPROP = {Way.CUDA: cuda.rmsprop, Way.PLAIN: plain.rmsprop}
LION = {Way.CUDA: cuda.lion, Way.PLAIN: plain.lion}
AVERAGE = {Way.CUDA: cuda.average, Way.PLAIN: plain.average}


def sgd(parameters: Array, gradients: Array, velocities: Array | None, settings: Array, nesterov: bool) -> None:
    """Change `parameters` and `velocities`, flat arrays (size,), in place, along `gradients`.

    `settings` (3,): see `SgdSettings`. Without `velocities` there is no momentum.
    """
    way = choose(SGD, parameters, gradients, velocities, settings)
    SGD[way](parameters, gradients, velocities, settings, nesterov)


def adam(parameters: Array, gradients: Array, means: Array, squares: Array, settings: Array) -> None:
    """Change `parameters`, `means` and `squares`, flat arrays (size,), in place, along `gradients`.

    `settings` (9,): see `AdamSettings`.
    """
    way = choose(ADAM, parameters, gradients, means, squares, settings)
    ADAM[way](parameters, gradients, means, squares, settings)


def adagrad(parameters: Array, gradients: Array, sums: Array, settings: Array) -> None:
    """Change `parameters` and `sums`, flat arrays (size,), in place, along `gradients`.

    `settings` (3,): see `AdagradSettings`.
    """
    way = choose(ADAGRAD, parameters, gradients, sums, settings)
    ADAGRAD[way](parameters, gradients, sums, settings)


def rmsprop(
    parameters: Array, gradients: Array, squares: Array, means: Array | None, velocities: Array | None, settings: Array
) -> None:
    """Change `parameters`, `squares`, `means` and `velocities`, flat arrays (size,), in place, along `gradients`.

    `settings` (6,): see `RmspropSettings`. With `means` it is the centered form; without `velocities` there is no momentum.
    """
    way = choose(RMSPROP, parameters, gradients, squares, means, velocities, settings)
    RMSPROP[way](parameters, gradients, squares, means, velocities, settings)


def lion(parameters: Array, gradients: Array, momenta: Array, settings: Array) -> None:
    """Change `parameters` and `momenta`, flat arrays (size,), in place, along `gradients`.

    `settings` (6,): see `LionSettings`.
    """
    way = choose(LION, parameters, gradients, momenta, settings)
    LION[way](parameters, gradients, momenta, settings)


def average(averages: Array, weights: Array, share: Array) -> None:
    """Move `averages` towards `weights`, contiguous and of one shape, in place, by `share`, (1,) in their dtype."""
    AVERAGE[choose(AVERAGE, averages, weights, share)](averages, weights, share)


__all__ = _public_names(globals())


def __dir__() -> list[str]:
    return __all__
